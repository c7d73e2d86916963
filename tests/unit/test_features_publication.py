"""Values that the features topic refuses for their size are counted, and the others published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

pytest.importorskip("faust", reason="pip install '.[features]'")

from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from streamer.clock import SystemClock
from streamer.config import load_config
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.settings import features_settings
from streamer.faust_worker.windows_agent import WindowsAgent
from streamer.windows.engine import FeatureResult

BATCH = 3


class Topic:
    """Refuses a batch of three in which one message is too large, as a broker does."""

    def __init__(self, n_bytes_max: int, failure: Exception | None = None) -> None:
        self.n_bytes_max = n_bytes_max
        self.failure = failure
        self.taken: list[bytes] = []
        self._batch: list[tuple[bytes, bytes, asyncio.Future[None]]] = []

    def get_topic_name(self) -> str:
        return "features"

    async def send(self, *, key: bytes, value: bytes) -> Awaitable[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch.append((key, value, answer))
        asyncio.get_running_loop().call_soon(self._flush)
        return answer

    def _flush(self) -> None:
        batch, self._batch = self._batch[:BATCH], self._batch[BATCH:]
        largest = max((len(key + value) for key, value, _ in batch), default=0)
        for key, _, answer in batch:
            if self.failure is not None:
                answer.set_exception(self.failure)
            elif largest > self.n_bytes_max:
                answer.set_exception(MessageSizeTooLargeError())
            else:
                self.taken.append(key)
                answer.set_result(None)


def agent(topic: Topic, metrics: FeaturesMetrics) -> WindowsAgent:
    config = load_config(None, env={}, flags={"topics.partitions": 1})
    nothing: Any = None
    return WindowsAgent(
        replace(features_settings(config)),
        nothing,
        topic,  # type: ignore[arg-type]
        reading=nothing,
        dead_letters=nothing,
        clock=SystemClock(),
        metrics=metrics,
    )


def results(*ids: str) -> list[FeatureResult]:
    return [FeatureResult("user_clicks", "user", each, 1.0, 1_000, 2_000) for each in ids]


def test_only_what_is_too_large_itself_is_refused_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    topic, metrics = Topic(600), FeaturesMetrics(registry)
    ids = ["a", "b" * 900, "c", "d", "e", "f" * 900, "g"]
    asyncio.run(agent(topic, metrics)._publish_all(results(*ids)))
    assert sorted(key.decode() for key in topic.taken) == [
        f"user_clicks:{each}" for each in ids if len(each) == 1
    ]
    assert registry.get_sample_value("streamer_features_too_large_total") == 2
    assert registry.get_sample_value("streamer_features_published_total") == 5
    assert "features takes no" in caplog.text
    assert "raise its max.message.bytes" in caplog.text


def test_another_failure_stops_the_worker() -> None:
    topic = Topic(10_000, KafkaConnectionError())
    with pytest.raises(KafkaConnectionError):
        asyncio.run(agent(topic, FeaturesMetrics(CollectorRegistry()))._publish_all(results("a")))
