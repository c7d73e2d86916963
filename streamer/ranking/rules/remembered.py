"""Verdicts of conditions, remembered while what they read stays the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Final

from streamer.catalogue.columns import ItemColumns
from streamer.expressions.tree import And, Condition, Not, Or, reads_time, request_fields
from streamer.ranking.rules.verdicts import Mask, Question, Verdict, everywhere, verdict

_VERDICTS_MAX: Final = 64
"""Verdicts kept, those asked for last: 2 B an item each, 13 MB of 100,000 items."""


@dataclass(slots=True)
class _Kept:
    """Where a condition holds and fails as of a revision of the columns."""

    columns: ItemColumns
    revision: int
    holds: Mask
    fails: Mask


class Verdicts:
    """Gives verdicts on conditions. Those that do not read the time are remembered by the fields of
    the request that they read; only items that changed since are looked at again.

    For use by one thread at a time.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __call__(self, condition: Condition, question: Question) -> Verdict:
        """Return where a condition holds among all slots; not to be written into."""
        if not reads_time(condition):
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
        columns, kept = question.columns, self._kept.get(key)
        slots = None
        if kept is not None and kept.columns is columns and len(kept.holds) == columns.n_slots:
            slots = columns.slots_since(kept.revision)
        if kept is None or slots is None:
            found, n = verdict(condition, question), columns.n_slots
            kept = self._kept[key] = _Kept(
                columns, columns.revision, everywhere(found.holds, n), everywhere(found.fails, n)
            )
            if len(self._kept) > _VERDICTS_MAX:
                self._kept.popitem(last=False)
        elif len(slots):
            again = verdict(condition, replace(question, slots=slots))
            kept.holds[slots], kept.fails[slots] = again.holds, again.fails
            kept.revision = columns.revision
        self._kept.move_to_end(key)
        return Verdict(kept.holds, kept.fails)
