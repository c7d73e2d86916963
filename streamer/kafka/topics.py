"""Make the topics, or check that a cluster has them as streamer needs them."""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from streamer.config.settings import TopicRole, TopicsConfig
from streamer.errors import KafkaError, KafkaUnavailable, StreamerError, TopicMismatch
from streamer.kafka.connection import (
    REQUEST_TIMEOUT_S,
    Options,
    Outages,
    Stopping,
    asked,
    cluster,
    connection_options,
    is_embedded,
    never,
    new_client,
    no_answer,
    translated,
)

_EXISTS: Final = ck.KafkaError.TOPIC_ALREADY_EXISTS
_NO_BROKER: Final = ck.KafkaError.INVALID_REPLICATION_FACTOR
_FENCED_S: Final = 0.2
"""A broker that starts, or is late with its heartbeats, is fenced off by its controller until it is
heard again: no topic can be made meanwhile."""
MS_PER_HOUR: Final = 3_600_000
_LOOK_AGAIN_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic as it now is; ``created``: it was not there before."""

    name: str
    n_partitions: int
    created: bool


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it is; of the embedded broker's nothing more is known than its partitions.

    Attributes
    ----------
    retention_hours
        For how long it keeps messages; None: for ever.
    """

    name: str
    n_partitions: int
    cleanup: str = ""
    retention_hours: float | None = None

    def __str__(self) -> str:
        if not self.cleanup:
            return f"{self.name} {self.n_partitions}"
        kept = "" if self.retention_hours is None else f" {self.retention_hours:g} h"
        return f"{self.name} {self.n_partitions} ({self.cleanup}{kept})"


INTERNAL_BYTES: Final = 1_000_012
"""More than any message of ours is; what Kafka's brokers take by default, older ones too."""
_SETTINGS: Final = ("cleanup.policy", "max.message.bytes", "retention.ms")


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    n_partitions: int
    counts: bool  # whether another number of partitions will not do
    cleanup: str  # its cleanup.policy
    message_bytes: int = 0  # that it must take; 0: as the broker has it
    remembers_deleted: bool = False  # for as long as others keep their messages

    @property
    def compacted(self) -> bool:
        return "compact" in self.cleanup

    def config(self, topics: TopicsConfig) -> dict[str, str]:
        """Settings of the topic on the broker."""
        config = {"cleanup.policy": self.cleanup, "compression.type": topics.compression}
        if "delete" in self.cleanup:
            config["retention.ms"] = str(topics.retention_hours * MS_PER_HOUR)
        if self.remembers_deleted:
            config["delete.retention.ms"] = str(topics.retention_hours * MS_PER_HOUR)
        if self.message_bytes:
            config["max.message.bytes"] = str(self.message_bytes)
        return config


class _Lister(Protocol):
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...


def create_topics(
    bootstrap_servers: str,
    topics: TopicsConfig,
    *,
    client_options: Options | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> list[TopicReport]:
    """Make the topics that are missing; does nothing where all are there and right.

    Events, requests, recommendations, decisions and features (kept by key until they are old) get
    ``topics.partitions`` each, as do users (kept by key for ever); items (likewise) and dead
    letters get one. The embedded broker makes topics at first use, so there each is used once.

    Raises
    ------
    TopicMismatch
        When a topic exists with another number of partitions, or deletes what must be kept: all but
        the last message of a key (``compact``), or what is old, where it must not.
    KafkaUnavailable
    KafkaError
        When the broker refuses, with its reason.
    """
    admin = _Admin(bootstrap_servers, client_options or {}, timeout_s)
    wanted = _wanted(topics)
    existing = admin.counts()
    missing = [each for each in wanted if each.name not in existing]
    if admin.is_mock:
        for each in missing:
            admin.touch(each.name)
    elif missing:
        # Before anything is made: a cluster that is refused stays as it was.
        _check(wanted, existing, admin, allow_missing=True)
        admin.create(missing, topics)
    counts = admin.counts() if missing else existing
    _check(wanted, counts, admin)
    return [TopicReport(each.name, counts[each.name], each in missing) for each in wanted]


def create_internal_topics(
    bootstrap_servers: str,
    cleanup: Mapping[str, str],
    topics: TopicsConfig,
    *,
    client_options: Options | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> None:
    """Make topics of a service's own where they are missing, ``topics.partitions`` each.

    They take messages of ``INTERNAL_BYTES``, whatever the broker takes elsewhere: what a service
    tells itself can't be a dead letter.

    Parameters
    ----------
    cleanup
        Full name → ``cleanup.policy``.

    Raises
    ------
    TopicMismatch
        When one exists with another number of partitions, or takes only smaller messages.
    KafkaError
        On the embedded broker, which makes no topic when asked.
    KafkaUnavailable
    """
    admin = _Admin(bootstrap_servers, client_options or {}, timeout_s)
    wanted = [
        _Wanted(name, topics.partitions, True, policy, INTERNAL_BYTES)
        for name, policy in cleanup.items()
    ]
    existing = admin.counts()
    if admin.is_mock:
        raise KafkaError(
            f"the broker at {bootstrap_servers} is the embedded one of `streamer up`, which cannot"
            f" have the topics {', '.join(cleanup)}: start a real Kafka (`docker compose up` has"
            " one) and name it in kafka.bootstrap_servers"
        )
    if missing := [each for each in wanted if each.name not in existing]:
        admin.create(missing, topics)
        existing = admin.counts()
    _check(wanted, existing, admin)


def check_topics(
    bootstrap_servers: str,
    topics: TopicsConfig,
    *,
    optional: Collection[TopicRole] = (),
    client_options: Options | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> None:
    """Raise unless every topic is there as :func:`create_topics` would make it.

    On the embedded broker missing topics are made by this.

    Parameters
    ----------
    optional
        Topics that may be missing, as they are where an older release made the others.

    Raises
    ------
    TopicMismatch
        Naming the topic, what it has, what is wanted and the remedy.
    KafkaUnavailable
    """
    admin = _Admin(bootstrap_servers, client_options or {}, timeout_s)
    wanted = _wanted(topics)
    existing = admin.counts()
    if admin.is_mock:
        for each in wanted:
            if each.name not in existing:
                admin.touch(each.name)
        existing = admin.counts()
    may_miss = {topics.topic(role) for role in optional}
    _check([w for w in wanted if w.name in existing or w.name not in may_miss], existing, admin)


def topic_states(
    bootstrap_servers: str,
    topics: TopicsConfig,
    *,
    client_options: Options | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> list[TopicState]:
    """Return those of our topics that are there; nothing is made or refused.

    Raises
    ------
    KafkaUnavailable
    """
    admin = _Admin(bootstrap_servers, client_options or {}, timeout_s)
    counts = admin.counts()
    names = [each.name for each in _wanted(topics) if each.name in counts]
    found = {} if admin.is_mock else admin.settings(names)
    return [
        TopicState(name, counts[name], *_policy(found[name]) if name in found else ())
        for name in names
    ]


def cleanup_policy(
    bootstrap_servers: str,
    topic: str,
    *,
    client_options: Options | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> str:
    """Return the ``cleanup.policy`` of any topic; "": the embedded broker has none.

    Raises
    ------
    KafkaUnavailable
    KafkaError
        When the broker refuses, as where there is no such topic.
    """
    admin = _Admin(bootstrap_servers, client_options or {}, timeout_s)
    admin.counts()
    return "" if admin.is_mock else admin.settings([topic])[topic]["cleanup.policy"]


def _policy(settings: Mapping[str, str]) -> tuple[str, float | None]:
    retention_ms = int(settings["retention.ms"])
    deletes = "delete" in settings["cleanup.policy"] and retention_ms >= 0
    return settings["cleanup.policy"], retention_ms / MS_PER_HOUR if deletes else None


def partition_counts(
    client: _Lister,
    names: Sequence[str],
    *,
    timeout_s: float,
    bootstrap_servers: str,
    stopping: Stopping = never,
) -> dict[str, int]:
    """Topic → number of partitions.

    Raises
    ------
    Stopped
        When it is asked to stop before all is known.
    TopicMismatch
        When a topic does not exist.
    KafkaUnavailable
    """
    counts = {}
    for name in names:
        doing = f"asking for topic {name}"
        try:
            listed = asked(
                functools.partial(_listed, client, name),
                doing=doing,
                timeout_s=timeout_s,
                stopping=stopping,
            )
        except ck.KafkaException as error:
            raise translated(error, doing=doing, bootstrap_servers=bootstrap_servers) from error
        found = listed.topics[name]
        if found.error is not None:
            raise translated(found.error, doing=doing, bootstrap_servers=bootstrap_servers)
        counts[name] = len(found.partitions)
    return counts


def _listed(client: _Lister, name: str, timeout_s: float) -> Any:
    return client.list_topics(name, timeout=timeout_s)


def _wanted(topics: TopicsConfig) -> list[_Wanted]:
    n = topics.partitions
    keyed_by_user = [topics.events, topics.requests, topics.recommendations, topics.decisions]
    return [
        *(_Wanted(topics.prefix + name, n, True, "delete") for name in keyed_by_user),
        _Wanted(topics.topic("items"), 1, False, "compact"),
        _Wanted(topics.topic("users"), n, True, "compact", remembers_deleted=True),
        # A session's value is replaced by the next one, never deleted: so age deletes it.
        _Wanted(topics.topic("features"), n, False, "compact,delete"),
        _Wanted(topics.topic("dead_letters"), 1, False, "delete"),
    ]


def _check(
    wanted: list[_Wanted], counts: dict[str, int], admin: _Admin, *, allow_missing: bool = False
) -> None:
    for each in wanted:
        if each.name not in counts:
            if allow_missing:
                continue
            raise TopicMismatch(
                f"topic {each.name} is missing at {admin.bootstrap_servers}; make it with "
                "`streamer topics create`, or correct its name in [topics]"
            )
        has = counts[each.name]
        if each.counts and has != each.n_partitions:
            remedy = (
                "the embedded broker knows no other number: set topics.partitions to it"
                if admin.is_mock
                else "set topics.partitions to it, or choose other names (topics.prefix). Adding "
                "partitions would move users away from their parameters"
            )
            raise TopicMismatch(
                f"topic {each.name} has {has} partitions, topics.partitions wants "
                f"{each.n_partitions}; {remedy}"
            )
    there = {each.name: each for each in wanted if each.name in counts}
    if not admin.is_mock:
        for name, settings in admin.settings(list(there)).items():
            _check_settings(there[name], settings)


def _check_settings(wanted: _Wanted, settings: Mapping[str, str]) -> None:
    name, cleanup, policy = wanted.name, wanted.cleanup, settings["cleanup.policy"]
    if not wanted.compacted and "compact" in policy:
        raise TopicMismatch(
            f"topic {name} has cleanup.policy={policy}, which deletes all messages of a key but the"
            f" last, unread ones too; wanted is {cleanup}:"
            f" {altering(name, 'cleanup.policy', cleanup)}. What was deleted so far is gone:"
            " publish it again"
        )
    deletes = "delete" in policy and "delete" not in cleanup
    if wanted.compacted and ("compact" not in policy or deletes):
        raise TopicMismatch(
            f"topic {name} has cleanup.policy={policy}, which deletes what is still "
            f"valid; wanted is {cleanup}: {altering(name, 'cleanup.policy', f'[{cleanup}]')}"
        )
    if int(settings["max.message.bytes"]) < wanted.message_bytes:
        raise TopicMismatch(
            f"topic {name} has max.message.bytes={settings['max.message.bytes']}, and what is kept"
            f" there may be larger: {altering(name, 'max.message.bytes', wanted.message_bytes)}"
        )


def altering(topic: str, setting: str, value: object) -> str:
    """Return the command that gives a topic another setting."""
    return (
        f"kafka-configs.sh --alter --entity-type topics --entity-name {topic}"
        f" --add-config {setting}={value}"
    )


class _Admin:
    """The few administrative requests needed, with errors of ours."""

    def __init__(self, bootstrap_servers: str, options: Options, timeout_s: float) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.is_mock = False
        self._timeout_s = timeout_s
        config = connection_options(bootstrap_servers, {}, options)
        self._outages = Outages(bootstrap_servers)
        self._client = new_client(AdminClient, config, self._outages)

    def counts(self) -> dict[str, int]:
        """Existing topic → number of partitions."""
        return self._list(led=False)

    def _list(self, *, led: bool) -> dict[str, int]:
        try:
            found = cluster(self._client, self._outages, timeout_s=self._timeout_s)
        except ck.KafkaException as error:
            raise self._translated(error, "listing topics") from error
        self.is_mock = is_embedded(found.cluster_id)
        return {
            name: len(each.partitions)
            for name, each in found.topics.items()
            if not led or all(partition.leader >= 0 for partition in each.partitions.values())
        }

    def touch(self, name: str) -> None:
        """Make a topic on the embedded broker, by asking for it."""
        try:
            self._client.list_topics(name, timeout=self._timeout_s)
        except ck.KafkaException as error:
            raise self._translated(error, f"asking for topic {name}") from error

    def create(self, wanted: list[_Wanted], topics: TopicsConfig) -> None:
        """Make topics; one that somebody else made meanwhile is not an error."""
        deadline = time.monotonic() + self._timeout_s
        left = {
            each.name: NewTopic(
                each.name,
                num_partitions=each.n_partitions,
                replication_factor=topics.replication_factor,
                config=each.config(topics),
            )
            for each in wanted
        }
        while left:
            answers = self._client.create_topics(
                list(left.values()), request_timeout=self._timeout_s
            )
            left = {
                name: left[name]
                for name, answer in answers.items()
                if not self._is_made(name, answer, deadline)
            }
            if left:
                time.sleep(_FENCED_S)
        self._await({each.name for each in wanted})

    def _is_made(self, name: str, answer: Future[None], deadline: float) -> bool:
        """Whether a topic is there; False where it is to be asked for again."""
        try:
            answer.result(self._timeout_s)
        except ck.KafkaException as error:
            reason = error.args[0]
            no_broker = reason.code() == _NO_BROKER and "fenced" in reason.str()
            if no_broker and time.monotonic() < deadline:
                return False
            if reason.code() != _EXISTS:
                raise self._translated(error, f"making topic {name}") from error
        except TimeoutError as error:
            raise self._late(f"making topic {name}") from error
        return True

    def _await(self, names: set[str]) -> None:
        """Wait until the broker that said they are made knows them, with their leaders."""
        deadline = time.monotonic() + self._timeout_s
        while missing := names - self._list(led=True).keys():
            if time.monotonic() > deadline:
                raise self._late(f"waiting for leaders of {', '.join(sorted(missing))}")
            time.sleep(_LOOK_AGAIN_S)

    def settings(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Settings of topics on the broker that matter here, by topic."""
        if not names:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        answers = self._client.describe_configs(resources, request_timeout=self._timeout_s)
        found = {}
        for resource, answer in answers.items():
            doing = f"asking for the settings of topic {resource.name}"
            try:
                entries = answer.result(self._timeout_s)
            except ck.KafkaException as error:
                raise self._translated(error, doing) from error
            except TimeoutError as error:
                raise self._late(doing) from error
            found[resource.name] = {name: entries[name].value for name in _SETTINGS}
        return found

    def _translated(self, error: Exception, doing: str) -> StreamerError:
        return translated(error, doing=doing, bootstrap_servers=self.bootstrap_servers)

    def _late(self, doing: str) -> KafkaUnavailable:
        return no_answer(f"{doing} within {self._timeout_s:.0f} s", self.bootstrap_servers)
