"""What the rules of a configuration and the filter of a request say of the items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.columns import ItemColumns
from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Request
from streamer.expressions.reading import read
from streamer.expressions.syntax import BadExpression
from streamer.expressions.tree import LIST_FIELDS, Condition, Scalar, item_fields
from streamer.ranking.rules.remembered import Verdicts
from streamer.ranking.rules.verdicts import Mask, Question

FILTER: Final = "filter"
"""What the filter of a request is called among the rules."""
_RULES_SAID_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Rule:
    """One expression that keeps items out.

    Attributes
    ----------
    name
        ``rules.NAME.exclude``, ``rules.NAME.only`` or ``filter``.
    keeps
        Whether items stay that it holds for, and the others go; else those go that it holds for.
    """

    name: str
    text: str
    condition: Condition
    keeps: bool

    @property
    def why(self) -> str:
        """Why an item is kept out."""
        return f"{self.name} = {self.text!r} {'does not hold' if self.keeps else 'holds'}"


@dataclass(frozen=True, slots=True)
class Ruled:
    """What keeps which items out of one slate.

    Attributes
    ----------
    columns
        The slots are those of.
    by_rule
        ``(n_slots,)`` of each rule the items that it keeps out.
    out
        ``(n_slots,)`` items that any of them keeps out.
    """

    columns: ItemColumns
    by_rule: Sequence[tuple[Rule, Mask]]
    out: Mask

    def bars(self, key: int) -> list[Rule]:
        """Return the rules that keep an item out."""
        slot = int(self.columns.slots(np.array([key], dtype=np.uint64))[0])
        return [rule for rule, out in self.by_rule if out[slot]]

    def n_barred(self) -> dict[str, int]:
        """Return how many items of the catalogue each rule keeps out, by its name."""
        known = self.columns.known
        return {rule.name: int(np.count_nonzero(out & known)) for rule, out in self.by_rule}

    def why_empty(self) -> str:
        """Return what the rules kept out, for a slate without an item."""
        n_known = int(np.count_nonzero(self.columns.known))
        said = [f"{name} keeps out {n:,}" for name, n in self.n_barred().items()][:_RULES_SAID_MAX]
        return f"of {n_known:,} items of the catalogue {', '.join(said)}"


class Rules:
    """Applies ``[rules.NAME]`` and filters. For use by one thread at a time: it remembers
    verdicts.

    Raises
    ------
    BadExpression
        Where the configuration was never checked.
    """

    def __init__(self, config: Config) -> None:
        self._rules = [
            Rule(f"rules.{name}.{field}", text, read(text), keeps=field == "only")
            for name, rule in sorted(config.rules.items())
            for field, text in (("exclude", rule.exclude), ("only", rule.only))
            if text
        ]
        self._verdicts = Verdicts()

    def prepare(self, catalogue: Catalogue) -> None:
        """Make the columns that the rules read, some .3 s each for 100,000 items."""
        for field in frozenset().union(*(item_fields(each.condition) for each in self._rules)):
            if field in LIST_FIELDS:
                catalogue.columns.labels(field)
            else:
                catalogue.columns.values(field)

    def of(self, request: Request, catalogue: Catalogue, at_ms: int) -> Ruled | None:
        """Return what is said for a request; None where there are neither rules nor a filter.

        Raises
        ------
        BadMessage
            Where the filter can't be answered.
        """
        rules = self._rules if request.filter is None else [*self._rules, _filter(request.filter)]
        if not rules:
            return None
        question = Question(catalogue.columns, _fields(request), at_ms)
        by_rule, out = [], np.zeros(catalogue.columns.n_slots, dtype=np.bool_)
        for rule in rules:
            holds = self._verdicts(rule.condition, question).holds
            mask = np.broadcast_to(~holds if rule.keeps else holds, out.shape)
            by_rule.append((rule, mask))
            out |= mask
        return Ruled(catalogue.columns, by_rule, out)


def _filter(text: str) -> Rule:
    try:
        return Rule(FILTER, text, read(text), keeps=True)
    except BadExpression as error:
        raise BadMessage(f"field 'filter': {text!r}: {error}") from error


def _fields(request: Request) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {"user_id": request.user_id}
    if request.surface is not None:
        found["surface"] = request.surface
    found |= {f"context.{name}": value for name, value in (request.context or {}).items()}
    return found
