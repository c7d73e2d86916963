"""A live run against its own record: parameters and slates, made again from the topics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from streamer.application.committed import present_catalogue, present_messages
from streamer.application.services.processes import verify_configured
from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import decode_decision, decode_request
from streamer.protocols import Entry, MessageBatch
from streamer.verify.decisions import SlatesVerification, verify_slates
from streamer.verify.parameters import Verification

T = TypeVar("T")


def verify_run(
    config: Config, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[Verification, SlatesVerification]:
    """Execute the store's schedule again over the topics, and ask the requests again of what comes
    out: parameters and slates must be those of the live run, bit for bit.

    All commits, requests and decisions are held in memory. Nothing is written anywhere; learner
    and scorer may go on meanwhile, but decisions they make after the commits were read are counted
    as without version.

    Raises
    ------
    ConfigError
        Where the configuration names no broker.
    KafkaError, StoreError
        When the broker or the store does not answer, or a topic was trimmed.
    """
    entries: dict[tuple[int, int], Entry] = {}

    def executed(entry: Entry) -> None:
        entries[entry.partition, entry.version] = entry

    decisions = [
        decision
        for batch in present_messages(config, "decisions")
        for decision in _decoded(batch, lambda value, publish_ms: decode_decision(value))
    ]
    requests = [
        request
        for batch in present_messages(config, "requests")
        for request in _decoded(
            batch, lambda value, publish_ms: decode_request(value, publish_ms=publish_ms)
        )
    ]
    parameters = verify_configured(config, progress=progress, executed=executed)
    slates = verify_slates(
        config,
        entries=entries,
        requests=requests,
        decisions=decisions,
        catalogue=present_catalogue(config),
        alike=parameters.alike,
        began=parameters.began,
    )
    return parameters, slates


def _decoded(batch: MessageBatch, decode: Callable[[bytes | None, int], T]) -> Iterator[T]:
    """What can be read of a batch; the rest was refused live, too."""
    for value, publish_ms in zip(batch.values, batch.publish_ms.tolist(), strict=True):
        with contextlib.suppress(BadMessage):
            yield decode(value, publish_ms)
