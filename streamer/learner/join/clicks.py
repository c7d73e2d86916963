"""Items shown and items taken up, by surface, variant, channel and slot: what click rates are of.

Both are counted once an item, and never taken back, so that they are counters: when the window of
its decision is over, what was shown is known, and an item that is taken up later is counted then.
Until then only successes are known, so a rate over open decisions would be too high.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.learner.join.shown import Shown

LABELS_MAX: Final = 32
"""Surfaces, and channels, that are counted by name."""
VARIANTS_MAX: Final = 256
"""Variants that are counted by name; decisions name them, and others may write decisions."""
NO_SURFACE: Final = "(none)"
OTHER: Final = "(other)"
"""Everything beyond the bound together."""
UNSAID: Final = "(unsaid)"
"""The channel where a decision names none: another program wrote it, or an older scorer."""
_SLOTS_FROM: Final = np.array([*range(20), 20, 50, 100])
SLOT_NAMES: Final = (*map(str, range(20)), "20-49", "50-99", "100-")
"""Names of the slots that are counted: the first twenty each, those behind them together."""

_SHOWN, _TAKEN = 1, 2
Labels = tuple[str, ...]
Flags = NDArray[np.bool_]


@dataclass(slots=True)
class Clicks:
    """Items shown and taken up, by their labels.

    Attributes
    ----------
    n_max
        Labels that are counted by name; those that come later count as ``OTHER``.
    """

    n_max: int
    shown: Counter[Labels] = field(default_factory=Counter)
    taken: Counter[Labels] = field(default_factory=Counter)

    def add(self, shown: Mapping[Labels, int], taken: Mapping[Labels, int]) -> None:
        """Count items, of which those taken up are among those shown, now or before."""
        for held, added in ((self.shown, shown), (self.taken, taken)):
            for labels, n in added.items():
                if n:
                    held[self._known(labels)] += n

    def _known(self, labels: Labels) -> Labels:
        if labels in self.shown or len(self.shown) < self.n_max:
            return labels
        return (OTHER,) * len(labels)


@dataclass(frozen=True, slots=True)
class ClickCounts:
    """Items shown and taken up since the counts began, by each kind of label.

    Attributes
    ----------
    by_surface, by_channel, by_slot
        By one label.
    by_variant
        By experiment and variant; an item counts for each experiment of its user.
    answers
        By surface, slates of which an item was shown, and of which one was taken up.
    """

    by_surface: Clicks = field(default_factory=lambda: Clicks(LABELS_MAX))
    by_variant: Clicks = field(default_factory=lambda: Clicks(VARIANTS_MAX))
    by_channel: Clicks = field(default_factory=lambda: Clicks(LABELS_MAX))
    by_slot: Clicks = field(default_factory=lambda: Clicks(len(SLOT_NAMES)))
    answers: Clicks = field(default_factory=lambda: Clicks(LABELS_MAX))

    def note(self, decisions: Sequence[Shown]) -> None:
        """Count what is new of decisions whose window is over; they remember what was counted."""
        decisions = [each for each in decisions if each.item_ids]
        if not decisions:
            return
        n_items = np.array([len(each.item_ids) for each in decisions])
        starts = np.cumsum(n_items) - n_items
        before = np.concatenate([each.counted for each in decisions])
        rewards = np.concatenate([each.applied for each in decisions])
        now = np.where(np.isnan(rewards), 0, np.where(rewards > 0, _TAKEN, _SHOWN))
        after = np.maximum(before, now).astype(np.int8)
        if np.array_equal(before, after):
            return
        for each, start, n in zip(decisions, starts.tolist(), n_items.tolist(), strict=True):
            each.counted[:] = after[start : start + n]
        shown, taken = ((before < level) & (level <= after) for level in (_SHOWN, _TAKEN))
        self._count_slots(decisions, shown, taken)
        self._count_channels(decisions, shown, taken)
        n_shown, n_taken = (
            np.add.reduceat(each, starts, dtype=np.int64) for each in (shown, taken)
        )
        surfaces = [[(each.surface or NO_SURFACE,)] for each in decisions]
        self.by_surface.add(_sums(surfaces, n_shown), _sums(surfaces, n_taken))
        variants = [each.variants for each in decisions]
        self.by_variant.add(_sums(variants, n_shown), _sums(variants, n_taken))
        first, best = (np.maximum.reduceat(each, starts) for each in (before, after))
        new = [((first < level) & (level <= best)).astype(np.int64) for level in (_SHOWN, _TAKEN)]
        self.answers.add(*(_sums(surfaces, each) for each in new))

    def _count_slots(self, decisions: Sequence[Shown], shown: Flags, taken: Flags) -> None:
        slots = np.concatenate([each.slots() for each in decisions])
        bins = _bins(slots)
        counts = (np.bincount(bins[each], minlength=len(SLOT_NAMES)) for each in (shown, taken))
        names: list[Labels] = [(name,) for name in SLOT_NAMES]
        self.by_slot.add(*(dict(zip(names, each.tolist(), strict=True)) for each in counts))

    def _count_channels(self, decisions: Sequence[Shown], shown: Flags, taken: Flags) -> None:
        names = [
            *chain.from_iterable(
                each.channels or (UNSAID,) * len(each.item_ids) for each in decisions
            )
        ]
        counts = (Counter[Labels](zip(compress(names, each))) for each in (shown, taken))
        self.by_channel.add(*counts)


def slot_names(slots: NDArray[np.int64]) -> list[str]:
    """Return the names under which slots are counted.

    >>> slot_names(np.array([0, 19, 20, 50, 499]))
    ['0', '19', '20-49', '50-99', '100-']
    """
    return [SLOT_NAMES[at] for at in _bins(slots).tolist()]


def _bins(slots: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.searchsorted(_SLOTS_FROM, slots, side="right") - 1


def _sums(labels: Sequence[Iterable[Labels]], numbers: NDArray[np.int64]) -> Counter[Labels]:
    """Return the sum of the numbers of the decisions of each label, those above 0."""
    found: Counter[Labels] = Counter()
    for at in np.flatnonzero(numbers).tolist():
        for each in labels[at]:
            found[each] += int(numbers[at])
    return found
