"""Talking to Redis or to a Redis cluster: finite waits, transactions, errors in our words."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import Any, Final, TypeAlias, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import (
    MaxConnectionsError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)
from redis.retry import Retry

from streamer.errors import ConfigError, StoreError, StoreUnavailable

Argument: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Argument, ...] | bytes
"""Arguments, or a command as it goes over the wire."""

DEFAULT_PORT = 6379
_DATABASE = re.compile(r"(/\d*)?")
CLUSTER_PREFIX = "redis+cluster:"
_KEYS_A_SCAN = 1_000
_SHOWN_MAX = 200
_LOOK_S: Final = 1.0
"""Longest wait for a server to show whether it talks without TLS."""
_OPTIONS: Final = re.compile(
    "username|password|db|client_name|lib_name|lib_version|health_check_interval|socket_keepalive"
    "|max_connections|ssl_.*"
)
"""What may follow the question mark of a URL. Others decide how answers are read and how long is
waited, as it is done here, or are no text."""
_TLS: Final = "rediss:"
_CHECKS_OF_CERTIFICATES: Final = ("none", "optional", "required")
_LASTING: Final = (
    ("NOPERM", "refuses this user", "see what the user of store.url may do"),
    ("DB index", "does not have the database in store.url", "name another one, or none"),
    (
        "Cluster mode is not enabled",
        "is no node of a cluster",
        "write redis:// for redis+cluster:// in store.url",
    ),
    (
        "unknown command",
        "does not know a command",
        "take Redis 6.2 or later, with every command under its own name",
    ),
    (
        "protected mode",
        "answers nobody but its own host",
        "give it a password, and write that into store.url",
    ),
)
"""Errors that waiting does not mend: words of them, what is wrong, and what to do."""
CLUSTER_ATTEMPTS = 3
"""A cluster client learns by a failed attempt that a slot has moved."""


class RedisConnection:
    """A pool of connections to one server or cluster; any thread may use it.

    Nothing is connected before the first use. Whatever is sent must be harmless when sent twice:
    after a broken connection a command is sent once more, though the server may have run it.

    Parameters
    ----------
    url
        ``redis://``, ``rediss://`` or ``redis+cluster://``.
    timeout_s
        Bound of connecting and of each wait for an answer.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.address = _address(url)
        _check_options(url, self.address)
        self.cluster = url.startswith(CLUSTER_PREFIX)
        self.timeout_s = timeout_s
        self._url = url
        self._client: Any = None  # redis.Redis | RedisCluster, whose methods have no types
        self._lock = threading.Lock()

    def call(self, *command: Argument) -> Any:
        """The answer to one command."""
        with self._errors(command):
            return self._connected().execute_command(*command)

    def call_all(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """The answers to several commands, sent at once; others may run between them."""
        with self._errors():  # the client says which command it was
            pipeline = self._connected().pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return list(pipeline.execute())

    def keys(self, prefix: str) -> set[bytes]:
        """Names of all keys that begin with ``prefix``, of all nodes of a cluster."""
        pattern = re.sub(r"([][*?\\^])", r"\\\1", prefix) + "*"
        with self._errors():
            return set(self._connected().scan_iter(match=pattern, count=_KEYS_A_SCAN))

    def memory(self) -> list[Mapping[str, Any]]:
        """``INFO memory`` of the server, or of each primary of the cluster; nothing where that may
        not be asked."""
        nodes = {"target_nodes": RedisCluster.PRIMARIES} if self.cluster else {}
        with self._errors():
            try:
                found = self._connected().execute_command("INFO", "memory", **nodes)
            except redis.ResponseError:  # no permission, or renamed by who hosts it
                return []
        return [found] if "maxmemory" in found else list(found.values())

    def transact(
        self,
        watched: Sequence[str],
        reads: Sequence[Command],
        commands: Callable[[list[Any]], Sequence[Command]],
    ) -> bool:
        """Run commands in one transaction, unless a watched key has changed since the reads.

        Parameters
        ----------
        watched
            Keys, all in the slot of the commands' keys.
        reads
            Commands answered first.
        commands
            Given the answers to ``reads``; returns what to run, maybe nothing, or raises.

        Returns
        -------
        bool
            False where a watched key changed meanwhile: nothing was done.
        """
        with self._errors(watched):
            try:
                return self._transact(watched, reads, commands)
            except (redis.ConnectionError, MovedError):  # a broken connection, or a slot elsewhere
                self._connected().execute_command("EXISTS", watched[0])  # finds the node again
                return self._transact(watched, reads, commands)

    def _transact(
        self,
        watched: Sequence[str],
        reads: Sequence[Command],
        commands: Callable[[list[Any]], Sequence[Command]],
    ) -> bool:
        client = self._connected()
        if self.cluster:
            client = client.get_redis_connection(client.get_node_from_key(watched[0]))
        connection = client.connection_pool.get_connection()
        try:
            return _transaction(connection, watched, reads, commands)
        except BaseException:
            connection.disconnect()  # with answers unread, it is of no use to anything else
            raise
        finally:
            client.connection_pool.release(connection)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                if self.cluster:
                    self._client.disconnect_connection_pools()  # which its close leaves open
                self._client.close()
                self._client = None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> redis.Redis | RedisCluster:
        make: Callable[..., redis.Redis | RedisCluster] = redis.Redis.from_url
        url, retry = self._url, Retry(NoBackoff(), 1, (redis.ConnectionError,))
        if self.cluster:
            make = RedisCluster.from_url
            url = "redis:" + url.removeprefix(CLUSTER_PREFIX)
            retry = Retry(ExponentialBackoff(cap=0.2, base=0.02), CLUSTER_ATTEMPTS)
        try:
            client = make(
                url,
                socket_timeout=self.timeout_s,
                socket_connect_timeout=self.timeout_s,
                retry=retry,
                protocol=2,
                decode_responses=False,
            )
            if isinstance(client, redis.Redis):
                client.connection_pool.make_connection()  # made, not opened: refuses its options
            return client
        except (ValueError, TypeError) as error:  # the value of an option
            raise ConfigError(f"store.url of {self.address} can't be used ({error})") from error

    @contextmanager
    def _errors(self, asked: Sequence[Argument] = ()) -> Iterator[None]:
        """Errors in our words; ``asked``: what they are about."""
        try:
            yield
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise StoreError(
                f"Redis at {self.address} refuses this user or password ({error}): see the user and"
                " the password in store.url, and what the user may do"
            ) from error
        except ReadOnlyError as error:
            raise self._of_replica(error) from error
        except redis.ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise self._of_another_type(error, asked) from error
            raise self._lasting(error) or self._unavailable(error) from error
        except (RedisError, RedisClusterException) as error:
            if _refused_by_tls(error) or (
                isinstance(error, redis.TimeoutError) and self._is_without_tls()
            ):
                raise StoreError(
                    f"Redis at {self.address} can't be talked to by TLS ({error}): see the scheme"
                    " (redis:// without, rediss:// with TLS) and ssl_ca_certs in store.url"
                ) from error
            raise self._lasting(error) or self._unavailable(error) from error

    def _lasting(self, error: Exception) -> StoreError | None:
        """The error of what waiting does not mend; None for any other."""
        said = str(error)
        for words, wrong, remedy in _LASTING:
            if words in said:
                return StoreError(f"Redis at {self.address} {wrong} ({said}): {remedy}")
        if isinstance(error, MovedError) and not self.cluster:
            return StoreError(
                f"Redis at {self.address} is a node of a cluster (MOVED {said}): write"
                " redis+cluster:// for redis:// in store.url"
            )
        if isinstance(error, MaxConnectionsError):
            return StoreError(
                f"more connections to Redis at {self.address} are in use at once than"
                " max_connections in store.url allows: leave it out"
            )
        return None

    def _is_without_tls(self) -> bool:
        """Whether a server that does not answer to TLS answers to a line of text, as Redis without
        TLS does: a greeting by TLS it takes for a line that goes on."""
        if not self._url.startswith(_TLS):
            return False
        parts = urlsplit(self._url)
        where = (unquote(parts.hostname or ""), parts.port or DEFAULT_PORT)
        try:
            with socket.create_connection(where, min(self.timeout_s, _LOOK_S)) as plain:
                plain.sendall(b"PING\r\n")
                return plain.recv(1) in (b"+", b"-")
        except OSError:
            return False

    def _of_replica(self, error: Exception) -> StoreUnavailable:
        """The error of a server that takes no writes, with the name of the one that does."""
        primary = "its primary"
        with suppress(RedisError):  # it may not be asked
            found = self._connected().execute_command("INFO", "replication")
            if found.get("role") == "slave":
                primary += f", {found['master_host']}:{found['master_port']}"
        return StoreUnavailable(
            f"Redis at {self.address} is a replica, which takes no writes ({error}): name"
            f" {primary}, in store.url, or have this server made primary again"
        )

    def _of_another_type(self, error: Exception, asked: Sequence[Argument]) -> StoreError:
        about = " ".join(map(str, asked))
        where = f" (asked: {about[:_SHOWN_MAX]})" if asked else ""
        return StoreError(
            f"Redis at {self.address} has a key of another type than streamer gave it:"
            f" {error}{where}. Something other than streamer changed the store: restore a copy of"
            " it, or delete that key, forget what the store has with `streamer store rebuild` and"
            " learn again from the topics"
        )

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        answered = isinstance(error, redis.ResponseError)
        did = "answered with an error" if answered else f"did not answer within {self.timeout_s} s"
        return StoreUnavailable(
            f"Redis at {self.address} {did}"
            f" ({type(error).__name__}: {error}); try again, and see that it runs, can be"
            " reached from here, and has memory left"
        )


def _refused_by_tls(error: BaseException) -> bool:
    """Whether a certificate or the protocol is wrong, and not a connection cut short."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    cut_short = ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError
    return cause is not None and not isinstance(cause, cut_short)


def _address(url: str) -> str:
    """Scheme, host and port, without what is secret.

    Raises
    ------
    ConfigError
        Where the URL can't be read; it is not in the message, which may hold a password.
    """
    parts = urlsplit("")
    port = 0
    with suppress(ValueError):
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    legible = port and parts.hostname and not parts.fragment and _DATABASE.fullmatch(parts.path)
    # A password with a ? in it ends there for who reads a URL, and its rest with the @ of the host.
    cut = [name for name, _ in _options(parts) if not _OPTIONS.fullmatch(name)]
    if not legible or (cut and "@" in parts.query):
        raise ConfigError(
            "store.url can't be read: it is redis://USER:PASSWORD@HOST:PORT/DATABASE with numbers"
            " for port and database; in a password write %23 for #, %2F for /, %3F for ?, %40 for"
            " @, %5B for [ and %25 for %"
        )
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _options(parts: SplitResult) -> list[tuple[str, str]]:
    return parse_qsl(parts.query, keep_blank_values=True)


def _check_options(url: str, address: str) -> None:
    """Raise ConfigError where a URL has an option that streamer does not take."""
    for name, value in _options(urlsplit(url)):
        if name.startswith("ssl_") and not url.startswith(_TLS):
            scheme = url.partition(":")[0]
            raise ConfigError(
                f"store.url of {address} can't be used: {name} is an option of TLS; write rediss://"
                f" for {scheme}://, or leave it out"
            )
        if name == "ssl_cert_reqs" and value not in _CHECKS_OF_CERTIFICATES:
            raise ConfigError(
                f"store.url of {address} can't be used: {name} is one of"
                f" {', '.join(_CHECKS_OF_CERTIFICATES)}"
            )
        if not _OPTIONS.fullmatch(name):
            raise ConfigError(
                f"store.url of {address} can't be used: {name!r} is none of its options"
                f" ({_OPTIONS.pattern.replace('|', ', ').replace('.*', '…')}); how long Redis is"
                " waited for is store.timeout_s"
            )


def _transaction(
    connection: Any,
    watched: Sequence[str],
    reads: Sequence[Command],
    commands: Callable[[list[Any]], Sequence[Command]],
) -> bool:
    connection.send_packed_command(_wire(connection, [("WATCH", *watched), *reads]))
    _, *found = [connection.read_response() for _ in range(1 + len(reads))]
    chosen = commands(found)
    if not chosen:
        connection.send_command("UNWATCH")
        connection.read_response()
        return True
    connection.send_packed_command(_wire(connection, [("MULTI",), *chosen, ("EXEC",)]))
    for _ in range(1 + len(chosen)):
        connection.read_response()  # raises what the server refuses to queue
    answers = connection.read_response()
    for answer in answers or ():
        if isinstance(answer, Exception):
            raise answer
    return answers is not None


def _wire(connection: Any, commands: Sequence[Command]) -> list[bytes]:
    """Return the bytes to send: small commands joined, large arguments not copied."""
    wire: list[bytes] = []
    for kind, run in groupby(commands, key=type):
        some = list(run)
        wire += cast("list[bytes]", some) if kind is bytes else connection.pack_commands(some)
    return wire
