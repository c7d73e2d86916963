"""What is said of a broker that isn't there."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter

import pytest

from streamer.errors import KafkaUnavailable, StreamerError
from streamer.kafka.connection import client_log
from streamer.kafka.reader import KafkaReader
from streamer.logs import EventFormatter


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:1", "localhost"])
@pytest.mark.parametrize("password", ["s3cret", "s3cret'x", "s3:cret", "s3/cret"])
def test_errors_have_no_secrets_of_urls(host: str, password: str) -> None:
    for scheme in ("", "http://", "SASL_SSL://", "https:/"):
        refused = StreamerError(f"[thrd:x]: '{scheme}ann:{password}@{host}' is none")
        assert str(refused) == f"[thrd:x]: '{scheme}ann:***@{host}' is none"
        assert str(StreamerError(f"kafka:{password}@{host}")) == f"kafka:***@{host}"


def test_what_has_an_at_and_is_no_address_is_shown() -> None:
    for said in (
        "mail=ann@shop.example",
        'who: "ann@shop.example:80"',
        "rows:factors@3 is missing",
        "kafka:events@2026-01-31T12:00",
        "kafka:events@earliest",
        "sqlite:ann@shop.db",
        "GET http://h:8080/users/ann@shop.example",
        "item_id:ann@shop.example is none",
        "policy 'fixed:ann@shop.example': the log has no such item",
        "(1::ann@shop.example::5)",
        "2026-01-31T12:00,ann@shop.example,1",
        "rows.csv:7:ann@shop.example, and more",
    ):
        assert str(StreamerError(said)) == said


@pytest.mark.parametrize(
    "user", ["ann", "user", "12345", "kafka", "clicks", "rows.csv", "item", "fixed", "1:", "mailto"]
)
@pytest.mark.parametrize("host", ["kafka.shop.example", "kafka-1", "10.0.0.1"])
@pytest.mark.parametrize("port", [":9092", ":9092/x"])
def test_an_address_of_mail_with_a_port_has_a_password(user: str, host: str, port: str) -> None:
    said = f"broker {user}:s3cret@{host}{port} is down"
    assert "s3cret" not in str(StreamerError(said))
    if user in ("ann", "user", "12345", "kafka", "clicks", "rows.csv"):
        assert "s3cret" not in str(StreamerError(f"broker {user}:s3cret@{host} is down"))


def test_a_long_word_is_looked_through_once() -> None:
    for unit in ("a:", "a:b/", "=a:b", "a"):
        word = unit * 100_000 + "@1"  # from every start anew, it would take minutes
        assert str(StreamerError(word)) == word


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]:1"])
def test_an_address_with_a_password_is_not_logged(
    caplog: pytest.LogCaptureFixture, host: str
) -> None:
    with (
        contextlib.closing(KafkaReader(f"ann:s3cret@{host}", timeout_s=1.0)) as reader,
        pytest.raises(StreamerError, match=r"Kafka at ann:\*\*\*@") as caught,
    ):
        reader.partitions("items")
    formatter = EventFormatter()
    said = [formatter.format(record) for record in caplog.records]
    assert [line for line in said if "ann:***@" in line], said
    assert "s3cret" not in f"{said} {caught.value}"


def test_what_else_the_client_says_is_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    client_log.warning("%s [%s] %s", "MAXPOLL", "streamer#consumer-1", "too slow")
    assert [record.getMessage()[:7] for record in caplog.records] == ["MAXPOLL"]
