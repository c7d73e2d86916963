"""The Redis store when the server or the network fails under it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from streamer.errors import StoreError, StoreUnavailable
from streamer.protocols import ParameterStore
from streamer.store import open_store
from streamer.store.layout import encode_entry
from streamer.store.redis_connection import Command, RedisConnection
from tests.contract.store_world import LAYOUT, World, state_of
from tests.redis_server import RedisServer


class LossyProxy:
    """Passes bytes on to a server; once :meth:`lose` is called, one answer is thrown away.

    The server has then done what it was asked, and the client sees a broken connection.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._losing = threading.Event()
        self.n_lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def lose(self) -> None:
        self._losing.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for source, target, answers in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, target, answers), daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self._losing.is_set():
                    self._losing.clear()
                    self.n_lost += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[ParameterStore]:
    store = open_store(redis_server.url, timeout_s=2.0)
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    yield store
    store.close()


@pytest.fixture
def proxy(redis_url: str) -> Iterator[LossyProxy]:
    parts = urlsplit(redis_url)
    proxy = LossyProxy(parts.hostname or "127.0.0.1", parts.port or 6379)
    yield proxy
    proxy.close()


def test_a_commit_whose_answer_is_lost_counts_once(proxy: LossyProxy, redis_prefix: str) -> None:
    store = open_store(f"redis://127.0.0.1:{proxy.port}", key_prefix=redis_prefix, timeout_s=5.0)
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    world = World()
    written = []
    for n in range(1, 11):
        entry = world.next_entry()
        written.append(encode_entry(entry))
        proxy.lose()
        store.commit(entry, owner="a")
        assert proxy.n_lost == n
    checkpoint = world.checkpoint()
    proxy.lose()
    store.checkpoint(checkpoint, owner="a")
    assert proxy.n_lost == 11
    image = store.load(0)
    assert image.version == 10
    assert state_of(image) == world.state
    assert [encode_entry(entry) for entry in store.follow({0: 0}, timeout_s=0)] == written
    assert [schedule.version for schedule in store.schedule(0)] == list(range(1, 11))
    store.close()


def test_a_durable_server_that_is_killed_forgets_nothing(
    store: ParameterStore, redis_server: RedisServer
) -> None:
    world = World()
    for _ in range(3):
        for _ in range(5):
            store.commit(world.next_entry(), owner="a")
        redis_server.kill()
        with pytest.raises(StoreUnavailable, match=r"did not answer within 2\.0 s"):
            store.load(0)
        redis_server.start()
        # The pool's connections to the server that was killed are dead.
        store.commit(world.next_entry(), owner="a")
        store.checkpoint(world.checkpoint(), owner="a")
        image = store.load(0)
        assert image.version == world.version
        assert state_of(image) == world.state


def test_a_waiting_follower_outlives_its_own_timeout(redis_server: RedisServer) -> None:
    """Waiting for entries is not taken for a server that does not answer."""
    store = open_store(redis_server.url, timeout_s=1.0)
    store.ensure_layout(LAYOUT)
    assert store.follow({0: 0}, timeout_s=2.5) == []
    store.close()


def test_a_full_server_refuses_a_commit_as_a_whole(
    store: ParameterStore, redis_server: RedisServer
) -> None:
    world = World()
    store.commit(world.next_entry(), owner="a")
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory", 1)
        entry = world.next_entry()
        with pytest.raises(StoreUnavailable, match=r"answered with an error \(OutOfMem.*left"):
            store.commit(entry, owner="a")
        client.config_set("maxmemory", 0)
    assert store.versions() == {0: 1}
    assert [schedule.version for schedule in store.schedule(0)] == [1]
    store.commit(entry, owner="a")
    assert state_of(store.load(0)) == world.state


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_a_server_that_drops_keys_is_refused_before_anything_is_learned(
    redis_server: RedisServer, policy: str
) -> None:
    store = open_store(redis_server.url, timeout_s=2.0)
    store.ensure_layout(LAYOUT)
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", policy)
        store.acquire(0, "a")  # nothing is dropped while there is no bound
        client.config_set("maxmemory", 14_000_000)
        with pytest.raises(StoreError, match=rf"14000000 bytes \(maxmemory-policy {policy}\)"):
            store.acquire(0, "b")
        client.config_set("maxmemory-policy", "volatile-lru")
        store.acquire(0, "b")
    store.close()


def test_who_may_not_ask_for_the_policy_is_not_refused(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 14_000_000)
        rights = {"keys": ["*"], "commands": ["+@all", "-info"]}
        client.acl_setuser("someone", enabled=True, passwords=["+secret"], **rights)
    store = open_store(redis_server.url.replace("://", "://someone:secret@"), timeout_s=2.0)
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    store.close()


def test_nothing_is_written_where_another_came_between_check_and_write(
    redis_server: RedisServer,
) -> None:
    with redis.Redis.from_url(redis_server.url) as other:
        other.hset("meta", "owner", "a")
        connection = RedisConnection(redis_server.url, timeout_s=2.0)

        def commands(found: list[object]) -> list[Command]:
            if found == [[b"a"]]:
                other.hset("meta", "owner", "b")
            return [("XADD", "log", "1-0", "e", b"entry"), b"*1\r\n$4\r\nPING\r\n"]

        reads: list[Command] = [("HMGET", "meta", "owner")]
        assert not connection.transact(["meta"], reads, commands)
        assert other.xlen("log") == 0
        assert connection.transact(["meta"], reads, commands)
        assert other.xlen("log") == 1
        assert connection.transact(["meta"], reads, lambda found: [])
        connection.close()


@pytest.mark.parametrize("name", ["log", "schedule"])
def test_a_log_ahead_of_its_version_takes_no_entry(
    store: ParameterStore, redis_server: RedisServer, name: str
) -> None:
    """Redis would refuse the entry and write the new offsets, whose events would be lost."""
    world = World()
    first, second = world.next_entry(), world.next_entry()
    store.commit(first, owner="a")
    with redis.Redis.from_url(redis_server.url) as client:
        client.xadd(f"streamer:{{0}}:{name}", {"x": b"y"}, id="3-0")
        with pytest.raises(StoreError, match="version 1, but its log holds later entries"):
            store.commit(second, owner="a")
        assert store.versions() == {0: 1}
        client.xdel(f"streamer:{{0}}:{name}", "3-0")


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (
            ":layout",
            r"the key streamer:layout in Redis at .* is not there.*`streamer store rebuild`",
        ),
        (":rows:", r"rows:\w+ has 0 of \d+ entries that its checkpoint .*`streamer store rebuild`"),
        (":names:", r"names:\w+ has 0 of \d+ entries that its checkpoint"),
    ],
)
def test_keys_that_are_deleted_are_missed_at_the_next_checkpoint(
    store: ParameterStore, redis_server: RedisServer, of: str, said: str
) -> None:
    world = World()
    store.commit(world.next_entry(), owner="a")
    checkpoint = world.checkpoint()
    store.checkpoint(checkpoint, owner="a")
    store.checkpoint(checkpoint, owner="a")
    with redis.Redis.from_url(redis_server.url) as client:
        client.delete(*(key for key in client.keys("*") if of.encode() in key))
    store.commit(world.next_entry(), owner="a")
    with pytest.raises(StoreError, match=said):
        store.checkpoint(world.checkpoint(), owner="a")


def learn_into(store: ParameterStore) -> None:
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    store.commit(World().next_entry(), owner="a")


@pytest.mark.parametrize("command", ["get", "watch", "multi", "exec", "xadd"])
def test_a_right_that_a_user_lacks_is_not_waited_for(
    redis_server: RedisServer, command: str
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        rights = {"keys": ["*"], "commands": ["+@all", f"-{command}"]}
        client.acl_setuser("someone", enabled=True, passwords=["+secret"], **rights)
    store = open_store(redis_server.url.replace("://", "://someone:secret@"), timeout_s=2.0)
    with pytest.raises(StoreError, match=r"refuses this user.*may do") as caught:
        learn_into(store)
    assert not caught.value.retriable
    store.close()


def test_a_server_that_became_a_replica_names_its_primary(redis_server: RedisServer) -> None:
    with (
        contextlib.closing(open_store(redis_server.url, timeout_s=2.0)) as store,
        redis.Redis.from_url(redis_server.url) as client,
    ):
        learn_into(store)
        client.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(StoreUnavailable, match=r"is a replica.*primary, 127.0.0.1:1, in"):
                store.acquire(0, "b")
        finally:
            client.replicaof("NO", "ONE")
        store.acquire(0, "b")


def test_a_server_without_tls_is_not_waited_for_again(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("redis:", "rediss:")
    with contextlib.closing(open_store(url, timeout_s=0.5)) as store:
        with pytest.raises(StoreError, match="redis:// without, rediss:// with TLS") as caught:
            store.layout()
        assert not caught.value.retriable


def test_what_a_url_says_wrongly_of_a_server_is_not_waited_for(redis_server: RedisServer) -> None:
    for url, remedy in (
        (
            redis_server.url.replace("redis:", "redis+cluster:"),
            r"write redis:// for redis\+cluster",
        ),
        (
            f"{redis_server.url}/0?max_connections=1",
            "max_connections in store.url allows: leave it",
        ),
    ):
        store = open_store(url, timeout_s=2.0)
        with pytest.raises(StoreError, match=remedy) as caught:
            learn_into(store)
        assert not caught.value.retriable
        store.close()


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ("-MOVED 866 127.0.0.1:1", r"is a node of a cluster.*write redis\+cluster:// for redis://"),
        ("-ERR unknown command 'GET', with args beginning with:", r"take Redis 6\.2 or later"),
        ("-DENIED Redis is running in protected mode because", "give it a password"),
    ],
)
def test_what_a_server_does_not_do_is_not_waited_for(answer: str, remedy: str) -> None:
    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client ends it, or the test
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    while data := client.recv(1 << 16):
                        n_asked = max(1, data.count(b"CLIENT"))
                        client.sendall(f"{answer}\r\n".encode() * n_asked)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        store = open_store(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout_s=2.0)
        with pytest.raises(StoreError, match=remedy) as caught:
            store.layout()
        assert not caught.value.retriable
        store.close()
