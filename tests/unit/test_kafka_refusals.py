"""What every client says of options and of brokers that waiting does not mend, and how soon."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from streamer.config import load_config
from streamer.errors import ConfigError, KafkaError
from streamer.kafka.connection import Options
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.kafka.topic_ids import topic_id
from streamer.kafka.topics import check_topics

TIMEOUT_S = 60.0
SASL = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "ann",
    "sasl.password": "s3cret",
}


def read(servers: str, options: Options) -> None:
    with contextlib.closing(
        KafkaReader(servers, client_options=options, timeout_s=TIMEOUT_S)
    ) as reader:
        reader.partitions("events")


def send(servers: str, options: Options) -> None:
    sink = KafkaSink(servers, client_options=options, timeout_s=TIMEOUT_S)
    sink.send("events", key=None, value=b"")
    sink.flush(TIMEOUT_S)


def check(servers: str, options: Options) -> None:
    topics = load_config(env={}).topics
    check_topics(servers, topics, client_options=options, timeout_s=TIMEOUT_S)


Use = Callable[[str, Options], None]


@contextlib.contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens where a broker should; yields its address."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                found, _ = server.accept()
            except OSError:
                return
            with found, contextlib.suppress(OSError, struct.error):
                talk(found)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield "{}:{}".format(*server.getsockname())
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def plain_http(client: socket.socket) -> None:
    client.recv(1_000)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def wrong_password(client: socket.socket) -> None:
    """A broker of the Kafka protocol that knows PLAIN and refuses every password."""
    while True:
        (n_bytes,) = struct.unpack(">i", client.recv(4))
        request = client.recv(n_bytes, socket.MSG_WAITALL)
        api, version, number = struct.unpack(">hhi", request[:8])
        if api == 18:  # ApiVersions: version 0 alone, which knows itself and the two below
            known = struct.pack(">i" + "hhh" * 3, 3, 18, 0, 0, 17, 0, 1, 36, 0, 1)
            body = struct.pack(">h", 35 if version else 0) + known
        elif api == 17:  # SaslHandshake
            body = struct.pack(">hih5s", 0, 1, 5, b"PLAIN")
        else:  # SaslAuthenticate
            body = struct.pack(">hh5si", 58, 5, b"wrong", 0) + bytes(8)
        client.sendall(struct.pack(">ii", len(body) + 4, number) + body)


@pytest.mark.parametrize("use", [read, send, check])
@pytest.mark.parametrize(
    ("talk", "options", "said"),
    [
        (plain_http, {"security.protocol": "ssl"}, r"_SSL.*check ssl\.\* in \[kafka\.client\]"),
        (wrong_password, SASL, r"_AUTHENTICATION.*check security\.protocol and sasl\.\*"),
    ],
)
def test_a_cause_that_waiting_does_not_mend_is_said_at_once(
    use: Use, talk: Callable[[socket.socket], None], options: Options, said: str
) -> None:
    began = time.monotonic()
    with listening(talk) as servers, pytest.raises(KafkaError, match=said) as refused:
        use(servers, options)
    assert time.monotonic() - began < TIMEOUT_S / 2  # long before the broker counts as away
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "use", [read, send, check, lambda s, o: topic_id(s, "events", timeout_s=1, client_options=o)]
)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sasl.passwort": "s3cret"}, r'kafka\.client: .*"sasl\.passwort"; correct it in'),
        ({"security.protocol": "sll"}, r'kafka\.client: .*"sll" for .*"security\.protocol"'),
        (
            {"security.protocol": "ssl", "ssl.ca.location": "/no/where"},
            r"kafka\.client: .*ssl\.ca\.location",
        ),
    ],
)
def test_an_option_that_the_client_does_not_know_is_an_error_of_its_key(
    use: Use, options: Options, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        use("127.0.0.1:1", options)
    assert "s3cret" not in str(refused.value)
