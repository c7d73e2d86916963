"""What came of a demo, and the tables that show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table

from streamer.application.scraped import histogram_quantile
from streamer.demo.audience import Audience, Score

_WIDTH = 60
_LEARNER, _SCORER = "streamer_learner", "streamer_scorer"

Samples = Mapping[str, float]
"""As :meth:`streamer.application.local.system.LocalSystem.metrics` gives them."""


@dataclass(slots=True, kw_only=True)
class DemoResult:
    """Written as JSON with ``--json``.

    All but ``dead_letters`` and ``lost``, which are of all systems, and what is given by policy is
    of the system named ``streamer``.

    Attributes
    ----------
    events, events_per_s
        Events published and acknowledged.
    freshness_ms
        From an event's publication to served parameters that have learned it: p50 and p99.
    click_rate
        By policy: clicks an item shown (simulated users), or how often the next item taken was
        among those shown (a real log); ``measure`` says which.
    expected_clicks, regret
        By policy, a slate: clicks to expect by the true probabilities, and how many more the best
        slate is worth. Empty for a real log.
    explored_share
        Slots that chance filled, not the ranking, a slot.
    reward_a_slate
        Of decisions joined, as the learner learned it.
    join
        ``match_rate``: feedback that found its decision; ``delay_ms``: from a decision to feedback
        on it, p50; ``late`` and ``lost``: feedback beyond the horizon and beyond the bound.
    calibration
        Rewards ``expected`` and ``observed`` an item whose outcome is known.
    dead_letters
        Messages refused, each with its reason on the dead-letter topic.
    lost
        Events published that what is served at the end has not learned.
    """

    events: int
    events_per_s: float
    freshness_ms: dict[str, float]
    click_rate: dict[str, float]
    measure: str
    expected_clicks: dict[str, float] = field(default_factory=dict)
    regret: dict[str, float] = field(default_factory=dict)
    explored_share: float
    reward_a_slate: float
    join: dict[str, float]
    calibration: dict[str, float]
    dead_letters: int
    lost: int
    lag: int
    seconds: float
    start_s: float
    seed: int


def measured(
    audience: Audience,
    samples: Samples,
    *,
    n_events: int,
    dead_letters: int,
    lost: int,
    seconds: float,
    start_s: float,
    seed: int,
) -> DemoResult:
    """What has come of it so far."""
    rates = {policy: round(audience.scores[policy].rate, 4) for policy in audience.policies}
    result = DemoResult(
        events=n_events,
        events_per_s=round(n_events / max(seconds, 1e-9), 1),
        freshness_ms={"p50": _freshness_ms(samples, "0.5"), "p99": _freshness_ms(samples, "0.99")},
        click_rate=rates,
        measure=audience.measure,
        explored_share=_share(samples, f"{_SCORER}_explored_total", f"{_SCORER}_slots_total"),
        reward_a_slate=_share(
            samples, f"{_LEARNER}_reward", f"{_LEARNER}_decisions_total{{joined}}"
        ),
        join=_joins(samples),
        calibration=_calibration(samples),
        dead_letters=dead_letters,
        lost=lost,
        lag=int(samples.get(f"{_LEARNER}_lag", 0)),
        seconds=round(seconds, 2),
        start_s=round(start_s, 2),
        seed=seed,
    )
    if audience.knows_regret:
        for policy in audience.policies:
            score: Score = audience.scores[policy]
            result.expected_clicks[policy] = round(score.a_slate(score.expected), 3)
            result.regret[policy] = round(score.a_slate(score.regret), 3)
    return result


def n_dead_letters(samples: Samples) -> int:
    """Messages that a system refused."""
    return int(sum(samples.get(f"{each}_dead_letters_total", 0) for each in (_LEARNER, _SCORER)))


def _freshness_ms(samples: Samples, quantile: str) -> float:
    value = samples.get(f"{_SCORER}_freshness_ms{{{quantile}}}", 0.0)
    return 0.0 if value != value else round(value, 1)


def _share(samples: Samples, part: str, whole: str) -> float:
    return round(samples.get(part, 0.0) / max(1.0, samples.get(whole, 0.0)), 4)


def _joins(samples: Samples) -> dict[str, float]:
    fates = {
        fate: samples.get(f"{_LEARNER}_feedback_total{{{fate}}}", 0.0)
        for fate in ("matched", "unmatched", "late", "lost")
    }
    delay_s = histogram_quantile(samples, f"{_LEARNER}_join_delay_seconds", 0.5)
    return {
        "match_rate": round(fates["matched"] / max(1.0, sum(fates.values())), 4),
        "delay_ms": round(1000 * delay_s, 1),
        "late": fates["late"],
        "lost": fates["lost"],
    }


def _calibration(samples: Samples) -> dict[str, float]:
    def total(name: str) -> float:
        prefix = f"{_LEARNER}_calibration_{name}{{"
        return sum(value for key, value in samples.items() if key.startswith(prefix))

    n = max(1.0, total("outcomes"))
    return {name: round(total(name) / n, 4) for name in ("expected", "observed")}


# --- tables --------------------------------------------------------------------------------------


def tables(result: DemoResult, title: str, *, at_the_end: bool = False) -> Group:
    """What is known by now, for a terminal of 60 columns or more."""
    return Group(_system_table(result, title, at_the_end), _policies_table(result))


def _system_table(result: DemoResult, title: str, at_the_end: bool) -> Table:
    table = Table(title=title, show_header=False, min_width=_WIDTH)
    table.add_column(ratio=1)
    table.add_column(justify="right")
    table.add_row("events published", f"{result.events:,}")
    table.add_row("events/s", f"{result.events_per_s:,.0f}")
    table.add_row("lag, events not yet learned", f"{result.lag:,}")
    table.add_row("dead letters", f"{result.dead_letters:,}")
    if at_the_end:
        table.add_row("events lost", f"{result.lost:,}", style="bold red" if result.lost else "")
    table.add_section()
    for quantile, value in result.freshness_ms.items():
        table.add_row(f"event → served, {quantile}", f"{value:,.0f} ms")
    if not result.regret:
        return table  # nobody reacts to slates
    join = result.join
    table.add_row("decision → feedback, p50", f"{join['delay_ms']:,.0f} ms")
    table.add_section()
    table.add_row("feedback joined to its decision", f"{join['match_rate']:.1%}")
    table.add_row("feedback late, lost", f"{join['late']:,.0f}, {join['lost']:,.0f}")
    table.add_row("slots explored", f"{result.explored_share:.1%}")
    table.add_row("reward a slate", f"{result.reward_a_slate:.2f}")
    expected, observed = result.calibration["expected"], result.calibration["observed"]
    table.add_row("reward an item: expected, observed", f"{expected:.3f}, {observed:.3f}")
    return table


def _policies_table(result: DemoResult) -> Table:
    rate_name = result.measure.partition(":")[0]
    table = Table(caption=f"{result.measure}, the same users for all", min_width=_WIDTH)
    table.add_column("policy", ratio=1)
    table.add_column(rate_name, justify="right")
    if result.regret:
        table.add_column("clicks a slate", justify="right")
        table.add_column("regret", justify="right")
    best = max(result.click_rate.values())
    for policy, rate in result.click_rate.items():
        cells = [policy, f"{rate:.3f}"]
        if result.regret:
            cells += [f"{result.expected_clicks[policy]:.2f}", f"{result.regret[policy]:.2f}"]
        table.add_row(*cells, style="bold green" if rate == best > 0 else "")
    return table
