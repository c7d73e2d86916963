"""Clients as the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streamer.config import Config
from streamer.kafka.acknowledged import AcknowledgedSink
from streamer.kafka.assignment import EMBEDDED_WAIT_MS, Anew
from streamer.kafka.connection import Stopping, never
from streamer.kafka.log_ends import TopicPartition
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.source import Assigned, KafkaSource, Revoked
from streamer.telemetry import RAISE_RETENTION


def configured_source(
    config: Config,
    service: str,
    topics: Sequence[str],
    *,
    on_assign: Assigned,
    on_revoke: Revoked,
    alone: bool = False,
    keep_keys: bool = False,
    needed: Callable[[], Mapping[TopicPartition, int]] = dict,
    lost: Callable[[int], None] = lambda n: None,
    embedded_wait_ms: int = EMBEDDED_WAIT_MS,
    stopping: Stopping = never,
    anew: Anew = "refused",
    keeps_all: bool = True,
    recent_s: float = 0.0,
    passed_over: Callable[[int], None] = lambda n: None,
) -> KafkaSource:
    """A source of topics in the group ``{kafka.group}-{service}``; ``alone``: the only reader of
    its kind, which takes all partitions and joins nobody.
    """
    return KafkaSource(
        config.kafka.bootstrap_servers,
        f"{config.kafka.group}-{service}",
        topics,
        on_assign=on_assign,
        on_revoke=on_revoke,
        alone=alone,
        needed=needed,
        keep_keys=keep_keys,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
        lost=lost,
        embedded_wait_ms=embedded_wait_ms,
        stopping=stopping,
        anew=anew,
        keeps_all=keeps_all,
        recent_s=recent_s,
        passed_over=passed_over,
    )


def configured_reader(
    config: Config,
    starts: Mapping[TopicPartition, int] | None = None,
    *,
    lost: Callable[[int], None] = lambda n: None,
    remedy: str = RAISE_RETENTION,
    embedded_wait_ms: int = EMBEDDED_WAIT_MS,
    stopping: Stopping = never,
    service: str | None = None,
    anew: Anew = "ignored",
) -> KafkaReader:
    """Make a reader of explicit partitions; it commits for ``{kafka.group}-{service}``."""
    return KafkaReader(
        config.kafka.bootstrap_servers,
        starts,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
        lost=lost,
        remedy=remedy,
        embedded_wait_ms=embedded_wait_ms,
        stopping=stopping,
        group=None if service is None else f"{config.kafka.group}-{service}",
        anew=anew,
    )


def configured_sink(
    config: Config,
    *,
    linger_s: float = 0.005,
    timeout_s: float | None = None,
    stopping: Stopping = never,
) -> KafkaSink:
    """Make a sink.

    Parameters
    ----------
    timeout_s
        How long a message may take to be acknowledged; by default ``kafka.request_timeout_s``.
    """
    return KafkaSink(
        config.kafka.bootstrap_servers,
        linger_s=linger_s,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s if timeout_s is None else timeout_s,
        stopping=stopping,
    )


def configured_acknowledged(config: Config) -> AcknowledgedSink:
    """Return a sink that says of each message when the broker has it."""
    return AcknowledgedSink(
        config.kafka.bootstrap_servers,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
