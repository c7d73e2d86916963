"""The doctor's look at bridges: at the schema registry that they ask, at the topics they read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from streamer.application.findings import Finding, failed, finding
from streamer.application.services.bridge_decoders import decoder_at_once, opened_registry
from streamer.application.topic_tail import LastMessages
from streamer.bridge.translation import translation_of
from streamer.config import Config
from streamer.config.bridges import BridgeConfig
from streamer.errors import BadMessage, StreamerError, TopicMismatch
from streamer.kafka.topics import altering, cleanup_policy

if TYPE_CHECKING:
    from streamer.kafka.schema_registry import SchemaRegistry

_LAST: Final = 100
"""Messages of a partition that are translated, the last ones."""


def bridge_findings(config: Config, *, has_broker: bool) -> Iterator[Finding]:
    """Yield what is found of the registry and of each bridge; nothing where there is no bridge.

    Parameters
    ----------
    has_broker
        Whether topics can be read.
    """
    with contextlib.ExitStack() as stack:
        try:
            registry = opened_registry(config, config.bridges.values())
        except StreamerError as error:
            yield failed("registry", error)
            return
        if registry is not None:
            stack.callback(registry.close)
            answer = finding("registry", lambda: _registry(registry))
            yield answer
            if answer.state == "fail":
                return
        if has_broker:
            for name, bridge in config.bridges.items():
                yield finding(f"bridge {name}", lambda: _bridge(config, name, bridge, registry))  # noqa: B023


def _registry(registry: SchemaRegistry) -> Finding:
    registry.check()
    return Finding("registry", "ok", f"{registry.where} answers")


def _bridge(
    config: Config, name: str, bridge: BridgeConfig, registry: SchemaRegistry | None
) -> Finding:
    """Translate the last messages of a bridge's topic as it would; nothing is published."""
    check = f"bridge {name}"
    translation = translation_of(bridge, config.event_types, decoder_at_once(bridge, registry))
    n, reasons = 0, []
    try:
        for batch, _ in LastMessages(config, bridge.topic, n_max=_LAST):
            n += len(batch)
            for index in range(len(batch)):
                try:
                    translation.message(batch, index)
                except BadMessage as error:
                    reasons.append(str(error))
    except TopicMismatch:
        return Finding(
            check,
            "fail",
            f"topic {bridge.topic} is not on the broker",
            f"correct bridges.{name}.topic, or let those who publish there make it",
        )
    may_ask = not reasons and bridge.holds == "events"
    if may_ask and (compacted := _compacted(config, check, bridge.topic)):
        return compacted
    if not n:
        return Finding(check, "ok", f"no message on {bridge.topic} to look at")
    if not reasons:
        return Finding(check, "ok", f"can translate the last {n:,} messages of {bridge.topic}")
    return Finding(
        check,
        "fail" if len(reasons) == n else "warn",
        f"{len(reasons):,} of the last {n:,} messages of {bridge.topic} can't be translated",
        f"correct [bridges.{name}], or what is sent; the first says: {reasons[0]}",
    )


def _compacted(config: Config, check: str, topic: str) -> Finding | None:
    """What is wrong with a topic of events that is compacted; None: it is not."""
    try:
        policy = cleanup_policy(
            config.kafka.bootstrap_servers,
            topic,
            client_options=config.kafka.client,
            timeout_s=config.kafka.request_timeout_s,
        )
    except StreamerError:  # one that is missing is said where it is read
        return None
    if "compact" not in policy:
        return None
    return Finding(
        check,
        "warn",
        f"topic {topic} has cleanup.policy={policy}: where one key has several events, all but the"
        " last are deleted, unread ones too",
        f"{altering(topic, 'cleanup.policy', 'delete')}, where a key is more than one event",
    )
