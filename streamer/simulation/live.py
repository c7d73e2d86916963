"""The live system in one process under a clock that is set by hand.

Broker, store and clock are in memory; the learner, the replica and the scorer are the ones that run
live, down to the bytes of their messages. So what happens here is a function of the configuration
(with its seed) and of what is published, asked and waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Final

from prometheus_client import CollectorRegistry

from streamer.config import Config
from streamer.config.settings import TopicRole, TopicsConfig
from streamer.errors import BadMessage
from streamer.events import (
    Decision,
    Event,
    Item,
    Message,
    Recommendation,
    Request,
    User,
    decode_dead_letter,
    decode_decision,
    decode_recommendation,
    encode,
    message_key,
)
from streamer.learner.catalogue import LearnedCatalogue
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.learner import Learner
from streamer.learner.practice.practice import Practice
from streamer.learner.service import Assigned, LearnerService, Revoked, dead_letters_to
from streamer.learner.settings import LearnerCounts
from streamer.learner.users import FollowedUsers
from streamer.model_set import build_models, store_layout
from streamer.protocols import ParameterStore, Source
from streamer.ranking.columns import followed_definitions
from streamer.scorer.metrics import ScorerMetrics
from streamer.scorer.policy.choice import SlatePolicy
from streamer.scorer.scorer import Scorer
from streamer.scorer.service import ScorerService
from streamer.simulation.broker import (
    ManualClock,
    MemoryBroker,
    MemoryReader,
    MemorySink,
    MemorySource,
)
from streamer.simulation.feature_worker import FeatureWorker
from streamer.store.memory import MemoryStore
from streamer.store.of_models import StoreOfModels

_PIECE = 256
"""Requests answered from one version, as a scorer takes them."""
_LEARNED_ROLES: tuple[TopicRole, ...] = ("events", "decisions")
_OF_USERS: Final[tuple[TopicRole, ...]] = (*_LEARNED_ROLES, "users")
_ROLES: Final[dict[type[Message], TopicRole]] = {Event: "events", Item: "items", User: "users"}
_READ_AT_ONCE: tuple[TopicRole, ...] = ("requests", "recommendations", "features")


@dataclass(frozen=True, slots=True)
class Answer:
    """A slate as it was published.

    Attributes
    ----------
    recommendation
        What subscribers read.
    decision_messages
        What the learner reads, as bytes: decoding it takes longer than most callers need. One; of a
        list or a preview none, of rows one for each that decides.
    """

    recommendation: Recommendation
    decision_messages: tuple[bytes, ...]

    @property
    def item_ids(self) -> list[str]:
        """Best first."""
        return [item.item_id for item in self.recommendation.items]

    @property
    def decision_message(self) -> bytes:
        """The only one."""
        (message,) = self.decision_messages
        return message

    @property
    def decision(self) -> Decision:
        """The only one, decoded anew at each call."""
        return decode_decision(self.decision_message)

    @property
    def decisions(self) -> list[Decision]:
        """All of them, decoded anew at each call."""
        return [decode_decision(message) for message in self.decision_messages]


class LiveSystem:
    """Learner, parameter store and scorer, driven step by step.

    What is published and decided is learned, committed and followed by the scorer's replica every
    ``sync_interval_ms`` of the manual clock, and windowed features are computed, published and
    followed; in between, requests are answered from one version.

    Parameters
    ----------
    config
        ``topics.partitions`` and ``learner.seed`` matter as they do live; addresses do not.
    start_ms
        Time at which the clock begins; the first sync is one interval later.
    sync_interval_ms
        By default ``learner.sync_interval_ms``. It may be longer than that allows; 0: whenever the
        clock is advanced.
    policy
        In place of the configured one.
    computes_windows
        Whether windowed features are computed; otherwise they are missing where they are read.
    keeps_messages
        Whether everything published stays in the topics. Otherwise they keep what a learner that
        takes over would read.
    store
        By default one in memory.
    registry
        Where the scorer's metrics are; None: in none that is seen.

    Attributes
    ----------
    broker, store, clock
        All in memory, unless a store is given.
    scorer
        Its ``replica`` follows the store, its ``funnel`` answers.

    Raises
    ------
    ConfigError
        For what the configuration asks for and no process could be.
    """

    def __init__(
        self,
        config: Config,
        *,
        start_ms: int,
        sync_interval_ms: int | None = None,
        policy: SlatePolicy | None = None,
        computes_windows: bool = True,
        keeps_messages: bool = True,
        store: ParameterStore | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        topics = config.topics
        self.config = config
        self.clock = ManualClock(start_ms)
        self.store: ParameterStore = store or MemoryStore(
            log_entries_kept=config.store.log_entries_kept
        )
        roles = (*_OF_USERS, *_READ_AT_ONCE)
        self.broker = MemoryBroker(
            {topics.topic("items"): 1, topics.topic("dead_letters"): 1}
            | {topics.topic(role): topics.partitions for role in roles}
        )
        self._models = build_models(config)
        layout = store_layout(config, self._models)
        self._written = StoreOfModels(self.store, layout, learns=True)
        self._read = StoreOfModels(self.store, layout, learns=False)
        self._sink = MemorySink(self.broker, clock=self.clock)
        self._answers = _Answers(self.broker, topics, clock=self.clock)
        self._requests = self._new_requests(policy, registry or CollectorRegistry())
        self.scorer = self._requests.scorer
        self._worker: FeatureWorker | None = None
        if computes_windows and followed_definitions(config):
            self._worker = FeatureWorker(
                config, broker=self.broker, sink=self._sink, clock=self.clock
            )
        if sync_interval_ms is None:
            sync_interval_ms = config.learner.sync_interval_ms
        self._sync_interval_ms = sync_interval_ms
        self._sync_due_ms = start_ms + sync_interval_ms
        self._keeps_messages = keeps_messages
        self._n_requests = self._n_learners = 0
        self._start_learner()

    # --- what happens -----------------------------------------------------------------------------

    def publish(self, *messages: Event | Item | User) -> None:
        """Publish events, items or users now."""
        for message in messages:
            topic = self.config.topics.topic(_ROLES[type(message)])
            self._sink.send(topic, key=message_key(message), value=encode(message))

    def delete(self, *messages: Item | User) -> None:
        """Send the tombstones of items or users now."""
        for message in messages:
            topic = self.config.topics.topic(_ROLES[type(message)])
            self._sink.send(topic, key=message_key(message), value=None)

    def request(self, user_id: str, *, k: int | None = None) -> Answer:
        """Ask for a slate now; see :meth:`answer`."""
        return self.ask([user_id], k=k)[0]

    def ask(self, user_ids: Sequence[str], *, k: int | None = None) -> list[Answer]:
        """Ask for a slate for each of some users now, under ids counted from ``r0``."""
        now_ms = self.clock.now_ms()
        requests = [
            Request(request_id=f"r{self._n_requests + n}", user_id=user_id, ts=now_ms, k=k)
            for n, user_id in enumerate(user_ids)
        ]
        self._n_requests += len(requests)
        return self.answer(requests)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests, which are published and taken by the scorer, in their order.

        Raises
        ------
        BadMessage
            When one was refused, with the reason.
        """
        answers: list[Answer] = []
        for start in range(0, len(requests), _PIECE):
            answers += self._answer(requests[start : start + _PIECE])
        return answers

    def advance(self, to_ms: int) -> None:
        """Let time pass; what falls due is learned, committed and followed on the way."""
        while self._sync_interval_ms and self._sync_due_ms <= to_ms:
            self.clock.set(self._sync_due_ms)
            self._sync_due_ms += self._sync_interval_ms
            self.sync()
        self.clock.set(to_ms)
        if not self._sync_interval_ms:
            self.sync()

    def sync(self) -> None:
        """Learn and commit what was published, and have the scorer follow; now."""
        self._learn_published()
        if self._worker is not None:
            self._worker.run()
        while self.scorer.follow_features():
            pass
        while self.scorer.replica.follow(timeout_s=0.0):
            pass
        self.scorer.load_catalogue()
        if not self._keeps_messages:
            self._trim()

    def crash(self) -> None:
        """Lose the learner with all it has not committed; another takes over from the store."""
        self._start_learner()

    @property
    def counts(self) -> LearnerCounts:
        """What the present learner has done."""
        return self._learner.counts

    # --- parts ------------------------------------------------------------------------------------

    def _new_requests(
        self, policy: SlatePolicy | None, registry: CollectorRegistry
    ) -> ScorerService:
        topics = self.config.topics
        requests = topics.topic("requests")
        source = MemorySource(
            self.broker,
            "scorer",
            [requests],
            on_assign=lambda partitions: {(requests, p): 0 for p in partitions},
            on_revoke=lambda partitions: None,
            clock=self.clock,
        )
        scorer = Scorer(
            self.config,
            models=self._models,
            store=self._read,
            items=MemoryReader(self.broker, [topics.topic("items")], clock=self.clock),
            sink=self._answers,
            clock=self.clock,
            metrics=ScorerMetrics(registry),
            policy=policy,
            features=MemoryReader(self.broker, [topics.topic("features")], clock=self.clock),
        )
        scorer.load()
        return ScorerService(scorer, source=source)

    def _learn_published(self) -> None:
        while self._service.round(self._source, timeout_s=0.0) == self._n_max:
            pass

    def _start_learner(self) -> None:
        self._n_max = self.config.learner.batch_messages_max
        self._learner, self._service = self._new_learner(self._written)
        self._source = self._service.join()

    def _new_learner(
        self, store: StoreOfModels, partitions: Sequence[int] | None = None
    ) -> tuple[Learner, LearnerService]:
        """Return a learner of some partitions, of all by default, and its service."""
        config = self.config
        self._n_learners += 1
        items = MemoryReader(self.broker, [config.topics.topic("items")], clock=self.clock)
        catalogue = LearnedCatalogue(config.catalogue, items)
        catalogue.load()
        learner = Learner(
            store=store,
            models=self._models,
            settings=learner_settings(config, generation=store.generation, entities=store.entities),
            rewards=reward_function(config),
            practice=Practice(config),
            catalogue=catalogue,
            users=FollowedUsers(
                MemoryReader(self.broker, [], clock=self.clock),
                config.topics.topic("users"),
                config.topics.topic("events"),
            ),
            owner=f"learner {self._n_learners}",
            clock=self.clock,
            dead_letter=dead_letters_to(self._sink, config.topics.topic("dead_letters")),
        )
        service = LearnerService(
            learner=learner,
            open_source=partial(self._open_source, partitions),
            sync_interval_s=self._sync_interval_ms / 1000,
            n_max=self._n_max,
            clock=self.clock,
        )
        return learner, service

    def _open_source(
        self, partitions: Sequence[int] | None, *, on_assign: Assigned, on_revoke: Revoked
    ) -> Source:
        return MemorySource(
            self.broker,
            "learner",
            [self.config.topics.topic(role) for role in _LEARNED_ROLES],
            on_assign=on_assign,
            on_revoke=on_revoke,
            clock=self.clock,
            partitions=partitions,
        )

    def _answer(self, requests: Sequence[Request]) -> list[Answer]:
        topic = self.config.topics.topic("requests")
        for request in requests:
            self._sink.send(topic, key=message_key(request), value=encode(request))
        self._answers.sent.clear()
        n_taken = 0
        while n_taken < len(requests):
            n_taken += self._requests.round()
        answers = self._answers.take()
        return [answers[request.request_id] for request in requests]

    def _trim(self) -> None:
        """Forget messages that nobody will read again."""
        for where, offset in self._learner.reread_from.items():
            self.broker.trim(where, offset)
        for role in _READ_AT_ONCE:
            topic = self.config.topics.topic(role)
            for partition in range(self.config.topics.partitions):
                self.broker.trim((topic, partition), self.broker.end((topic, partition)))


class _Answers(MemorySink):
    """The scorer's sink, which also hands over what it was given."""

    def __init__(self, broker: MemoryBroker, topics: TopicsConfig, *, clock: ManualClock) -> None:
        super().__init__(broker, clock=clock)
        self._recommendations = topics.topic("recommendations")
        self._dead_letters = topics.topic("dead_letters")
        self._requests = topics.topic("requests")
        self.sent: list[tuple[str, bytes]] = []

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        on_too_large: Callable[[], None] | None = None,
    ) -> None:
        super().send(topic, key=key, value=value, partition=partition, on_too_large=on_too_large)
        assert value is not None, "a scorer deletes nothing"
        self.sent.append((topic, value))

    def take(self) -> dict[str, Answer]:
        """What was sent since the last call, by request_id; of each a recommendation comes first
        and then its decisions. Raises BadMessage for the letter of a request; others, of items say,
        leave the answers as they are."""
        sent, self.sent = self.sent, []
        letters = [
            decode_dead_letter(value) for topic, value in sent if topic == self._dead_letters
        ]
        for letter in letters:
            if letter.topic == self._requests:
                raise BadMessage(f"{letter.topic}[{letter.partition}]: {letter.reason}")
        sent = [each for each in sent if each[0] != self._dead_letters]
        found = {}
        begins = [i for i, (topic, _) in enumerate(sent) if topic == self._recommendations]
        for start, end in pairwise([*begins, len(sent)]):
            recommendation = decode_recommendation(sent[start][1])
            decisions = tuple(value for _, value in sent[start + 1 : end])
            found[recommendation.request_id] = Answer(recommendation, decisions)
        return found
