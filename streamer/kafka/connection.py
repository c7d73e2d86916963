"""What all Kafka clients here share: their options, and their errors as streamer's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import confluent_kafka as ck

from streamer.errors import (
    ConfigError,
    KafkaError,
    KafkaUnavailable,
    Stopped,
    StreamerError,
    TopicMismatch,
)
from streamer.masking import without_secrets

log = logging.getLogger(__name__)
client_log = logging.getLogger("streamer.kafka.client")
"""Where librdkafka's own lines go, but for those of connections that fail: each of its threads says
that at every attempt, sixty lines a second in a scorer, and :class:`Outages` says it once. URLs of
its options are in them, without their passwords here."""


def _fit_to_log(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), None
    return not record.msg.startswith("FAIL ")


client_log.addFilter(_fit_to_log)

REQUEST_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 0.5
"""Between two looks for what an unanswered client has to say."""
ASK_S: Final = 2.0
"""Longest wait inside a client for one answer: no signal is heard meanwhile."""

Stopping = Callable[[], bool]
"""Whether who waits has been asked to stop."""

Options = Mapping[str, str | int | float | bool]
"""Raw librdkafka options."""

_BASE: Final[dict[str, str | int | float | bool]] = {
    "client.id": "streamer",
    # After an outage look again every second, not every ten.
    "reconnect.backoff.max.ms": 1_000,
    "socket.keepalive.enable": True,
    # Connections that a broker closes for idleness are no news.
    "log.connection.close": False,
}

# These waiting does not mend.
_REFUSED: Final = {
    ck.KafkaError._AUTHENTICATION: "check security.protocol and sasl.* in [kafka.client]",
    ck.KafkaError._SSL: "check ssl.* in [kafka.client]",
    ck.KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this user access to the topics",
    ck.KafkaError.GROUP_AUTHORIZATION_FAILED: "grant this user access to the consumer group",
    ck.KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant this user access to the cluster",
    ck.KafkaError.SASL_AUTHENTICATION_FAILED: "check sasl.* in [kafka.client]",
}
_TOO_LARGE_REMEDY: Final = (
    "send a smaller message, or raise max.message.bytes of the topic (and message.max.bytes in"
    " [kafka.client] above 1,000,000)"
)

_UNAVAILABLE: Final = frozenset(
    {
        ck.KafkaError._TRANSPORT,
        ck.KafkaError._DESTROY_BROKER,
        ck.KafkaError._ALL_BROKERS_DOWN,
        ck.KafkaError._TIMED_OUT,
        ck.KafkaError._RESOLVE,
        ck.KafkaError._WAIT_COORD,
        ck.KafkaError._TIMED_OUT_QUEUE,
        ck.KafkaError._MSG_TIMED_OUT,
        ck.KafkaError.REQUEST_TIMED_OUT,
        ck.KafkaError.NETWORK_EXCEPTION,
        ck.KafkaError.LEADER_NOT_AVAILABLE,
        ck.KafkaError.NOT_LEADER_FOR_PARTITION,
        # A broker that has just started and has not opened all its logs says one of these.
        ck.KafkaError.UNKNOWN_LEADER_EPOCH,
        ck.KafkaError.FENCED_LEADER_EPOCH,
        ck.KafkaError.OFFSET_NOT_AVAILABLE,
        ck.KafkaError.REPLICA_NOT_AVAILABLE,
        ck.KafkaError.NOT_CONTROLLER,
        ck.KafkaError.NOT_COORDINATOR,
        ck.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        ck.KafkaError.COORDINATOR_NOT_AVAILABLE,
    }
)

_NO_SUCH_TOPIC: Final = frozenset(
    {
        ck.KafkaError._UNKNOWN_TOPIC,
        ck.KafkaError._UNKNOWN_PARTITION,
        ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def connection_options(bootstrap_servers: str, own: Options, given: Options) -> Options:
    """Options of one client: ours, what this client needs (``own``), what the user ``given``.

    Raises
    ------
    KafkaError
        When there is no address.
    """
    if not bootstrap_servers:
        raise KafkaError(
            "no broker is named; set kafka.bootstrap_servers, or STREAMER_KAFKA__BOOTSTRAP_SERVERS"
        )
    return {**_BASE, "bootstrap.servers": bootstrap_servers, **own, **given}


Client = TypeVar("Client", covariant=True)
Answer = TypeVar("Answer")


class _Makes(Protocol[Client]):
    def __call__(self, config: dict[str, Any], /, *, logger: logging.Logger) -> Client: ...


class _Asks(Protocol):
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any: ...

    def poll(self, timeout: float, /) -> Any: ...


def new_client(kind: _Makes[Client], options: Mapping[str, Any], outages: Outages) -> Client:
    """Make a client of a kind that tells ``outages`` of its errors.

    Raises
    ------
    ConfigError
        When librdkafka does not know an option, or not its value.
    """
    try:
        return kind({**options, "error_cb": outages.note}, logger=client_log)
    except ck.KafkaException as error:
        raise ConfigError(
            f"kafka.client: {error.args[0].str()}; correct it in [kafka.client], or in"
            " STREAMER_KAFKA__CLIENT__OPTION; librdkafka's CONFIGURATION.md has the options"
        ) from error


def never() -> bool:
    """Stopping of who waits to the end."""
    return False


def check_stopping(stopping: Stopping, doing: str) -> None:
    """Raise Stopped where who waits has been asked to stop."""
    if stopping():
        raise Stopped(f"asked to stop while {doing}")


def asked(
    ask: Callable[[float], Answer], *, doing: str, timeout_s: float, stopping: Stopping = never
) -> Answer:
    """Return the answer of a client, asked again while there is none.

    Parameters
    ----------
    ask
        Called with the seconds to wait, two at most.
    doing
        What the answer is for, in words.

    Raises
    ------
    Stopped
        When it is asked to stop before the answer comes.
    confluent_kafka.KafkaException
        When no answer came within ``timeout_s``, or a refusal.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            return ask(max(0.01, min(ASK_S, left_s)))
        except ck.KafkaException as error:
            check_stopping(stopping, doing)
            if error.args[0].code() not in _NO_ANSWER or left_s <= ASK_S:
                raise


def cluster(
    client: _Asks,
    outages: Outages,
    *,
    topic: str | None = None,
    timeout_s: float,
    stopping: Stopping = never,
) -> Any:
    """Ask for the metadata of the cluster, or of one topic.

    A client is asked again and again, as it says between two calls alone that its password or the
    broker's certificate is refused, which waiting does not mend.

    Raises
    ------
    KafkaError
        The cause, where the client said one.
    confluent_kafka.KafkaException
        When no answer came within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = deadline - time.monotonic()
        try:
            return client.list_topics(topic, timeout=max(0.01, min(_LOOK_S, left_s)))
        except ck.KafkaException as error:
            client.poll(0)
            outages.check()
            check_stopping(stopping, "connecting to Kafka")
            if error.args[0].code() not in _NO_ANSWER or left_s <= _LOOK_S:
                raise


_NO_ANSWER: Final = frozenset(
    {ck.KafkaError._TRANSPORT, ck.KafkaError._TIMED_OUT, ck.KafkaError._DESTROY_BROKER}
)


def translated(
    error: ck.KafkaError | ck.KafkaException | Exception, *, doing: str, bootstrap_servers: str
) -> StreamerError:
    """The error of ours for one of the client's; raise it ``from`` the other."""
    if isinstance(error, ck.KafkaException) and error.args:
        error = error.args[0]
    if not isinstance(error, ck.KafkaError):
        return KafkaError(f"{doing}: {error} (Kafka at {bootstrap_servers})")
    code = error.code()
    where = f"{doing}: {error.name()}, {error.str()}"
    if remedy := _REFUSED.get(code):
        return KafkaError(f"{where} (Kafka at {bootstrap_servers}); {remedy}")
    if code == ck.KafkaError.MSG_SIZE_TOO_LARGE:
        return KafkaError(f"{where} (Kafka at {bootstrap_servers}); {_TOO_LARGE_REMEDY}")
    if code in _NO_SUCH_TOPIC:
        return TopicMismatch(
            f"{where} (Kafka at {bootstrap_servers}); make the topics with "
            "`streamer topics create`, or correct their names in [topics]"
        )
    if code in _UNAVAILABLE or error.retriable():
        return no_answer(where, bootstrap_servers)
    return KafkaError(f"{where} (Kafka at {bootstrap_servers})")


def no_answer(doing: str, bootstrap_servers: str) -> KafkaUnavailable:
    return KafkaUnavailable(
        f"{doing}: Kafka at {bootstrap_servers} did not answer; start the broker, or correct "
        "kafka.bootstrap_servers"
    )


def is_embedded(cluster_id: str | None) -> bool:
    """Whether a cluster is librdkafka's mock; see :mod:`streamer.kafka.embedded`."""
    return (cluster_id or "").startswith("mockCluster")


class Outages:
    """A client's errors outside any call: kept when fatal, else counted and logged once.

    librdkafka tries again by itself for ever, so an outage needs no action, only one line when it
    begins and one when it ends.

    Attributes
    ----------
    n_transient
        Errors that the client got over or still tries to.
    latest
        The last of them, in the client's words.
    """

    def __init__(self, bootstrap_servers: str) -> None:
        self.n_transient = 0
        self.latest = ""
        self._bootstrap_servers = bootstrap_servers
        self._fatal: StreamerError | None = None
        self._reported: set[int] = set()

    def note(self, error: ck.KafkaError) -> None:
        """Take one error; never raises, so it may be a callback of the client."""
        code = error.code()
        if error.fatal() or code in _REFUSED:
            self._fatal = self._fatal or translated(
                error, doing="Kafka client", bootstrap_servers=self._bootstrap_servers
            )
            return
        self.n_transient += 1
        said = without_secrets(error.str())
        if code != ck.KafkaError._ALL_BROKERS_DOWN:  # which says no more than that
            self.latest = said
        if code not in self._reported:
            self._reported.add(code)
            log.warning(
                "kafka_error %s: %s; trying again",
                error.name(),
                said,
                extra={"bootstrap_servers": self._bootstrap_servers},
            )

    def over(self) -> None:
        """Say that messages flow."""
        if self._reported:
            self._reported.clear()
            log.info("kafka_recovered", extra={"bootstrap_servers": self._bootstrap_servers})

    def check(self) -> None:
        """Raise the fatal error, if there was one."""
        if self._fatal is not None:
            raise self._fatal
