"""What is said of a broker that isn't there."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter

import pytest

from streamer.errors import KafkaUnavailable, StreamerError
from streamer.kafka.connection import client_log
from streamer.kafka.reader import KafkaReader


def test_an_outage_is_one_line_of_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with (
        contextlib.closing(KafkaReader("127.0.0.1:1", timeout_s=1.0)) as reader,
        pytest.raises(KafkaUnavailable, match="start the broker"),
    ):
        reader.partitions("items")
    said = Counter(record.getMessage().split(":")[0] for record in caplog.records)
    assert set(said.values()) == {1}, said
    assert any(line.startswith("kafka_error") for line in said)


def test_a_url_that_the_client_logs_has_no_password(caplog: pytest.LogCaptureFixture) -> None:
    options = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "http://ann:s3cret@127.0.0.1:1/token",
        "sasl.oauthbearer.client.id": "ann",
        "sasl.oauthbearer.client.secret": "s3cret",
    }
    with (
        contextlib.closing(
            KafkaReader("127.0.0.1:1", client_options=options, timeout_s=30.0)
        ) as reader,
        pytest.raises(StreamerError) as caught,
    ):
        reader.partitions("items")
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "http://ann:***@127.0.0.1:1/token" in line], said
    assert "s3cret" not in f"{said} {caught.value}"


def test_errors_have_no_secrets_of_urls() -> None:
    refused = StreamerError("http://ann:s3cret@h is none, nor ann:s3cret@kafka-1:9092")
    assert str(refused) == "http://ann:***@h is none, nor ann:***@kafka-1:9092"


def test_what_else_the_client_says_is_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    client_log.warning("%s [%s] %s", "MAXPOLL", "streamer#consumer-1", "too slow")
    assert [record.getMessage()[:7] for record in caplog.records] == ["MAXPOLL"]
