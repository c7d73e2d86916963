"""Metrics of a learner: what it takes and commits, what came of decisions and feedback, drift.

What they mean and what to watch is in ``docs/observability.md``.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from streamer.learner.join.counts import CALIBRATION_EDGES, JoinCounts
from streamer.learner.join.metrics import ClickMetrics
from streamer.learner.settings import LearnerCounts
from streamer.telemetry import LATENCY_S, NamedMetrics

_ROWS: Final = (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 30_000.0, 100_000.0)
_DELAY_S: Final = (
    *(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
    *(10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0),
)
_BINS: Final = (*(f"{edge:g}" for edge in CALIBRATION_EDGES), "+Inf")


class LearnerMetrics:
    """What a learner counts.

    Attributes
    ----------
    events, learned, duplicates, unrewarded, unadmitted, dead_letters
        Messages taken, and what became of them.
    ahead, clipped
        Events whose own time lay after their publication; events whose values are clipped, by
        ``type``.
    lost
        Messages deleted before they were read.
    commits, checkpoints, commit_seconds, rows_a_commit
        Of the parameter store.
    rejoins
        Times that another learner took a partition, or that others' logs ran ahead.
    evicted, erased
        Ids dropped, by ``entity``; users erased for a tombstone.
    lag
        Messages waiting, by ``topic`` and ``partition``.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("learner", registry)
        counter = metrics.counter
        self.events = counter("events", "Messages taken from the events topic")
        self.learned = counter("learned", "Events that taught the model something")
        self.duplicates = counter("duplicates", "Events dropped for a repeated event_id")
        self.unrewarded = counter("unrewarded", "Events of a type that is worth nothing")
        self.unadmitted = counter("unadmitted", "Events of ids without a row yet")
        self.dead_letters = counter("dead_letters", "Messages that could not be used")
        self.ahead = counter("ahead", "Events with a time after their publication")
        self.clipped = counter("clipped", "Events with a value beyond its value_range", "type")
        self.lost = metrics.lost()
        self.commits = counter("commits", "Commits to the parameter store")
        self.checkpoints = counter("checkpoints", "Checkpoints of the parameter store")
        self.rejoins = counter("rejoins", "Times that all state was dropped and loaded again")
        self.commit_seconds = metrics.histogram("commit_seconds", "Time one commit took", LATENCY_S)
        self.rows_a_commit = metrics.histogram(
            "rows_a_commit", "Rows that one commit changed", _ROWS
        )
        self.evicted = counter("evicted", "Ids dropped at the bound or after idle time", "entity")
        self.erased = counter("erased", "Users erased for their tombstones")
        self.lag = metrics.lag()
        self._shown: dict[str, int] = {}

    def committed(self, seconds: float, n_rows: int) -> None:
        """Note one commit."""
        self.commit_seconds.observe(seconds)
        self.rows_a_commit.observe(n_rows)

    def show(self, counts: LearnerCounts) -> None:
        """Bring the counters up to what a learner has counted."""
        for counter, name, count in (
            (self.events, "events", counts.n_messages),
            (self.learned, "learned", counts.n_learned),
            (self.duplicates, "duplicates", counts.n_duplicates),
            (self.unrewarded, "unrewarded", counts.n_unrewarded),
            (self.unadmitted, "unadmitted", counts.n_unadmitted),
            (self.dead_letters, "dead_letters", counts.n_rejected),
            (self.ahead, "ahead", counts.n_ahead),
            (self.erased, "erased", counts.n_erased),
            (self.commits, "commits", counts.n_commits),
            (self.checkpoints, "checkpoints", counts.n_checkpoints),
            (self.rejoins, "rejoins", counts.n_rejoins),
            *(
                (self.evicted.labels(entity), f"evicted {entity}", count)
                for entity, count in counts.n_evicted.items()
            ),
            *(
                (self.clipped.labels(name), f"clipped {name}", count)
                for name, count in counts.n_clipped.items()
            ),
        ):
            counter.inc(count - self._shown.get(name, 0))
            self._shown[name] = count


class JoinMetrics:
    """What came of decisions and of feedback.

    Outcomes can be amended and taken back, so sums over them may fall: they are gauges.

    Attributes
    ----------
    decisions
        By ``fate``: ``joined``, ``repeated``, ``foreign``.
    without_slate
        Decisions that logged nothing the blend can learn from.
    feedback
        By ``fate``: ``matched``, ``unmatched``, ``ambiguous``, ``late``, ``lost``.
    delay_seconds
        Event time from a decision to feedback on it.
    amended, closed_early, unadmitted
        Outcomes changed after they were learned, decisions closed at the bound, items shown
        without an arm.
    outcomes, positives, reward
        Items whose outcome is known, those with a positive reward, and the sum of all rewards.
    gained
        What items shown brought, by ``objective``.
    of_variants
        Decisions, outcomes, positives and reward by ``experiment`` and ``variant``.
    open, waiting
        Decisions that feedback may still change, feedback whose decision has not been read.
    foreseen, expected, observed
        By ``below``, the upper edge of a bin of expected rewards: outcomes, the sum of the rewards
        expected of them, the sum of those observed.
    clicks
        Items shown and taken up, as counters.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        metrics = NamedMetrics("learner", registry)
        counter, gauge = metrics.counter, metrics.gauge
        self.decisions = counter("decisions", "Decisions, by what came of them", "fate")
        self.without_slate = counter(
            "decisions_without_slate", "Decisions that logged nothing for the blend"
        )
        self.feedback = counter("feedback", "Events that answer a decision, by fate", "fate")
        self.delay_seconds = metrics.histogram(
            "join_delay_seconds", "Event time from a decision to feedback on it", _DELAY_S
        )
        self.amended = counter("amended", "Outcomes that changed after they were learned")
        self.closed_early = counter("closed_early", "Decisions closed at the bound, too early")
        self.unadmitted = counter("unadmitted_arms", "Items shown that have no arm")
        self.outcomes = gauge("outcomes", "Items shown whose outcome is known")
        self.positives = gauge("positives", "Items shown with a positive reward")
        self.reward = gauge("reward", "Sum of the rewards of items shown")
        self.gained = gauge("gained", "Sum of what items shown brought, by objective", "objective")
        labels = ("experiment", "variant")
        self.of_variants = {
            "n_decisions": gauge("experiment_decisions", "Decisions joined, by variant", *labels),
            "n_outcomes": gauge(
                "experiment_outcomes", "Items shown whose outcome is known, by variant", *labels
            ),
            "n_positive": gauge(
                "experiment_positives", "Items shown with a positive reward, by variant", *labels
            ),
            "reward_sum": gauge(
                "experiment_reward", "Sum of the rewards of items shown, by variant", *labels
            ),
        }
        self.clicks = ClickMetrics(registry)
        self.open = gauge("decisions_open", "Decisions that feedback may still change")
        self.waiting = gauge("feedback_waiting", "Feedback whose decision has not been read")
        self.foreseen = gauge("calibration_outcomes", "Outcomes, by expected reward", "below")
        self.expected = gauge("calibration_expected", "Sum of rewards expected of them", "below")
        self.observed = gauge("calibration_observed", "Sum of rewards observed of them", "below")
        # Children are looked up once: this is brought up to date after every round.
        self._bins = [
            (self.foreseen.labels(below), self.expected.labels(below), self.observed.labels(below))
            for below in _BINS
        ]
        self._counters = {
            "n_decisions": self.decisions.labels("joined"),
            "n_repeated": self.decisions.labels("repeated"),
            "n_foreign": self.decisions.labels("foreign"),
            "n_without_slate": self.without_slate,
            "n_matched": self.feedback.labels("matched"),
            "n_unmatched": self.feedback.labels("unmatched"),
            "n_ambiguous": self.feedback.labels("ambiguous"),
            "n_late": self.feedback.labels("late"),
            "n_lost": self.feedback.labels("lost"),
            "n_amended": self.amended,
            "n_closed_early": self.closed_early,
            "n_unadmitted": self.unadmitted,
        }
        self._shown = dict.fromkeys(self._counters, 0)

    def show(self, counts: JoinCounts, *, n_open: int, n_waiting: int) -> None:
        """Bring everything up to what a learner's joins have counted."""
        self.open.set(n_open)
        self.waiting.set(n_waiting)
        for delay_ms in counts.take_delays_ms():
            # Clocks of clients differ: feedback may claim to be older than what it answers.
            self.delay_seconds.observe(max(0, delay_ms) / 1000)
        for name, counter in self._counters.items():
            count = getattr(counts, name)
            if count != self._shown[name]:
                counter.inc(count - self._shown[name])
                self._shown[name] = count
        self.clicks.show(counts.clicks)
        self.outcomes.set(counts.n_outcomes)
        self.positives.set(counts.n_positive)
        self.reward.set(counts.reward_sum)
        for name, gained in counts.gained.items():
            self.gained.labels(name).set(gained)
        for variant, of_variant in counts.of_variants.items():
            for name, shown in self.of_variants.items():
                shown.labels(*variant).set(getattr(of_variant, name))
        columns = (counts.n_foreseen, counts.expected_sums, counts.observed_sums)
        for gauges, values in zip(self._bins, zip(*columns, strict=True), strict=True):
            for gauge, value in zip(gauges, values, strict=True):
                gauge.set(float(value))


def reward_drift_counter(registry: CollectorRegistry) -> Counter:
    """Changes of the loss of predicted rewards, by the direction of the ``loss``."""
    return NamedMetrics("learner", registry).counter(
        "reward_drift", "Changes of the loss of predicted rewards", "loss"
    )


def practice_gauge(registry: CollectorRegistry) -> Gauge:
    """Share of positive events that the ranking practises on."""
    return Gauge(
        "streamer_learner_practice_share",
        "Share of positive events that the ranking practises on, at the last batch",
        registry=registry,
    )


def rate_factor_gauge(registry: CollectorRegistry) -> Gauge:
    """What learning rates are multiplied by."""
    return NamedMetrics("learner", registry).gauge(
        "rate_factor", "What learning rates are multiplied by since the last drift"
    )
