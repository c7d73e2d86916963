"""What users say of themselves, as a reader of tables finds it."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamer.ranking.asked import Asked
from streamer_models.state.items.item_tokens import NO_TOKEN, TOKENS_MAX, Tokens, Weights, token_of

COUNTS_AS: Final = 3
"""Items of a category that the user is taken to have met for having chosen it."""


def chosen(asked: Asked) -> tuple[str, ...]:
    """Return the categories that the user chose who asks; none of a request with seeds, which says
    itself what the slate is to go with."""
    return () if asked.seeds() is not None else asked.profile.categories


def chosen_tokens(asked: Asked) -> tuple[Tokens, Weights]:
    """Return the tokens of items that the user is taken to have met before all others: as the
    tokens of a history, ``(n, TOKENS_MAX)`` of both."""
    categories = chosen(asked) * COUNTS_AS
    tokens = np.full((len(categories), TOKENS_MAX), NO_TOKEN, dtype=np.int32)
    weights = np.zeros((len(categories), TOKENS_MAX), dtype=np.float32)
    tokens[:, 0] = [token_of(f"categories={each}") for each in categories]
    weights[:, 0] = 1
    return tokens, weights
