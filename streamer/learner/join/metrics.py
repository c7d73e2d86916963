"""Metrics of the feedback loop: what came of decisions and feedback, and how well it was foreseen.

What they mean and what to watch is in ``docs/observability.md``.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streamer.learner.join.counts import CALIBRATION_EDGES, JoinCounts

_DELAY_S: Final = (
    *(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
    *(10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0, 86_400.0),
)
_BINS: Final = (*(f"{edge:g}" for edge in CALIBRATION_EDGES), "+Inf")


class JoinMetrics:
    """What came of decisions and of feedback.

    Outcomes can be amended and taken back, so sums over them may fall: they are gauges.

    Attributes
    ----------
    decisions
        By ``fate``: ``joined``, ``repeated``, ``foreign``.
    feedback
        By ``fate``: ``matched``, ``unmatched``, ``late``, ``lost``.
    delay_seconds
        Event time from a decision to feedback on it.
    amended, closed_early, unadmitted
        Outcomes changed after they were learned, decisions closed at the bound, items shown
        without an arm.
    outcomes, positives, reward
        Items whose outcome is known, those with a positive reward, and the sum of all rewards.
    open, waiting
        Decisions that feedback may still change, feedback whose decision has not been read.
    foreseen, expected, observed
        By ``below``, the upper edge of a bin of expected rewards: outcomes, the sum of the rewards
        expected of them, the sum of those observed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"streamer_learner_{name}", meaning, labels, registry=registry)

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"streamer_learner_{name}", meaning, labels, registry=registry)

        self.decisions = counter("decisions", "Decisions, by what came of them", "fate")
        self.feedback = counter("feedback", "Events that answer a decision, by fate", "fate")
        self.delay_seconds = Histogram(
            "streamer_learner_join_delay_seconds",
            "Event time from a decision to feedback on it",
            buckets=_DELAY_S,
            registry=registry,
        )
        self.amended = counter("amended", "Outcomes that changed after they were learned")
        self.closed_early = counter("closed_early", "Decisions closed at the bound, too early")
        self.unadmitted = counter("unadmitted_arms", "Items shown that have no arm")
        self.outcomes = gauge("outcomes", "Items shown whose outcome is known")
        self.positives = gauge("positives", "Items shown with a positive reward")
        self.reward = gauge("reward", "Sum of the rewards of items shown")
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
            "n_matched": self.feedback.labels("matched"),
            "n_unmatched": self.feedback.labels("unmatched"),
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
        self.outcomes.set(counts.n_outcomes)
        self.positives.set(counts.n_positive)
        self.reward.set(counts.reward_sum)
        columns = (counts.n_foreseen, counts.expected_sums, counts.observed_sums)
        for gauges, values in zip(self._bins, zip(*columns, strict=True), strict=True):
            for gauge, value in zip(gauges, values, strict=True):
                gauge.set(float(value))
