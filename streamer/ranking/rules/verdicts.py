"""Conditions answered over the columns of the catalogue, for every item at once.

A condition holds, fails, or can't be said, where a field that it reads has no value or one of
another kind. Cases that can't be said go through ``&&``, ``||`` and ``!`` as in CEL: they stand
aside where the other side decides.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.columns import MISSING, NUMBER, TEXT, TRUTH, ItemColumns, Values
from streamer.expressions.tree import (
    And,
    Condition,
    Constant,
    Equal,
    ItemField,
    Listed,
    Not,
    Now,
    OneOf,
    Or,
    Ordered,
    Present,
    RequestField,
    Scalar,
    Size,
    Value,
)
from streamer_models.state.table import Slots

Mask = NDArray[np.bool_]

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a condition holds and where it fails; neither: it can't be said.

    Attributes
    ----------
    holds, fails
        ``(n,)``, or ``()`` where it is the same for all items.
    """

    holds: Mask
    fails: Mask

    def negated(self) -> Verdict:
        """Return that of the opposite."""
        return Verdict(self.fails, self.holds)

    def both(self, other: Verdict) -> Verdict:
        """Return that of both."""
        return Verdict(self.holds & other.holds, self.fails | other.fails)

    def either(self, other: Verdict) -> Verdict:
        """Return that of one or both."""
        return Verdict(self.holds | other.holds, self.fails & other.fails)


@dataclass(frozen=True, slots=True)
class Question:
    """What conditions are answered from, beside the columns.

    Attributes
    ----------
    columns
        Of the items.
    request
        Field of the request → its value, where it has one.
    at_ms
        Time that the request is answered at.
    slots
        The slots alone that are answered for; None: all.
    """

    columns: ItemColumns
    request: Mapping[str, Scalar]
    at_ms: int
    slots: Slots | None = None


def verdict(node: Condition, question: Question) -> Verdict:
    """Return where a condition holds."""
    if isinstance(node, Not):
        return verdict(node.of, question).negated()
    if isinstance(node, And):
        return verdict(node.left, question).both(verdict(node.right, question))
    if isinstance(node, Or):
        return verdict(node.left, question).either(verdict(node.right, question))
    if isinstance(node, Equal):
        return _equal(values(node.left, question), values(node.right, question))
    if isinstance(node, Ordered):
        return _ordered(node, question)
    if isinstance(node, OneOf):
        return _one_of(node, question)
    if isinstance(node, Listed):
        return _listed(node, question)
    if isinstance(node, Present):
        of = values(node.of, question)
        there = of.numbers > 0 if isinstance(node.of, Size) else of.kinds != MISSING
        return Verdict(there, ~there)
    found = values(node.value, question)
    said = found.kinds == TRUTH
    return Verdict(said & (found.bits == 1), said & (found.bits == 0))


def values(node: Value, question: Question) -> Values:
    """Return a value of every item, or the one value that all share."""
    if isinstance(node, Constant):
        return Values.of(node.value)
    if isinstance(node, RequestField):
        return Values.of(question.request.get(node.field))
    if isinstance(node, Now):
        return Values.of(float(question.at_ms))
    if isinstance(node, ItemField):
        column = question.columns.values(node.field)
        return column if question.slots is None else column.at(question.slots)
    if isinstance(node, Size):
        lengths = question.columns.labels(node.field).lengths
        of = lengths if question.slots is None else lengths[question.slots]
        return Values(np.array(NUMBER, dtype=np.int8), of.astype(np.float64).view(np.uint64))
    left, right = values(node.left, question), values(node.right, question)
    return _computed(node.operator, left, right)


def _computed(operator: str, left: Values, right: Values) -> Values:
    with np.errstate(all="ignore"):  # bits of what is no number may be those of anything
        numbers = np.asarray(_OPERATORS[operator](left.numbers, right.numbers))
        numbers += 0.0  # -0.0 has the bits of 0.0 then
        said = (left.kinds == NUMBER) & (right.kinds == NUMBER) & np.isfinite(numbers)
    assert (MISSING, NUMBER) == (0, 1), "a kind is what a truth is as a number"
    return Values(said.view(np.int8), numbers.view(np.uint64))


def _equal(left: Values, right: Values) -> Verdict:
    said = (left.kinds != MISSING) & (right.kinds != MISSING)
    same = (left.kinds == right.kinds) & (left.bits == right.bits)
    return Verdict(said & same, said & ~same)


def _ordered(node: Ordered, question: Question) -> Verdict:
    left, right = values(node.left, question), values(node.right, question)
    said = (left.kinds == NUMBER) & (right.kinds == NUMBER)
    with np.errstate(invalid="ignore"):  # bits of texts may be those of no number
        in_order = _OPERATORS[node.operator](left.numbers, right.numbers)
    return Verdict(said & in_order, said & ~in_order)


def _one_of(node: OneOf, question: Question) -> Verdict:
    value = values(node.value, question)
    said = value.kinds != MISSING
    among = np.zeros_like(said)
    for each in (values(element, question) for element in node.values):
        said = said & (each.kinds != MISSING)
        among = among | ((value.kinds == each.kinds) & (value.bits == each.bits))
    return Verdict(said & among, said & ~among)


def _listed(node: Listed, question: Question) -> Verdict:
    """Over all slots, whatever is asked for: entries of labels know whose they are."""
    of_all = Question(question.columns, question.request, question.at_ms)
    value = values(node.value, of_all)
    said = value.kinds != MISSING
    having = question.columns.labels(node.field).having(value.bits)
    found = Verdict(having & (value.kinds == TEXT), said & ~(having & (value.kinds == TEXT)))
    return found if question.slots is None else _at(found, question.slots)


def _at(found: Verdict, slots: Slots) -> Verdict:
    return Verdict(found.holds[slots], np.broadcast_to(found.fails, found.holds.shape)[slots])


def everywhere(mask: Mask, n_slots: int) -> Mask:
    """Return a mask of an answer as an array of its own, ``(n_slots,)``."""
    return np.broadcast_to(mask, n_slots).copy()
