"""The registry of what candidates are ranked by: names, in the order of the columns."""

from __future__ import annotations

from typing import Final

from streamer.config import Config

BIAS: Final = "bias"
"""1 for every candidate: the reward to expect of none in particular."""
MF: Final = "mf_score"
"""Score of the factorization; 0 for a user or an item not known to it."""
TRENDING: Final = "trending"
"""ln(1 + what the trending channel ordered by)."""
LOG_COUNT: Final = "log_count"
"""ln(1 + positive feedback ever)."""
KNOWN: Final = "known"
"""1 for an item that has parameters, 0 for one that nobody has met."""


def feature_names(config: Config) -> tuple[str, ...]:
    """Names of the columns under a configuration; the half-lives are part of them."""
    each = (f"trending_{half_life_s:g}s" for half_life_s in config.popularity.half_lives_s)
    return (MF, TRENDING, LOG_COUNT, KNOWN, *each)
