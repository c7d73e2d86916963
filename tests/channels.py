"""Rankings of the candidates that decisions log, and how well each foresees what users take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.client import Recommender
from streamer.config import Config
from streamer.events import Decision, decode_decision
from streamer.kafka.configured import configured_reader
from streamer.kafka.log_ends import LATEST

TIMEOUT_S = 60.0


class Decisions:
    """The decisions made from now on, by request."""

    def __init__(self, config: Config) -> None:
        self._reader = configured_reader(config)
        partitions = self._reader.partitions(config.topics.topic("decisions"))
        self._reader.start(dict.fromkeys(partitions, LATEST))
        self._reader.poll(n_max=1, timeout_s=0.1)  # finds the end before anything is asked
        self._found: dict[str, Decision] = {}

    def of(self, request_id: str) -> Decision:
        """The decision about a request, which is forgotten then."""
        deadline = time.monotonic() + TIMEOUT_S
        while request_id not in self._found:
            assert time.monotonic() < deadline, f"no decision about request {request_id}"
            for batch in self._reader.poll(n_max=1_000, timeout_s=0.2):
                for decision in map(decode_decision, batch.values):
                    self._found[decision.request_id] = decision
        return self._found.pop(request_id)

    def close(self) -> None:
        self._reader.close()


Ranking = Callable[[Decision], list[str]]
"""Orders the candidates of a decision, best first."""


def by_column(feature: str) -> Ranking:
    """Candidates by one column alone."""

    def ranking(decision: Decision) -> list[str]:
        values = decision.feature_matrix()[:, decision.feature_names.index(feature)]
        return [decision.candidates[row] for row in np.argsort(-values, kind="stable").tolist()]

    return ranking


def by_count(counts: Mapping[str, int]) -> Ranking:
    """Candidates by how often each was liked so far; the most popular are among them."""
    return lambda decision: sorted(decision.candidates, key=lambda item: -counts.get(item, 0))


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over users, its standard error, and the number of users."""

    value: float
    error: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.error:.4f} ({self.n} users)"


@dataclass(slots=True)
class Recalls:
    """Recall at several depths by ranking, by user."""

    depths: tuple[int, ...]
    rankings: Mapping[str, Ranking]
    n_asked: int = 0
    _samples: dict[tuple[str, int], dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def ask(
        self,
        user_id: str,
        taken: Collection[str],
        seen: Collection[str],
        recommender: Recommender,
        decisions: Decisions,
    ) -> None:
        """Ask for a user and see which of the items ``taken`` next each ranking has foreseen."""
        answer = recommender.recommend(user_id, k=1, exclude=list(seen), timeout_s=TIMEOUT_S)
        decision = decisions.of(answer.request_id)
        self.n_asked += 1
        for name, rank in self.rankings.items():
            ranking = rank(decision)
            for depth in self.depths:
                share = len(set(ranking[:depth]) & set(taken)) / len(taken)
                self._samples[name, depth][user_id].append(share)

    def mean(self, name: str, depth: int) -> Mean:
        """Recall of a ranking, each user weighing the same."""
        return _mean(self._by_user(name, depth))

    def gain(self, name: str, other: str, depth: int) -> Mean:
        """By how much one ranking is better than another, user by user."""
        return _mean(self._by_user(name, depth) - self._by_user(other, depth))

    def __str__(self) -> str:
        first, second = self.rankings
        return "\n".join(
            f"recall@{depth}: {first} {self.mean(first, depth)},"
            f" {second} {self.mean(second, depth)}, gain {self.gain(first, second, depth)}"
            for depth in self.depths
        )

    def _by_user(self, name: str, depth: int) -> NDArray[np.float64]:
        return np.array([np.mean(each) for each in self._samples[name, depth].values()])


def _mean(values: NDArray[np.float64]) -> Mean:
    return Mean(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5), len(values))
