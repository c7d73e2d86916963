"""What a shadow variant would have earned, off-policy, and whether the log can tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from streamer.ope.bandit_log import Floats
from streamer.ope.mean_difference import MeanDifference
from streamer.ope.shadow_log import ShadowSlots
from streamer_models.evaluation.ope import IPS, SNIPS, WeighedLog, paired_difference

TITLE: Final = "not shown: reward a slot, off-policy"
HEADS: Final = (
    "shadow", "slates of", "in common", "slots", "worth", "shown", "would be", "less shown",
)  # fmt: skip
"""Heads of :meth:`ShadowReport.cells`."""
OBJECTIVES_TITLE: Final = "not shown: objectives a slot, off-policy"
OBJECTIVES_HEADS: Final = (
    "shadow", "slates of", "objective", "shown", "would be", "less shown",
)  # fmt: skip
"""Heads of :meth:`ShadowReport.objective_cells`."""
EFFECTIVE_MIN: Final = 300
"""Effective slots below which nothing is said: a handful of them decides then."""
COVERED_MIN: Final = 0.9
COVERED_MAX: Final = 1.1
"""Range of the mean weight. It is 1 in expectation where all that the shadow shows is shown at
times; below, part of it never was, and above, a few large weights came by chance."""


class ShadowOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome of a slot, as rewards or one objective.

    Attributes
    ----------
    shown
        Mean of what was shown; None without slots.
    value
        Mean of what the shadow would have shown, by the self-normalised estimate; None: no weight.
    difference
        ``value`` less ``shown``, with an interval for one look; None where there is no value, or
        one user alone.
    """

    shown: float | None
    value: float | None
    difference: MeanDifference | None


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow variant beside the variant that served the same slates; rewards are of a slot.

    Attributes
    ----------
    name, served
        The two variants.
    slates, slots
        Slates that it was computed for; their slots whose outcome is known.
    common
        Share of all slots in which it would have shown what was shown.
    effective_slots
        Slots of equal weight that those are worth for it.
    mean_weight
        About 1 where what it would show is shown at times.
    shown, value, difference
        Of rewards, as in :class:`ShadowOutcome`.
    objectives
        By name, what it would have brought of each.
    can_tell
        Whether effective slots and mean weight allow to believe it; they are those of all outcomes.
    """

    name: str
    served: str
    slates: int
    slots: int
    common: float | None
    effective_slots: float
    mean_weight: float | None
    shown: float | None
    value: float | None
    difference: MeanDifference | None
    objectives: dict[str, ShadowOutcome]
    can_tell: bool

    def cells(self) -> tuple[str, ...]:
        """Return what a table says of it."""
        told = self._told
        star = " *" if told is not None and told.decided else "  "
        return (
            self.name,
            self.served,
            _or_dash(self.common, "{:.0%}"),
            f"{self.slots:,}",
            f"{self.effective_slots:,.0f}",
            _or_dash(self.shown, "{:.4f}"),
            _or_dash(None if told is None else self.value, "{:.4f}"),
            _or_dash(None if told is None else told.estimate, "{:+.4f}" + star),
        )

    def objective_cells(self) -> Iterator[tuple[str, ...]]:
        """Yield what a table says of each objective."""
        for name, each in self.objectives.items():
            told = each.difference if self.can_tell else None
            yield (
                self.name,
                self.served,
                name,
                _or_dash(each.shown, "{:.4f}"),
                _or_dash(None if told is None else each.value, "{:.4f}"),
                "–" if told is None else _with_reach(told),
            )

    def said(self) -> str:
        """Return in words whether it would earn more or less."""
        told = self._told
        if told is None:
            said = self._why_not()
        elif not told.decided:
            said = (
                f"as far as can be told, a slot would earn what those of {self.served} did, {told}"
            )
        else:
            more = "more" if told.low > 0 else "less"
            said = f"a slot would earn {more} than those of {self.served} did, {told}"
        return f"{self.name}, not shown: {said}"

    @property
    def _told(self) -> MeanDifference | None:
        return self.difference if self.can_tell else None

    def _why_not(self) -> str:
        if self.mean_weight is None or self.slots < EFFECTIVE_MIN:
            return (
                f"{self.slots:,} slots of {self.served} are too few to tell, {EFFECTIVE_MIN} at"
                " least can: wait, or raise its shadow"
            )
        if self.mean_weight < COVERED_MIN:
            return (
                f"{self.served} shows too little of what it would show to tell (mean weight"
                f" {self.mean_weight:.2f}, needs {COVERED_MIN:g}): serve it to some users, or have"
                f" {self.served} explore more (bandit.uniform_share)"
            )
        if self.effective_slots < EFFECTIVE_MIN:
            n_enough = round(self.slots * EFFECTIVE_MIN / self.effective_slots, -2)
            return (
                f"{self.slots:,} slots of {self.served} are worth {self.effective_slots:,.0f} for"
                f" it, and {EFFECTIVE_MIN} can tell: some {n_enough:,.0f} would do, or have"
                f" {self.served} explore more (bandit.uniform_share)"
            )
        return (
            f"a few slots of {self.served} weigh too much to tell (mean weight"
            f" {self.mean_weight:.2f}, at most {COVERED_MAX:g} can): wait, or have {self.served}"
            " explore more (bandit.uniform_share)"
        )


def shadow_report(found: ShadowSlots, *, alpha: float) -> ShadowReport:
    """Return what a shadow variant would have earned where another one served.

    Rows of one user are kept together, and the two policies are compared over the same rows.
    """
    weighed = SNIPS().terms(WeighedLog(found.rewards, found.propensities, found.target))
    n, effective = len(found.rewards), weighed.effective_sample_size
    mean_weight = float(weighed.denominators.sum()) / n if n else None
    of_rewards = _outcome(found, found.rewards, alpha)
    return ShadowReport(
        name=found.shadow,
        served=found.served,
        slates=found.n_slates,
        slots=n,
        common=found.n_common / found.n_slots if found.n_slots else None,
        effective_slots=effective,
        mean_weight=mean_weight,
        shown=of_rewards.shown,
        value=of_rewards.value,
        difference=of_rewards.difference,
        objectives={name: _outcome(found, gains, alpha) for name, gains in found.gains.items()},
        can_tell=of_rewards.difference is not None
        and effective >= EFFECTIVE_MIN
        and mean_weight is not None
        and COVERED_MIN <= mean_weight <= COVERED_MAX,
    )


def _outcome(found: ShadowSlots, outcomes: Floats, alpha: float) -> ShadowOutcome:
    log = WeighedLog(outcomes, found.propensities, found.target)
    weighed = SNIPS().terms(log)
    known = WeighedLog(outcomes, found.propensities, found.propensities)
    shown = IPS().terms(known)  # weights of 1
    estimate, low, high = paired_difference(weighed, shown, found.users, level=1 - alpha)
    total = float(weighed.denominators.sum())
    return ShadowOutcome(
        shown=float(outcomes.mean()) if len(outcomes) else None,
        value=float(weighed.numerators.sum()) / total if total else None,
        difference=MeanDifference(estimate=estimate, low=low, high=high)
        if np.isfinite(low)
        else None,
    )


def _with_reach(change: MeanDifference) -> str:
    star = " *" if change.decided else "  "
    return f"{change.estimate:+.4f} ± {(change.high - change.low) / 2:.4f}{star}"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
