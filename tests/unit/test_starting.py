"""The wait for a broker and a store that have not started yet."""

from __future__ import annotations

import msgspec
import pytest

from streamer.application.starting import await_broker, configured_store, wait_for
from streamer.config import Config, load_config
from streamer.errors import KafkaUnavailable, StoreError, StoreUnavailable
from streamer.kafka.embedded import EmbeddedBroker
from tests.timing import shortest_s


class Starting:
    """Answers after it was asked ``n_refused`` times in vain."""

    def __init__(self, n_refused: float, error: StoreError | None = None) -> None:
        self.n_refused = n_refused
        self._error = error or StoreUnavailable("LOADING 40 %")

    def __call__(self) -> None:
        self.n_refused -= 1
        if self.n_refused >= 0:
            raise self._error


def with_settings(config: Config, **kafka: object) -> Config:
    return msgspec.structs.replace(config, kafka=msgspec.structs.replace(config.kafka, **kafka))


def test_what_starts_is_waited_for_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Starting(3)
    wait_for("the store", store, at_most_s=60.0)
    assert store.n_refused == -1
    first, last = [each.getMessage() for each in caplog.records]
    assert first == "waiting for the store, 60 s at most: LOADING 40 %"
    assert last.startswith("the store answers after ")


def test_what_answers_at_once_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    wait_for("the store", Starting(0), at_most_s=60.0)
    assert not caplog.records


def test_the_wait_ends_with_the_cause() -> None:
    with pytest.raises(StoreUnavailable, match="LOADING"):
        wait_for("the store", Starting(float("inf")), at_most_s=0.1)


def test_a_refusal_ends_it_at_once() -> None:
    refusing = Starting(float("inf"), StoreError("WRONGPASS"))

    def ask() -> None:
        with pytest.raises(StoreError, match="WRONGPASS"):
            wait_for("the store", refusing, at_most_s=60.0)

    assert shortest_s(ask) < 5.0


def test_a_broker_that_is_away_is_said_with_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    servers = "127.0.0.1:1"
    config = with_settings(load_config(env={}), bootstrap_servers=servers, request_timeout_s=3.0)
    with pytest.raises(KafkaUnavailable, match=r"Connection refused.*start the broker"):
        await_broker(config)
    assert f"waiting for Kafka at {servers}, 3 s at most: connecting: " in caplog.text


def test_a_broker_and_a_store_that_are_there_are_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with EmbeddedBroker() as broker:
        await_broker(with_settings(load_config(env={}), bootstrap_servers=broker.bootstrap_servers))
    configured_store(load_config(env={"STREAMER_STORE__URL": "memory:"})).close()
    assert not caplog.records


def test_a_store_that_is_away_is_said_with_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    config = load_config(env={"STREAMER_STORE__URL": "redis://:s3cret@127.0.0.1:1"})
    with pytest.raises(StoreUnavailable, match="Connection refused"):
        configured_store(with_settings(config, request_timeout_s=0.5))
    assert "waiting for the store, 0.5 s at most: Redis at redis://127.0.0.1:1" in caplog.text
    assert "s3cret" not in caplog.text
