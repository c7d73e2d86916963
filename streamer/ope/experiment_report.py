"""What an experiment says so far: outcomes by variant, differences to the control, the split, and
what shadow variants would have earned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec
import numpy as np

from streamer.config.experiments import ExperimentConfig
from streamer.config.keys import OBJECTIVES
from streamer.ope.experiment_log import ExperimentLog, UserOutcome
from streamer.ope.mean_difference import MeanDifference
from streamer.ope.shadow_report import ShadowReport, shadow_report
from streamer_models.evaluation.confidence_sequences import (
    GROUP_MIN,
    difference_sequence,
    split_p_value,
)

SPLIT_ALPHA: Final = 0.001
"""Chance that a right split is ever called wrong."""
Outcome = Callable[[UserOutcome], float]


class VariantReport(msgspec.Struct, frozen=True, kw_only=True):
    """One variant.

    Attributes
    ----------
    share
        Of the users who take part, as configured.
    users, complete
        Users that had a slate; those whose time is over, who alone count in means.
    means
        By metric, a user.
    differences
        By metric, against the control; none of the control itself. None: too few users yet.
    """

    name: str
    share: float
    users: int
    complete: int
    slates: int
    means: dict[str, float | None]
    differences: dict[str, MeanDifference | None]

    def cells(self, metric: str) -> tuple[str, str]:
        """Return what a table says of the difference in a metric: it, and its interval."""
        change = self.differences.get(metric)
        if change is None:
            return "", "too few users" if metric in self.differences else ""
        star = " *" if change.decided else "  "
        return f"{change.estimate:+.4f}", f"{change.low:+.4f} to {change.high:+.4f}{star}"


class ExperimentReport(msgspec.Struct, frozen=True, kw_only=True):
    """An experiment so far.

    Attributes
    ----------
    alpha
        Chance that any interval of a metric ever misses its difference.
    n_planned
        Users that intervals are narrowest around.
    split_p_value
        Of users having been split as configured, whenever one looks.
    shadows
        By shadow variant and variant that served, in the order of names.
    remarks
        What was left out, and what is odd.
    """

    experiment: str
    control: str
    window_s: float
    alpha: float
    n_planned: int
    split_p_value: float
    variants: list[VariantReport]
    shadows: list[ShadowReport]
    remarks: list[str]

    @property
    def split_is_wrong(self) -> bool:
        """Whether users were not split as configured."""
        return self.split_p_value < SPLIT_ALPHA

    def split_said(self) -> str:
        """Return in words whether users were split as configured."""
        p = self.split_p_value
        if len(self.variants) == 1:
            return f"users are not split: {self.control} serves all who take part"
        split = " : ".join(f"{each.share:.3g}" for each in self.variants)
        if self.split_is_wrong:
            return (
                f"users are NOT split {split} (p = {p:.2g} at any time): something loses users of"
                " one variant; trust no difference above before it is found"
            )
        return f"users are split {split}, as configured (p = {p:.2g} at any time)"

    def verdicts(self) -> list[str]:
        """Return in words which variant earns more or less than the control, and brings more or
        less of each objective."""
        level = f"{100 * (1 - self.alpha):g} %"
        lines = []
        if len(self.variants) > 1:
            lines.append(
                f"intervals hold at all times at once, with {level}, of each metric; *: 0 is"
                " outside"
            )
        for variant in self.variants[1:]:
            for metric, change in variant.differences.items():
                table, _, objective = metric.partition(".")
                if change is None or (table != OBJECTIVES and metric != "reward"):
                    continue
                what = f"objective {objective}" if objective else metric
                if not change.decided:
                    said = "not told apart from"
                else:
                    said = "higher than" if change.low > 0 else "lower than"
                lines.append(
                    f"{variant.name}: {what} a user is {said} that of {self.control}, {change}"
                )
        if any(each.can_tell for each in self.shadows):
            lines.append(f"intervals of what is not shown hold for one look, with {level}")
        return lines + [each.said() for each in self.shadows]


def report(
    name: str,
    experiment: ExperimentConfig,
    log: ExperimentLog,
    *,
    window_s: float,
    alpha: float,
    n_planned: int,
) -> ExperimentReport:
    """Return what an experiment says so far.

    ``alpha`` is divided by the number of variants that are compared with the control (Bonferroni),
    and is that of each shadow as it is.
    """
    shares = experiment.shares()
    metrics = _metrics(log)
    by_variant = {variant: [u for u in log.users if u.variant == variant] for variant in shares}
    of_each = alpha / max(len(shares) - 1, 1)
    ordered = [experiment.control, *(each for each in shares if each != experiment.control)]
    variants = []
    for variant in ordered:
        users = by_variant[variant]
        complete = [user for user in users if user.complete]
        variants.append(
            VariantReport(
                name=variant,
                share=shares[variant],
                users=len(users),
                complete=len(complete),
                slates=sum(user.n_slates for user in users),
                means={
                    metric: float(np.mean([outcome(user) for user in complete]))
                    if complete
                    else None
                    for metric, outcome in metrics.items()
                },
                differences={}
                if variant == experiment.control
                else {
                    metric: _difference(
                        log.users, outcome, variant, experiment.control, shares, of_each, n_planned
                    )
                    for metric, outcome in metrics.items()
                },
            )
        )
    counts = [len(by_variant[variant]) for variant in shares]
    return ExperimentReport(
        experiment=name,
        control=experiment.control,
        window_s=window_s,
        alpha=alpha,
        n_planned=n_planned,
        split_p_value=split_p_value(counts, list(shares.values())),
        variants=variants,
        shadows=[shadow_report(each, alpha=alpha) for each in log.shadows],
        remarks=remarks_of(experiment, log, variants),
    )


def _metrics(log: ExperimentLog) -> dict[str, Outcome]:
    """Return the outcomes of a user by name; objectives by their table of the configuration."""
    found: dict[str, Outcome] = {
        "reward": lambda user: user.reward,
        "conversion": lambda user: float(user.converted),
    }
    if log.watches:
        found["watched"] = lambda user: user.watched
    for place, name in enumerate(log.objectives):
        found[f"{OBJECTIVES}.{name}"] = partial(_gained, place)
    return found


def _gained(place: int, user: UserOutcome) -> float:
    return float(user.gained[place])


def _difference(
    users: Sequence[UserOutcome],
    outcome: Outcome,
    variant: str,
    control: str,
    shares: dict[str, float],
    alpha: float,
    n_planned: int,
) -> MeanDifference | None:
    of_two = shares[variant] + shares[control]
    if not shares[variant] or not shares[control]:
        return None
    chosen = [user for user in users if user.complete and user.variant in (variant, control)]
    found = difference_sequence(
        np.array([outcome(user) for user in chosen]),
        np.array([user.variant == variant for user in chosen], dtype=np.bool_),
        shares[variant] / of_two,
        alpha=alpha,
        n_planned=n_planned,
    )
    if not chosen or not np.isfinite(found.radii[-1]):
        return None
    estimate, radius = float(found.estimates[-1]), float(found.radii[-1])
    return MeanDifference(estimate=estimate, low=estimate - radius, high=estimate + radius)


def remarks_of(
    experiment: ExperimentConfig, log: ExperimentLog, variants: Sequence[VariantReport]
) -> list[str]:
    """Return in words what was left out of an experiment, and what is odd of it."""
    found = [*log.gone]
    if log.n_unknown:
        found.append(
            f"{log.n_unknown:,} users are left out, as their first slate or what came of it may be"
            " among these. Who keeps all can tell: name a folder of files that `streamer record`"
            " wrote in time, or that of `streamer up --data`; and before the next experiment"
            " raise topics.retention_hours (the broker of `streamer up` keeps 5 MB a partition,"
            " whatever that says: start it with --data)"
        )
    if log.n_moved:
        found.append(
            f"{log.n_moved:,} users were in several variants and are left out: was the salt or a"
            " weight changed? Begin another experiment with another salt"
        )
    if log.n_elsewhere:
        found.append(
            f"{log.n_elsewhere:,} users are in another variant than this configuration splits them"
            " into: it is not that of the scorers, or was changed"
        )
    if opposed := list(_opposed(variants)):
        found.append(
            f"the means tell another sign than the differences of {', '.join(opposed)}: these are"
            " estimated while users come, which is what their intervals hold for; neither tells a"
            " sign where 0 is inside"
        )
    others = sorted({user.variant for user in log.users} - {*experiment.served})
    if others:
        found.append(f"variants of the log that are not configured any more: {', '.join(others)}")
    without = sorted({*experiment.shadows} - {each.shadow for each in log.shadows})
    if without:
        found.append(
            f"no slate whose time is over has a shadow of {', '.join(without)}: were the scorers"
            " started with this configuration, and have they time for it"
            " (streamer_scorer_experiment_shadows_total)?"
        )
    few = [each for each in variants if each.complete < GROUP_MIN]
    if few and len(variants) > 1:
        would_do = any(each.users >= GROUP_MIN for each in few)
        found.append(
            f"no interval for fewer than {GROUP_MIN} users whose time is over, of a variant and of"
            f" the control: {', '.join(each.name for each in few)}"
            + ("; a shorter --window is over sooner" if would_do else "")
        )
    found += log.left_out
    if log.faults.n:
        found.append(f"{log.faults.n:,} messages can't be read; the first: {log.faults.first[0]}")
    return found


def _opposed(variants: Sequence[VariantReport]) -> Iterator[str]:
    """Yield differences of the other sign than that of the means, with both."""
    control, *others = variants
    for variant in others:
        for metric, change in variant.differences.items():
            mean, of_control = variant.means[metric], control.means[metric]
            if change is None or mean is None or of_control is None:
                continue
            if (mean - of_control) * change.estimate < 0:
                yield (
                    f"{metric} of {variant.name} ({mean - of_control:+.4f}, {change.estimate:+.4f})"
                )
