"""A store that something else has changed is refused by every reader, in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import redis

from streamer.errors import LogTrimmed, StoreError
from streamer.protocols import ParameterStore
from streamer.store.agreement import agree
from streamer.store.layout import encode_entry, encode_progress
from streamer.store.sqlite_tables import read_partition
from tests.contract.conftest import StoreUnderTest
from tests.contract.store_world import LAYOUT, World

KINDS = (
    "sqlite",
    pytest.param("redis", marks=pytest.mark.integration),
)


class Damage:
    """Changes a store behind the back of its readers."""

    def __init__(self, stored: StoreUnderTest) -> None:
        self._stored = stored

    @property
    def in_redis(self) -> bool:
        return self._stored.kind == "redis"

    def drop(self, table: str, *, version: int) -> None:
        """Delete one record of ``entries`` or ``schedules``."""
        if self.in_redis:
            name = {"entries": "log", "schedules": "schedule"}[table]
            self.redis("XDEL", f"{{0}}:{name}", f"{version}-0")
        else:
            self.sql(f"DELETE FROM {table} WHERE partition = 0 AND version = {version}")

    def drop_rows(self, table: str, *, n: int | None = None) -> None:
        """Delete some of a table's rows, or all of them; ``names:…`` are tables of names."""
        is_names = table.startswith("names:")
        if self.in_redis:
            key = f"{{0}}:{table}" if is_names else f"{{0}}:rows:{table}"
            fields = self.redis("HKEYS", key)
            self.redis("DEL", key) if n is None else self.redis("HDEL", key, *fields[:n])
            return
        if is_names:
            place, of = "names", f"entity = '{table.removeprefix('names:')}'"
        else:
            index = [spec.name for spec in LAYOUT.tables].index(table)
            place, of = "rows", f"table_index = {index}"
        chosen = f"SELECT key FROM {place} WHERE {of} LIMIT {-1 if n is None else n}"
        self.sql(f"DELETE FROM {place} WHERE partition = 0 AND {of} AND key IN ({chosen})")

    def drop_settings(self) -> None:
        """Delete the layout."""
        if self.in_redis:
            self.redis("DEL", "layout")
        else:
            self.sql("DELETE FROM layout")

    def set_progress(self, **changes: int) -> None:
        """Change version, watermark_ms or the offset of the events topic."""
        if self.in_redis:
            for name, value in changes.items():
                field = "offset:events" if name == "events" else name
                self.redis("HSET", "{0}:meta", field, value)
            return
        with closing(sqlite3.connect(self._path)) as connection, connection:
            _, progress, _ = read_partition(connection.cursor(), 0, address="")
            offsets = progress.offsets | {k: v for k, v in changes.items() if k == "events"}
            progress = type(progress)(
                changes.get("version", progress.version),
                offsets,
                changes.get("watermark_ms", progress.watermark_ms),
            )
            connection.execute(
                "UPDATE partitions SET version = ?, progress = ? WHERE id = 0",
                [progress.version, encode_progress(progress)],
            )

    def sql(self, statement: str) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(statement)

    def redis(self, command: str, key: str, *arguments: object) -> Any:
        client: Any = redis.Redis.from_url(self._stored.url)
        with closing(client):
            return client.execute_command(command, f"{self._stored.key_prefix}:{key}", *arguments)

    @property
    def _path(self) -> str:
        return self._stored.url.removeprefix("sqlite:")


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest, store_url: object) -> Iterator[StoreUnderTest]:
    """An empty store of each kind that something else can change."""
    under_test = StoreUnderTest(request.param, store_url(request.param))  # type: ignore[operator]
    yield under_test
    under_test.close()


@pytest.fixture
def store(stored: StoreUnderTest) -> ParameterStore:
    """Checkpoint at version 2, entries up to 6."""
    store = stored.open(log_entries_kept=100)
    store.ensure_layout(LAYOUT)
    store.acquire(0, "a")
    world = World()
    for version in range(1, 7):
        store.commit(world.next_entry(), owner="a")
        if version == 2:
            store.checkpoint(world.checkpoint(), owner="a")
    return store


def refused(store: ParameterStore, *said: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.load(0)
    for words in (*said, "partition 0", "learn again from the topics"):
        assert words in str(caught.value)


@pytest.mark.parametrize("may_change", [True, False])
def test_commits_without_their_settings_take_no_others(
    store: ParameterStore, stored: StoreUnderTest, may_change: bool
) -> None:
    assert agree(store, LAYOUT, may_change=may_change) == LAYOUT
    Damage(stored).drop_settings()
    with pytest.raises(StoreError, match=r"commits of partitions \[0\], but not the settings"):
        agree(store, LAYOUT, may_change=may_change)
    assert store.layout() is None


@pytest.mark.parametrize("missing", [3, 4])
def test_an_entry_missing_after_the_checkpoint_is_refused(
    store: ParameterStore, stored: StoreUnderTest, missing: int
) -> None:
    Damage(stored).drop("entries", version=missing)
    refused(store, f"entry {missing} is missing from the log, which goes on with entry")
    with pytest.raises(LogTrimmed, match=r"partition 0.* it is loaded again"):
        store.follow({0: 2}, timeout_s=0)


def test_a_log_that_ends_too_early_is_refused(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    Damage(stored).drop("entries", version=6)
    refused(store, "is at version 6", "its log ends with entry 5: entry 6 is missing")


def test_an_entry_before_the_checkpoint_is_not_needed_to_load(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    Damage(stored).drop("entries", version=2)
    assert store.load(0).version == 6
    with pytest.raises(LogTrimmed, match="the log starts at 3"):
        store.follow({0: 1}, timeout_s=0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 5}, "is at version 5, but its checkpoint is at 2 and its log ends with"),
        ({"version": 1}, "is at version 1, but its checkpoint is at 2 and its log ends with"),
        ({"events": 3}, "its position at version 6 is {"),
        ({"watermark_ms": 3}, "its watermark at version 6 is 3, by its checkpoint and its log"),
    ],
)
def test_a_position_that_the_log_contradicts_is_refused(
    store: ParameterStore, stored: StoreUnderTest, changes: dict[str, int], said: str
) -> None:
    Damage(stored).set_progress(**changes)
    refused(store, said)


@pytest.mark.parametrize("stored", KINDS[1:], indirect=True)
@pytest.mark.parametrize("field", ["version", "offset:events", "watermark_ms", "n_checkpoints"])
def test_a_field_that_is_no_number_is_named_and_can_be_forgotten(
    store: ParameterStore, stored: StoreUnderTest, field: str
) -> None:
    Damage(stored).redis("HSET", "{0}:meta", field, "6 or so")
    key = f"{stored.key_prefix}:{{0}}:meta"
    refused_as = f"field {field} of the key {key} in Redis at "
    with pytest.raises(StoreError) as caught:
        store.load(0)
    for words in (refused_as, "is b'6 or so', which is no number", "`streamer store rebuild`"):
        assert words in str(caught.value)
    assert store.versions().keys() == {0}
    store.forget(0, owner="a")
    assert store.load(0).version == 7
    assert store.versions() == {0: 7}


@pytest.mark.parametrize("stored", KINDS[1:], indirect=True)
def test_a_version_that_is_no_number_takes_no_commit_and_is_not_followed(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    Damage(stored).redis("HSET", "{0}:meta", "version", "six")
    world = World()
    with pytest.raises(StoreError, match="field version of the key"):
        store.follow({0: 6}, timeout_s=0)
    *_, seventh = [world.next_entry() for _ in range(7)]
    with pytest.raises(StoreError, match="field version of the key"):
        store.commit(seventh, owner="a")


@pytest.mark.parametrize("stored", KINDS[1:], indirect=True)
def test_an_id_that_is_none_is_named_and_can_be_forgotten(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    Damage(stored).redis("HSET", "{0}:meta", "commit_id", "6 or so")
    with pytest.raises(StoreError, match=r"field commit_id of .*'6 or so', which is no version a"):
        store.load(0)
    store.forget(0, owner="a")
    assert store.load(0).version == 7


@pytest.mark.parametrize("stored", KINDS[:1], indirect=True)
def test_an_entry_of_other_commits_is_refused(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    other = World(seed=1)
    *_, entry = [other.next_entry() for _ in range(4)]
    Damage(stored).sql(
        f"UPDATE entries SET entry = x'{encode_entry(entry).hex()}' WHERE version = 4"
    )
    refused(store, "entry 4 of", "was committed after another entry 3 than its log has")


@pytest.mark.parametrize("table", ["user_meta", "recent_items", "names:item"])
@pytest.mark.parametrize("n", [None, 1])
def test_rows_that_are_missing_are_noticed_and_named(
    store: ParameterStore, stored: StoreUnderTest, table: str, n: int | None
) -> None:
    key = table if table.startswith("names:") else f"rows:{table}"
    there = len(store.load(0).checkpoint.tables.get(table, ())) or "some"
    Damage(stored).drop_rows(table, n=n)
    left = "has 0 of" if n is None or there == 1 else f"{key} has "
    refused(store, key, left, "entries that its checkpoint at version 2 left", "store rebuild")


def test_a_checkpoint_from_before_sizes_were_kept_is_loaded(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    checkpoint = store.load(0).checkpoint
    store.checkpoint(replace(checkpoint, sizes={}), owner="a")
    Damage(stored).drop_rows("user_meta")
    assert store.load(0).version == 6


def test_what_is_whole_is_loaded(store: ParameterStore) -> None:
    image = store.load(0)
    assert (image.checkpoint.version, image.version) == (2, 6)
