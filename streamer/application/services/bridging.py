"""Bridges as a process, put together from a configuration."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from streamer.application.services.bridge_decoders import (
    await_registry,
    decoder_of,
    opened_registry,
)
from streamer.application.services.processes import check_configured_topics
from streamer.application.services.signals import stopped_by_signals
from streamer.application.starting import await_broker
from streamer.bridge.bridge import Bridge
from streamer.bridge.metrics import BridgeMetrics
from streamer.bridge.translation import translation_of
from streamer.config import Config
from streamer.config.bridges import BridgeConfig
from streamer.errors import ConfigError, Stopped
from streamer.kafka.configured import configured_sink, configured_source
from streamer.kafka.log_ends import COMMITTED, CONTINUED, TopicPartition
from streamer.kafka.source import KafkaSource
from streamer.telemetry import serve_metrics

log = logging.getLogger(__name__)

_POLL_S = 0.1
"""Of all bridges of a process together."""


def run_bridges(config: Config, names: Sequence[str]) -> None:
    """Publish what comes to the topics of bridges until SIGTERM or SIGINT.

    Parameters
    ----------
    names
        Of ``[bridges.NAME]``; none: all.

    Raises
    ------
    ConfigError
        When there is no such bridge, none at all, or one that can't be read.
    StreamerError
        What ended it: a topic that is missing, a broker or a registry that refuses something.
    """
    chosen = chosen_bridges(config, names)
    stop, registry = threading.Event(), CollectorRegistry()
    schema_registry = opened_registry(config, chosen.values())
    translations = {
        name: translation_of(
            bridge, config.event_types, decoder_of(bridge, schema_registry, stop.is_set)
        )
        for name, bridge in chosen.items()
    }
    with stopped_by_signals() as signals, contextlib.ExitStack() as stack:
        await_broker(config)
        check_configured_topics(config)
        if schema_registry is not None:
            stack.callback(schema_registry.close)
            await_registry(config, schema_registry)
        metrics = BridgeMetrics(registry)
        sink = configured_sink(config, timeout_s=math.inf, stopping=stop.is_set)
        stack.callback(sink.discard)  # what is not acknowledged is read again
        stack.enter_context(serve_metrics(registry, config.metrics.port, host=config.metrics.host))
        bridges = []
        for name, bridge in chosen.items():
            bridges.append(
                Bridge(
                    name,
                    source=_source(config, name, bridge, metrics, stop),
                    translation=translations[name],
                    sink=sink,
                    flush=lambda: sink.flush(math.inf),
                    target=config.topics.topic(bridge.holds),
                    dead_letters=config.topics.topic("dead_letters"),
                    metrics=metrics,
                )
            )
            stack.callback(bridges[-1].close)
        signals.hand_over(stop.set)
        log.info("bridge_ready", extra={"bridges": list(chosen)})
        try:
            while not stop.is_set():
                for each in bridges:
                    each.round(_POLL_S / len(bridges))
        except Stopped as error:
            log.warning("stopped_while_waiting", extra={"reason": str(error)})
        log.info("bridge_stopped")


def chosen_bridges(config: Config, names: Sequence[str]) -> dict[str, BridgeConfig]:
    """Return the bridges of these names, or all; raises ConfigError where there is none."""
    if not config.bridges:
        raise ConfigError(
            "there is no bridge; add one, as [bridges.clicks] with topic and map (docs/bridge.md)"
        )
    for name in names:
        if name not in config.bridges:
            raise ConfigError(
                f"there is no bridge {name}; there are {', '.join(sorted(config.bridges))}"
            )
    return {name: config.bridges[name] for name in names or config.bridges}


def _source(
    config: Config,
    name: str,
    bridge: BridgeConfig,
    metrics: BridgeMetrics,
    stop: threading.Event,
) -> KafkaSource:
    start = CONTINUED if bridge.start == "earliest" else COMMITTED

    def on_assign(partitions: Sequence[int]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys([(bridge.topic, partition) for partition in partitions], start)

    return configured_source(
        config,
        f"bridge-{name}",
        [bridge.topic],
        on_assign=on_assign,
        on_revoke=lambda partitions: None,
        keep_keys=True,
        lost=metrics.lost.inc,
        stopping=stop.is_set,
        anew="followed",
        keeps_all=False,  # a topic of others may be compacted by what is one event of ours
    )
