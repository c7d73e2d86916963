"""What a recommender has to beat: slates at random, and the same popular items for everybody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.events import Event

HISTORY_MAX = 1_000
"""Clicked items remembered a user, the latest; bytes in all: users * 1,000 * 100."""
_RESCALE_HALF_LIVES = 500.0
"""2^500 is far below the largest float, 2^1024, and no sum of clicks gets there from it."""


class Slates(Protocol):
    """A way to choose slates."""

    def slate(self, user_id: str, k: int, ts_ms: int, rng: np.random.Generator) -> list[str]:
        """At most ``k`` different items for ``user_id`` at ``ts_ms``, best first."""


class RandomSlates:
    """Any items, each as likely.

    Examples
    --------
    >>> RandomSlates(["a"]).slate("u", 3, 0, np.random.default_rng(0))
    ['a']
    """

    def __init__(self, item_ids: Iterable[str]) -> None:
        self._item_ids = list(dict.fromkeys(item_ids))

    def slate(self, user_id: str, k: int, ts_ms: int, rng: np.random.Generator) -> list[str]:
        """``k`` different items, or all where there are fewer."""
        n_items = len(self._item_ids)
        chosen = rng.choice(n_items, size=min(k, n_items), replace=False)
        return [self._item_ids[row] for row in chosen.tolist()]


class PopularitySlates:
    """The items with most clicks of late, without those that the user has clicked already.

    A click at ``t`` counts ``2 ** ((t - T) / half_life)`` when read at ``T``, by forward decay
    (Cormode et al. 2009): the order of the items does not depend on ``T``, so nothing is decayed.

    Parameters
    ----------
    item_ids
        The catalogue. Clicks on other items are ignored, which bounds the table.
    half_life_s
        > 0.

    Raises
    ------
    ConfigError
        When the half-life is not positive.

    Examples
    --------
    >>> slates = PopularitySlates(["a", "b"], half_life_s=60)
    >>> slates.observe(
    ...     Event(event_id="1", type="click", user_id="u", item_id="b", ts=1_000)
    ... )
    >>> slates.slate("v", 2, 2_000, np.random.default_rng(0))
    ['b', 'a']
    >>> slates.slate("u", 2, 2_000, np.random.default_rng(0))
    ['a']
    """

    def __init__(self, item_ids: Iterable[str], *, half_life_s: float = 3600.0) -> None:
        if not half_life_s > 0:
            raise ConfigError(f"half_life_s={half_life_s} must be above 0; 3600 is an hour")
        self._item_ids = list(dict.fromkeys(item_ids))
        self._rows = {name: row for row, name in enumerate(self._item_ids)}
        self._counts: NDArray[np.float64] = np.zeros(len(self._item_ids))
        self._half_life_ms = half_life_s * 1000.0
        self._origin_ms: int | None = None
        self._clicked: dict[str, dict[int, None]] = {}

    def observe(self, event: Event) -> None:
        """Count a click; events of other types change nothing."""
        row = self._rows.get(event.item_id)
        if event.type != "click" or row is None:
            return
        half_lives = self._half_lives(event.ts)  # may scale the counts: before they are read
        self._counts[row] += 2.0**half_lives
        clicked = self._clicked.setdefault(event.user_id, {})
        clicked[row] = None
        if len(clicked) > HISTORY_MAX:
            del clicked[next(iter(clicked))]

    def slate(self, user_id: str, k: int, ts_ms: int, rng: np.random.Generator) -> list[str]:
        """The most popular first; ties (before the first clicks) in an order drawn from ``rng``."""
        order = np.lexsort((rng.random(len(self._counts)), -self._counts))
        clicked = self._clicked.get(user_id, {})
        # No more than k + what was clicked have to be looked at.
        best = [row for row in order[: k + len(clicked)].tolist() if row not in clicked]
        return [self._item_ids[row] for row in best[:k]]

    def _half_lives(self, ts_ms: int) -> float:
        """Half-lives since the origin, which moves on before their power overflows."""
        if self._origin_ms is None:
            self._origin_ms = ts_ms
        since = (ts_ms - self._origin_ms) / self._half_life_ms
        if since > _RESCALE_HALF_LIVES:
            self._counts *= 2.0 ** -min(since, 2000.0)
            self._origin_ms, since = ts_ms, 0.0
        return max(since, -1000.0)
