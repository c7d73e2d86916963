"""What the rules of a configuration and the filter of a request say of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.columns import ItemColumns
from streamer.catalogue.described import DescribedFields
from streamer.config import Config
from streamer.events import Request
from streamer.events.profiles import Profile
from streamer.expressions.reading import read, read_filter
from streamer.expressions.tree import LIST_FIELDS, Condition, Scalar, item_fields
from streamer.ranking.reads import did_you_mean, field_of_item, items_fields, read_by, written
from streamer.ranking.rules.remembered import Verdicts
from streamer.ranking.rules.verdicts import Mask, Question
from streamer_models.state.table import Keys, Slots

FILTER: Final = "filter"
"""What the filter of a request is called among the rules."""
_RULES_SAID_MAX: Final = 30
_NOT_KNOWN: Final = 0
"""The slot of what the catalogue does not know."""
_UNREAD_SAID_MAX: Final = 4


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
class Boost:
    """One expression that moves items up or down.

    Attributes
    ----------
    name
        ``rules.NAME.boost``.
    amount
        In standard deviations of what is expected of the candidates; below 0: down.
    """

    name: str
    amount: float
    condition: Condition


@dataclass(frozen=True, slots=True)
class Ruled:
    """What keeps which items out of one slate.

    Attributes
    ----------
    columns
        The slots are those of.
    described
        Which fields items have.
    asked
        Field of the request → its value, where it has one.
    by_rule
        ``(n_slots,)`` of each rule the items that it keeps out.
    out
        ``(n_slots,)`` items that any of them keeps out.
    boosts
        ``(n_slots,)`` of each boost the items that it is for, or ``()`` where for all or none.
    """

    columns: ItemColumns
    described: DescribedFields
    asked: Mapping[str, Scalar]
    by_rule: Sequence[tuple[Rule, Mask]]
    out: Mask
    boosts: Sequence[tuple[Boost, Mask]] = ()

    def raised(self, keys: Keys) -> NDArray[np.float64] | None:
        """``(n,)`` by how much items are boosted, all boosts together; None: none of them is."""
        if not self.boosts:
            return None
        slots, found = self.columns.slots(keys), np.zeros(len(keys))
        for boost, mask in self.boosts:
            found += boost.amount * np.broadcast_to(mask, self.out.shape)[slots]
        return found if found.any() else None

    def boosts_of(self, key: int) -> dict[str, float]:
        """Return the boosts of an item, by name."""
        slot = self._slot(key)
        return {
            boost.name: boost.amount
            for boost, mask in self.boosts
            if np.broadcast_to(mask, self.out.shape)[slot]
        }

    def _slot(self, key: int) -> int:
        return int(self.columns.slots(np.array([key], dtype=np.uint64))[0])

    def bars(self, key: int) -> list[Rule]:
        """Return the rules that keep an item out."""
        slot = self._slot(key)
        return [rule for rule, out in self.by_rule if out[slot]]

    def n_barred(self) -> dict[str, int]:
        """Return how many items of the catalogue each rule keeps out, by its name; of one that
        keeps out items that the catalogue does not know it may be 0, one that keeps out nothing is
        left out."""
        known = self.columns.known
        counts = {rule.name: np.count_nonzero(out & known) for rule, out in self.by_rule}
        return {
            rule.name: int(counts[rule.name])
            for rule, out in self.by_rule
            if counts[rule.name] or out[_NOT_KNOWN]
        }

    def why_empty(self) -> str | None:
        """Return what the rules kept out, for a slate without an item; None: nothing."""
        said = self._said(self.n_barred())
        n_known = int(np.count_nonzero(self.columns.known))
        return f"of {n_known:,} items of the catalogue, {said}" if said else None

    def why_none_of(self, slots: Slots) -> str:
        """Return what the rules kept out of some slots, one an item; "": nothing."""
        counts = {rule.name: int(np.count_nonzero(out[slots])) for rule, out in self.by_rule}
        return self._said({name: n for name, n in counts.items() if n})

    def why_out(self, rule: Rule) -> str:
        """Return why a rule keeps an item out."""
        return rule.why + self._unread(rule)

    def _said(self, counts: Mapping[str, int]) -> str:
        said = [
            f"{'the filter' if rule.name == FILTER else rule.name} keeps out {counts[rule.name]:,}"
            + self._unread(rule)
            for rule, _ in self.by_rule
            if rule.name in counts
        ]
        return ", ".join(said[:_RULES_SAID_MAX])

    def _unread(self, rule: Rule) -> str:
        """Return what a rule reads that nothing has, in brackets; "": nothing, or it keeps out what
        it can be said of."""
        if not rule.keeps:
            return ""
        asked = [written(field) for field in self.asked]
        said = []
        for field in read_by(rule.condition):
            item_field = field_of_item(field)
            if item_field is not None and item_field not in self.described:
                known, whose = items_fields(self.described), "no item has"
            elif item_field is None and field not in asked:
                known = asked
                whose = "the user has no" if field.startswith("user.") else "the request has no"
            else:
                continue
            asked_back = did_you_mean(field, known)
            said.append(f"{whose} {field}" + (f": {asked_back}" if asked_back else ""))
        return f" ({'; '.join(said[:_UNREAD_SAID_MAX])})" if said else ""


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
        self._boosts = [
            Boost(f"rules.{name}.boost", rule.boost, read(rule.when))
            for name, rule in sorted(config.rules.items())
            if rule.boost
        ]
        self._verdicts = Verdicts()

    def prepare(self, catalogue: Catalogue) -> None:
        """Make the columns that the rules read, some .3 s each for 100,000 items."""
        for field in frozenset().union(*map(item_fields, self._conditions())):
            if field in LIST_FIELDS:
                catalogue.columns.labels(field)
            else:
                catalogue.columns.values(field)

    def _conditions(self) -> list[Condition]:
        return [*(each.condition for each in self._rules), *(b.condition for b in self._boosts)]

    def of(
        self, request: Request, profile: Profile, catalogue: Catalogue, at_ms: int
    ) -> Ruled | None:
        """Return what is said for a request; None where there are neither rules nor a filter.

        Raises
        ------
        BadMessage
            Where the filter can't be answered.
        """
        rules = self._rules if request.filter is None else [*self._rules, _filter(request.filter)]
        if not rules and not self._boosts:
            return None
        asked = values_asked(request, profile)
        question = Question(catalogue.columns, asked, at_ms)
        by_rule, out = [], np.zeros(catalogue.columns.n_slots, dtype=np.bool_)
        for rule in rules:
            holds = self._verdicts(rule.condition, question).holds
            mask = np.broadcast_to(~holds if rule.keeps else holds, out.shape)
            by_rule.append((rule, mask))
            out |= mask
        boosts = [(each, self._verdicts(each.condition, question).holds) for each in self._boosts]
        return Ruled(catalogue.columns, catalogue.described, asked, by_rule, out, boosts)


def _filter(text: str) -> Rule:
    return Rule(FILTER, text, read_filter(text), keeps=True)


def values_asked(request: Request, profile: Profile) -> dict[str, Scalar]:
    """Return what expressions read of a request and its user, by field."""
    found: dict[str, Scalar] = {"user_id": request.user_id}
    if request.surface is not None:
        found["surface"] = request.surface
    found |= {f"context.{name}": value for name, value in (request.context or {}).items()}
    found |= {f"user.{name}": value for name, value in profile.attributes.items()}
    return found
