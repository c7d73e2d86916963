"""What the places of a slate ask of each other: the struct that draws take.

At each place a composition says which candidates are possible and what each costs, given those
placed before; the policy draws among them. So a propensity stays the probability of an item given
the places before it. The kernels are in :mod:`streamer_models.bandits.composition_kernels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition_settings import CompositionSettings
from streamer_models.state.items.item_embeddings import Vectors

GROUPS_MAX: Final = 1 << 16
"""Groups of one field that are told apart in a request; decisions log 2 B for each."""
WANTED_MAX: Final = 512
"""Shares that a user's calibration is held against, the largest ones."""

Integers = NDArray[np.int32]
Indices = NDArray[np.intp]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


class Composition(NamedTuple):
    """Groups of n candidates and what places ask of them; a struct that kernels take.

    Behind the candidates stand the pinned items, which are placed at their places and not chosen.

    Attributes
    ----------
    on
        Whether anything is composed.
    starts, groups
        ``(n_fields, n + n_pinned + 1)`` where in ``groups`` those of each item begin; no group is
        of two fields. Shares are by the first field, and likeness where it is by groups.
    wanted
        ``(n_groups,)`` shares of the user; 0 outside of the first field.
    caps
        ``(n_caps, 3)`` field, most and depth; where they can't all be kept, the first ones are.
    known
        ``(n,)`` costs that don't depend on other places, in deviations of the scores; or ``(0,)``.
    diversity, calibration
        Deviations of the scores that full likeness, and a nat of divergence, costs.
    by_groups
        Whether likeness is by groups; else it is by ``vectors`` or, of a decision, ``alike``.
    vectors
        ``(n + n_pinned, width)`` of length one, padded to ``LANES``, zeros where an item has none;
        or ``(0, 0)``.
    alike
        ``(n_places, n)`` likeness of each candidate to what stands at each place, in units of
        1/255, as a decision logs it; or ``(0, 0)``.
    pinned_at
        ``(n_pinned,)`` places of the pinned items, rising.
    shown
        ``(k,)`` the candidate that each place has, whatever would be drawn; -1: what is no
        candidate; or ``(0,)``: places are drawn.
    """

    on: bool
    starts: Integers
    groups: Integers
    wanted: Floats
    caps: Integers
    known: Floats
    diversity: float
    calibration: float
    by_groups: bool
    vectors: Vectors
    alike: Bytes
    pinned_at: Integers
    shown: Indices

    @property
    def n(self) -> int:
        """Candidates that it is of."""
        n_items = int(self.starts.shape[1]) - 1
        return max(n_items - len(self.pinned_at), len(self.known))


NO_VECTORS: Final[Vectors] = np.zeros((0, 0), dtype=np.float32)
NOTHING_ALIKE: Final[Bytes] = np.zeros((0, 0), dtype=np.uint8)
_DRAWN: Final = np.zeros(0, dtype=np.intp)
UNCOMPOSED: Final = Composition(
    on=False,
    starts=np.zeros((0, 1), dtype=np.int32),
    groups=np.zeros(0, dtype=np.int32),
    wanted=np.zeros(0),
    caps=np.zeros((0, 3), dtype=np.int32),
    known=np.zeros(0),
    diversity=0.0,
    calibration=0.0,
    by_groups=True,
    vectors=NO_VECTORS,
    alike=NOTHING_ALIKE,
    pinned_at=np.zeros(0, dtype=np.int32),
    shown=_DRAWN,
)
"""Every place may get every candidate that remains, at no cost."""


def known_costs(costs: Floats) -> Composition:
    """Return a composition of costs that are known, such as those of a place that is logged."""
    return UNCOMPOSED._replace(on=True, known=np.ascontiguousarray(costs))


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of candidates, and of pinned items behind them, in one field: columns.

    Attributes
    ----------
    counts
        ``(n,)`` groups of each item, at most 255.
    numbers
        Those of the first item, then of the second …, each below ``GROUPS_MAX``.
    """

    counts: NDArray[np.int64]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Shares of a user's categories, of groups that candidates have: at most ``WANTED_MAX``."""

    groups: NDArray[np.int64]
    shares: NDArray[np.float32]


NOTHING_WANTED: Final = Wanted(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


def composed(
    settings: CompositionSettings,
    n: int,
    fields: Sequence[Groups],
    wanted: Wanted = NOTHING_WANTED,
    *,
    vectors: Vectors = NO_VECTORS,
    alike: Bytes = NOTHING_ALIKE,
    pinned_at: Sequence[int] = (),
) -> Composition:
    """Return the composition of ``n`` candidates, and of pinned items behind them.

    Parameters
    ----------
    fields
        Those of the settings, in order.
    vectors, alike
        As of :class:`Composition`: one of them, where the settings compare embeddings.
    pinned_at
        Places of the pinned items, rising.
    """
    starts = np.zeros((len(fields), n + len(pinned_at) + 1), dtype=np.int32)
    groups: list[NDArray[np.int64]] = []
    n_groups = 0
    for at, field in enumerate(fields):
        starts[at] = sum(map(len, groups)) + np.concatenate([[0], np.cumsum(field.counts)])
        groups.append(field.numbers + n_groups)
        n_groups += int(field.numbers.max(initial=-1)) + 1
    shares = np.zeros(n_groups)
    shares[wanted.groups] = wanted.shares
    order = settings.fields
    caps = [(order.index(cap.field), cap.most, cap.depth) for cap in settings.caps]
    return Composition(
        on=True,
        starts=starts,
        groups=np.concatenate(groups).astype(np.int32) if groups else UNCOMPOSED.groups,
        wanted=shares,
        caps=np.array(caps, dtype=np.int32).reshape(-1, 3),
        known=np.zeros(0),
        diversity=settings.diversity / (1 - settings.diversity),
        calibration=settings.calibration / (1 - settings.calibration),
        by_groups=not settings.by_vectors,
        vectors=vectors,
        alike=alike,
        pinned_at=np.array(pinned_at, dtype=np.int32),
        shown=_DRAWN,
    )
