"""Two topics in memory, events and the decisions they answer, and learners that read both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamer.events import Decision, Event, encode, pack_features
from streamer.learner.learner import Learner
from streamer.protocols import MessageBatch
from streamer_models.bandits.bandit import Bandit
from streamer_models.state.model import Model
from tests.event_log import SETTINGS as OF_EVENTS
from tests.event_log import START_MS, TOPIC, small_models
from tests.joins import SETTINGS as JOINED

DECISIONS = "decisions"
FEATURES = ("bias", "x", "y")
JOIN = replace(
    JOINED, topic=DECISIONS, feature_names=FEATURES, window_ms=60_000, horizon_ms=240_000
)
SETTINGS = replace(
    OF_EVENTS, join=JOIN, bounds=replace(OF_EVENTS.bounds, arms_max=1_000), dedup_window=50
)


def models_with_bandit(*, per_arm: bool = True, half_life_s: float = 0.0) -> list[Model]:
    bandit = Bandit(
        n_features=len(FEATURES),
        half_lives_s=(60.0, 3600.0),
        half_life_s=half_life_s,
        per_arm=per_arm,
    )
    return [*small_models(), bandit]


@dataclass(frozen=True, slots=True)
class TwoTopics:
    """Messages of one partition of each topic, and when each was published."""

    events: list[bytes | None]
    events_ms: list[int]
    decisions: list[bytes | None]
    decisions_ms: list[int]

    def batch(self, topic: str, partition: int, start: int, end: int) -> MessageBatch:
        """Messages at offsets ``[start, end)``."""
        values, times = (
            (self.events, self.events_ms) if topic == TOPIC else (self.decisions, self.decisions_ms)
        )
        end = min(end, len(values))
        return MessageBatch(
            topic,
            partition,
            values[start:end],
            np.arange(start, end, dtype=np.int64),
            np.array(times[start:end], dtype=np.int64),
        )

    def length(self, topic: str) -> int:
        return len(self.events if topic == TOPIC else self.decisions)


def make_topics(n: int, *, seed: int) -> TwoTopics:
    """Decisions every second; clicks on them, some late, early, twice; noise in both topics."""
    rng = np.random.default_rng(seed)
    events: list[tuple[int, int, bytes | None]] = []
    decisions: list[tuple[int, int, bytes | None]] = []
    for i in range(n):
        ts = START_MS + 1_000 * i
        decision = _decision(f"{seed}-{i}", f"user-{rng.integers(20)}", ts, rng)
        written = encode(decision) if rng.random() > 0.03 else b'{"request_id": 7'
        for _ in range(1 + (rng.random() < 0.05)):  # a scorer that started again says it twice
            decisions.append((ts + int(rng.integers(0, 300)), len(decisions), written))
        for position, item_id in enumerate(decision.items):
            if rng.random() < 0.3:
                at = ts + int(rng.exponential(20_000 if rng.random() < 0.9 else 300_000))
                event = Event(
                    event_id=f"{seed}-{i}-{item_id}",
                    type=("click", "like", "skip", "impression")[rng.integers(4)],
                    user_id=decision.user_id,
                    item_id=item_id,
                    ts=at,
                    request_id=decision.request_id if rng.random() < 0.9 else None,
                    position=position,
                )
                for _ in range(1 + (rng.random() < 0.05)):
                    late = int(rng.exponential(1_000))
                    events.append((at + late, len(events), encode(event)))
        if rng.random() < 0.03:
            events.append((ts, len(events), b"{"))
    events.sort()
    decisions.sort()
    return TwoTopics(
        events=[value for *_, value in events],
        events_ms=[at for at, *_ in events],
        decisions=[value for *_, value in decisions],
        decisions_ms=[at for at, *_ in decisions],
    )


def _decision(request_id: str, user_id: str, ts: int, rng: np.random.Generator) -> Decision:
    candidates = [f"item-{item}" for item in rng.choice(60, 8, replace=False)]
    features = rng.normal(size=(8, len(FEATURES))).astype(np.float32)
    features[:, 0] = 1.0
    return Decision(
        request_id=request_id,
        user_id=user_id,
        ts=ts,
        items=candidates[2:6],
        positions=[0, 1, 2, 3],
        propensities=[0.5] * 4,
        policy="greedy",
        policy_parameters={},
        seed=1,
        model_version="p0:1",
        candidates=candidates,
        feature_names=list(FEATURES),
        features=pack_features(features),
        expected=[0.1, 0.2, 0.3, 0.4],
    )


def read_on(
    learner: Learner, logs: Sequence[TwoTopics], at: dict[tuple[str, int], int], n: dict[str, int]
) -> None:
    """Read up to ``n[topic]`` messages of each partition that does not wait, and learn them."""
    waiting = learner.waiting
    batches = []
    for (topic, p), start in at.items():
        if (topic, p) not in waiting and start < logs[p].length(topic):
            end = min(start + n[topic], logs[p].length(topic))
            batches.append(logs[p].batch(topic, p, start, end))
            at[topic, p] = end
    lag = {(topic, p): logs[p].length(topic) - start for (topic, p), start in at.items()}
    learner.learn(batches, lag=lag)
