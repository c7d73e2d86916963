"""Verdicts of conditions, remembered while what they read stays the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from streamer.catalogue.columns import ItemColumns
from streamer.expressions.tree import (
    And,
    Condition,
    Not,
    Or,
    reads_time,
    request_fields,
    turns_once,
)
from streamer.ranking.rules.verdicts import Mask, Question, Verdict, everywhere, verdict
from streamer_models.state.table import Slots

_VERDICTS_MAX: Final = 64
"""Verdicts kept, those asked for last: 2 B an item each, 13 MB of 100,000 items."""
_SPAN_MS: Final = 60_000
"""How far ahead a condition on the time is looked at."""
_ALWAYS: Final = range(1 << 62)
_NONE: Final[Slots] = np.zeros(0, dtype=np.int32)


@dataclass(slots=True)
class _Kept:
    """Where a condition holds and fails as of a revision of the columns.

    Attributes
    ----------
    during
        Times of requests that it is said for.
    moving
        Slots where it may turn meanwhile.
    """

    columns: ItemColumns
    revision: int
    holds: Mask
    fails: Mask
    during: range = _ALWAYS
    moving: Slots = field(default_factory=lambda: _NONE)

    def is_of(self, question: Question) -> bool:
        """Whether it is said for the items and the time of a question."""
        columns = question.columns
        same = self.columns is columns and len(self.holds) == columns.n_slots
        return same and question.at_ms in self.during

    def look_again(self, condition: Condition, question: Question, slots: Slots) -> None:
        """Say it anew of some slots, as they are now."""
        if len(slots):
            again = verdict(condition, replace(question, slots=slots))
            self.holds[slots], self.fails[slots] = again.holds, again.fails
        self.revision = question.columns.revision


class Verdicts:
    """Gives verdicts on conditions, and remembers them by the fields of the request that they read;
    only items that changed since are looked at again.

    A comparison of the time turns once for each item. Where it says the same a minute ahead it does
    not turn before, and the other items alone are looked at with each request.

    For use by one thread at a time.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __call__(self, condition: Condition, question: Question) -> Verdict:
        """Return where a condition holds among all slots; not to be written into."""
        if not reads_time(condition) or turns_once(condition):
            return self._remembered(condition, question)
        if isinstance(condition, Not):
            return self(condition.of, question).negated()
        if isinstance(condition, And):
            return self(condition.left, question).both(self(condition.right, question))
        if isinstance(condition, Or):
            return self(condition.left, question).either(self(condition.right, question))
        return verdict(condition, question)

    def _remembered(self, condition: Condition, question: Question) -> Verdict:
        read = [question.request.get(field) for field in request_fields(condition)]
        key = condition, *((type(value), value) for value in read)
        kept, changed = self._kept.get(key), None
        if kept is not None and kept.is_of(question):
            changed = question.columns.slots_since(kept.revision)
        if kept is None or changed is None:
            kept = self._kept[key] = _found(condition, question)
            if len(self._kept) > _VERDICTS_MAX:
                self._kept.popitem(last=False)
        elif reads_time(condition):
            if len(changed):
                kept.moving = np.union1d(kept.moving, changed)
            kept.look_again(condition, question, kept.moving)
        else:
            kept.look_again(condition, question, changed)
        self._kept.move_to_end(key)
        return Verdict(kept.holds, kept.fails)


def _found(condition: Condition, question: Question) -> _Kept:
    columns, n = question.columns, question.columns.n_slots
    now = verdict(condition, question)
    holds, fails = everywhere(now.holds, n), everywhere(now.fails, n)
    if not reads_time(condition):
        return _Kept(columns, columns.revision, holds, fails)
    during = range(question.at_ms, question.at_ms + _SPAN_MS)
    ahead = verdict(condition, replace(question, at_ms=during[-1]))
    moving = np.flatnonzero((holds != ahead.holds) | (fails != ahead.fails)).astype(np.int32)
    return _Kept(columns, columns.revision, holds, fails, during, moving)
