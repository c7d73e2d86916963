"""Store URLs, and what a store says when it can't be reached or used."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import load_config
from streamer.errors import ConfigError, LayoutMismatch, StoreError, StoreUnavailable
from streamer.protocols import STORE_SCHEMA_VERSION
from streamer.store import open_store
from tests.contract.store_world import LAYOUT, World
from tests.timing import shortest_s


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose listener takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "url", ["", "store.db", "sqlite:", "memory:x", "mysql://me:secret@host/db", "redis:host"]
)
def test_an_unknown_url_names_the_ones_allowed(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    assert "sqlite:PATH, redis://HOST:PORT, rediss://HOST:PORT" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        (":memory:", "write memory: for one that ends with its process"),
        ("file::memory:?cache=shared", "write memory:"),
        ("//x.db", "write sqlite:x.db for a file of this folder, or sqlite:/x.db"),
        ("///x/y.db", "write sqlite:x/y.db for a file of this folder, or sqlite:/x/y.db"),
        ("~/x.db", f"as sqlite:{Path.home()}/x.db, or sqlite:./~/x.db"),
        ("~ann/x.db", "as sqlite:/home/ann/x.db"),
        ("x.db?mode=ro", "a path has no settings"),
        ("file:x.db", "a path has no settings"),
        (" ", "a blank or a NUL"),
        ("x.db ", "a blank or a NUL"),
        ("x\0.db", "a blank or a NUL"),
    ],
)
def test_a_path_that_is_meant_otherwise_is_refused_and_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="names no file") as caught:
        open_store(f"sqlite:{path}").ensure_layout(LAYOUT)
    assert remedy in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    ["sqlite::memory:", "sqlite:~/x.db", "sqlite://x.db", "redis://h/0?foo=1", "redis://h:1/db"],
)
def test_the_configuration_is_refused_in_the_words_of_who_opens_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        open_store(url)
    refused = CliRunner().invoke(app, ["config", "--store", url])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception) == str(caught.value)
    (tmp_path / "streamer.toml").write_text('[store]\nurl = "sqlite:x.db"\n')
    assert CliRunner().invoke(app, ["config", "--config", "streamer.toml"]).exit_code == 0
    assert [each.name for each in tmp_path.iterdir()] == ["streamer.toml"]


@pytest.mark.parametrize("path", ["a b.db", "what?.db", "a:b.db", "./~/x.db", "x~.db"])
def test_a_path_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(open_store(f"sqlite:{path}")) as store:
        store.ensure_layout(LAYOUT)
    assert Path(path).is_file()


@pytest.mark.parametrize(
    "rest",
    [
        ":s3cret#1@h:6379/0",
        ":s3cret/1@h:6379/0",
        ":s3cret@h:abc/0",
        ":s3cret@h:1/db",
        ":12#s3cret@h",
        "ann:12?s3cret@h:1",
        "ann:12?s3cret=1@h",
        "ann:12?db=1&s3cret@h",
        "ann:12?client_name=1&x=s3cret@h",
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster"])
def test_a_url_that_cannot_be_read_names_the_key_and_no_secret(scheme: str, rest: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url can't be read.*%23 for #") as caught:
        open_store(f"{scheme}://{rest}")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
@pytest.mark.parametrize(
    "option",
    [
        "foo=1", "decode_responses=true", "decode_responses=", "encoding=utf-16", "protocol=3",
        "socket_timeout=9", "retry=3", "retry_on_timeout=true", "command_packer=x",
        "credential_provider=x", "redis_connect_func=x", "cache_config=x", "host=elsewhere",
    ],
)  # fmt: skip
def test_an_option_that_a_url_may_not_have_is_an_error_of_the_key(scheme: str, option: str) -> None:
    name = option.partition("=")[0]
    said = rf"store\.url of {re.escape(scheme)}://h:6379 can't be used: '{name}' is none of"
    with pytest.raises(ConfigError, match=said) as caught:
        open_store(f"{scheme}://:s3cret@h/0?db=1&{option}")
    assert "s3cret" not in str(caught.value)
    assert "max_connections, ssl_…" in str(caught.value)


def test_a_value_that_an_option_of_a_url_may_not_have_is_an_error_of_the_key() -> None:
    with pytest.raises(ConfigError, match=r"store\.url of redis://h:6379 can't be used"):
        open_store("redis://h?max_connections=many").layout()


def test_a_cluster_may_be_configured() -> None:
    url = "redis+cluster://cache:7000"
    assert load_config(None, flags={"store.url": url}, env={}).store.url == url


@pytest.mark.parametrize("name", ["log_entries_kept", "schedule_entries_max"])
def test_bounds_are_at_least_one(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0, but must be at least 1"):
        open_store("memory:", **{name: 0})  # type: ignore[arg-type]


def test_a_timeout_is_above_zero() -> None:
    with pytest.raises(ConfigError, match="timeout_s is 0"):
        open_store("memory:", timeout_s=0)


@pytest.mark.parametrize("key_prefix", ["", "a{b", "}"])
def test_a_key_prefix_must_not_choose_the_slot(key_prefix: str) -> None:
    with pytest.raises(ConfigError, match="key_prefix is"):
        open_store("redis://127.0.0.1:1", key_prefix=key_prefix)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster"])
def test_opening_connects_to_nothing(scheme: str) -> None:
    open_store(f"{scheme}://127.0.0.1:1").close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_refused_connection_names_the_address_and_no_secret(scheme: str) -> None:
    opened = open_store(f"{scheme}://me:secret@127.0.0.1:1", timeout_s=0.5)
    with contextlib.closing(opened) as store, pytest.raises(StoreUnavailable) as caught:
        store.acquire(0, "a")
    assert caught.value.retriable
    assert f"Redis at {scheme}://127.0.0.1:1 did not answer within 0.5 s" in str(caught.value)
    assert "see that it runs" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_silent_server_is_waited_for_no_longer_than_told(scheme: str, silent_port: int) -> None:
    opened = open_store(f"{scheme}://127.0.0.1:{silent_port}", timeout_s=0.2)
    with contextlib.closing(opened) as store:

        def follow() -> None:
            with pytest.raises(StoreUnavailable, match=r"within 0\.2 s"):
                store.follow({0: 0}, timeout_s=1.0)

        assert shortest_s(follow) < 2.0


def test_a_certificate_or_a_port_without_tls_is_not_waited_for(
    pem: tuple[Path, Path],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pem)

    def serve(listener: socket.socket, *, tls: bool) -> None:
        with contextlib.suppress(OSError):  # the client ends it, or the test
            while True:
                with contextlib.suppress(ssl.SSLError), listener.accept()[0] as client:
                    if tls:
                        context.wrap_socket(client, server_side=True).close()
                    else:
                        client.sendall(b"-ERR unknown command\r\n")

    for tls in (True, False):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(
                target=serve, args=(listener,), kwargs={"tls": tls}, daemon=True
            ).start()
            store = open_store(f"rediss://:secret@127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(StoreError, match=r"ssl_ca_certs in store\.url") as caught:
                store.layout()
            assert not caught.value.retriable
            assert "secret" not in str(caught.value)
            store.close()


@pytest.mark.parametrize("answer", ["+PONG", "-NOAUTH Authentication required."])
def test_a_server_without_tls_that_is_silent_to_it_is_not_tried_again(answer: str) -> None:
    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the test ends it
            while True:
                client, _ = listener.accept()
                threading.Thread(target=answered, args=(client,), daemon=True).start()

    def answered(client: socket.socket) -> None:
        """Read lines, as Redis does: of a greeting by TLS, bytes that go on."""
        with client, contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if data == b"PING\r\n":
                    client.sendall(f"{answer}\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        url = f"rediss://:secret@127.0.0.1:{listener.getsockname()[1]}"
        with contextlib.closing(open_store(url, timeout_s=0.5)) as store:
            with pytest.raises(StoreError, match=r"redis:// without, rediss:// with") as caught:
                store.layout()
            assert not caught.value.retriable


def test_a_server_that_is_silent_with_tls_and_without_may_come_back(silent_port: int) -> None:
    url = f"rediss://127.0.0.1:{silent_port}"
    with (
        contextlib.closing(open_store(url, timeout_s=0.2)) as store,
        pytest.raises(StoreUnavailable, match=r"within 0\.2 s"),
    ):
        store.layout()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_options_of_tls_are_for_urls_of_tls(scheme: str) -> None:
    said = re.escape(f"ssl_ca_certs is an option of TLS; write rediss:// for {scheme}://")
    with pytest.raises(ConfigError, match=said):
        open_store(f"{scheme}://h?ssl_ca_certs=/x")
    open_store("rediss://h?ssl_ca_certs=/x&ssl_cert_reqs=none").close()
    with pytest.raises(ConfigError, match="ssl_cert_reqs is one of none, optional") as caught:
        open_store("rediss://ann:12?ssl_cert_reqs=s3cret@h:1")
    assert "s3cret" not in str(caught.value)


def test_a_locked_file_is_waited_for_no_longer_than_told(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.db"
    store = open_store(f"sqlite:{path}", timeout_s=0.2)
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    entry = World().next_entry()

    def commit() -> None:
        with pytest.raises(
            StoreUnavailable, match=r"did not answer within 0.2 s .*locked"
        ) as caught:
            store.commit(entry, owner="a")
        assert str(path) in str(caught.value)

    assert 0.1 < shortest_s(commit) < 2.0
    assert store.versions() == {}
    writer.close()
    store.commit(World().next_entry(), owner="a")
    assert store.versions() == {0: 1}
    store.close()


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary, " * 200)
    before = path.read_bytes()
    store = open_store(f"sqlite:{path}")
    with pytest.raises(StoreError, match=r"notes.txt can't be used .*name a file"):
        store.ensure_layout(LAYOUT)
    store.close()
    assert path.read_bytes() == before


def test_a_file_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = open_store(f"sqlite:{path}")
    store.ensure_layout(LAYOUT)
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    other = open_store(f"sqlite:{path}")
    with pytest.raises(
        LayoutMismatch, match=f"has schema version 9, this streamer uses {STORE_SCHEMA_VERSION}"
    ):
        other.layout()
    other.close()


@pytest.mark.parametrize("version", [0, 7])
def test_nothing_is_written_to_a_database_of_somebody_else(tmp_path: Path, version: int) -> None:
    path = tmp_path / "orders.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    before = path.read_bytes()
    store = open_store(f"sqlite:{path}")
    with pytest.raises(StoreError, match="orders in it and was not made by streamer"):
        store.ensure_layout(LAYOUT)
    store.close()
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = open_store(f"sqlite:{tmp_path / 'file' / 'store.db'}")
    with pytest.raises(StoreError, match="can't be used"):
        store.layout()


def test_reading_makes_no_file_and_finds_one_that_is_made_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "store.db"
    reader, writer = (open_store(f"sqlite:{path}") for _ in range(2))
    assert reader.layout() is None
    assert reader.versions() == {}
    assert reader.load(0).version == 0
    assert list(reader.schedule(0)) == []
    assert not path.parent.exists()
    writer.ensure_layout(LAYOUT)
    writer.acquire(0, "a")
    writer.commit(World().next_entry(), owner="a")
    assert reader.versions() == {0: 1}
    reader.close()
    writer.close()


def test_a_path_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    store = open_store(f"sqlite:{tmp_path}", timeout_s=60.0)
    with pytest.raises(StoreError, match=r"can't be opened or written .*folder") as caught:
        store.layout()
    assert not isinstance(caught.value, StoreUnavailable)  # which is tried again


def test_a_file_that_was_deleted_or_replaced_in_use_takes_nothing_more(tmp_path: Path) -> None:
    path, world = tmp_path / "store.db", World()
    store, follower = (open_store(f"sqlite:{path}") for _ in range(2))
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    store.commit(world.next_entry(), owner="a")
    assert len(follower.follow({0: 0}, timeout_s=0)) == 1
    path.rename(tmp_path / "kept.db")
    gone = r"store.db was deleted or replaced while it was in use.*put back"
    with pytest.raises(StoreError, match=gone):
        store.commit(world.next_entry(), owner="a")
    with pytest.raises(StoreError, match=gone):
        follower.follow({0: 1}, timeout_s=0)
    path.write_bytes(b"")  # something else by that name
    with pytest.raises(StoreError, match=gone):
        store.versions()
    (tmp_path / "kept.db").rename(path)
    assert store.versions() == follower.versions() == {0: 1}
    store.close()
    follower.close()


@pytest.mark.parametrize("end", ["-wal", "-shm"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_log_that_was_deleted_or_replaced_in_use_is_not_written_to(
    tmp_path: Path, end: str, linked: bool
) -> None:
    path, world = tmp_path / "store.db", World()
    name = tmp_path / "link.db" if linked else path
    if linked:
        name.symlink_to(path)
    store, follower = (open_store(f"sqlite:{name}") for _ in range(2))
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    store.commit(world.next_entry(), owner="a")
    assert len(follower.follow({0: 0}, timeout_s=0)) == 1
    log = Path(f"{path}{end}")
    log.rename(tmp_path / "kept")
    gone = f"store.db{end}, which belongs to .*was deleted or replaced while it was in use"
    entry = world.next_entry()
    with pytest.raises(StoreError, match=gone):
        store.commit(entry, owner="a")
    with pytest.raises(StoreError, match=gone):
        follower.follow({0: 1}, timeout_s=0)
    log.write_bytes(b"")  # something else by that name
    with pytest.raises(StoreError, match=gone):
        store.commit(entry, owner="a")
    (tmp_path / "kept").rename(log)
    store.commit(entry, owner="a")
    assert store.versions() == follower.versions() == {0: 2}
    store.close()
    follower.close()


def test_what_was_committed_before_a_log_was_deleted_is_there_after_all_have_ended(
    tmp_path: Path,
) -> None:
    path, world = tmp_path / "store.db", World()
    with contextlib.closing(open_store(f"sqlite:{path}")) as store:
        store.ensure_layout(LAYOUT)
        store.acquire(0, "a")
        store.commit(world.next_entry(), owner="a")
        for end in ("-wal", "-shm"):
            Path(f"{path}{end}").unlink()
        with pytest.raises(StoreError, match="stop all that uses the file"):
            store.commit(world.next_entry(), owner="a")
    with contextlib.closing(open_store(f"sqlite:{path}")) as store:
        assert store.versions() == {0: 1}


def test_a_file_with_a_second_name_is_opened_by_neither(tmp_path: Path) -> None:
    path, other = tmp_path / "store.db", tmp_path / "other.db"
    store = open_store(f"sqlite:{path}")
    store.ensure_layout(LAYOUT)
    other.hardlink_to(path)
    assert store.layout() == LAYOUT, "a link made later harms only who opens it"
    for name in (path, other):
        refused = open_store(f"sqlite:{name}")
        with pytest.raises(StoreError, match="has a second name"):
            refused.layout()
        refused.close()
    store.close()


def test_a_damaged_file_is_not_called_one_of_another_program(tmp_path: Path) -> None:
    path, world = tmp_path / "store.db", World()
    store = open_store(f"sqlite:{path}")
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    for _ in range(20):
        store.commit(world.next_entry(), owner="a")
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    other = open_store(f"sqlite:{path}")
    with pytest.raises(StoreError, match=r"is damaged .*restore a copy of it, but delete its -wal"):
        other.load(0)
    other.close()


@contextlib.contextmanager
def no_file_above(n_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_refuses_a_commit_as_a_whole_and_the_next_goes_on(tmp_path: Path) -> None:
    world = World()
    with contextlib.closing(open_store(f"sqlite:{tmp_path / 'store.db'}", timeout_s=0.2)) as store:
        store.ensure_layout(LAYOUT)
        store.acquire(0, "a")
        entry = world.next_entry()
        store.commit(entry, owner="a")
        refused = ""
        with no_file_above(256_000):
            while not refused:
                entry = world.next_entry()
                try:
                    store.commit(entry, owner="a")
                except StoreUnavailable as error:
                    refused = str(error)
        assert "see that its disk has room" in refused
        assert store.load(0).version == entry.version - 1
        store.commit(entry, owner="a")
        assert store.load(0).version == entry.version
