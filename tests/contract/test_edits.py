"""A store that was edited by hand is refused in words that name the place, and can be rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import pytest

from streamer.errors import StoreError, StoreUnavailable
from streamer.protocols import Entry, Generation, ParameterStore
from streamer.store.layout import Progress, encode_progress, encode_schedule
from streamer.store.open import check_records
from streamer.store.rebuild import forget_all
from tests.contract.conftest import StoreUnderTest
from tests.contract.store_world import LAYOUT, World
from tests.contract.test_damage import Damage, store

__all__ = ["store"]

FIRST_KEY = "(SELECT min(key) FROM rows WHERE table_index = 1)"
SQLITE_EDITS = {
    # partitions
    "UPDATE partitions SET version = 'abc'": "the version of partition 0 of {address} is 'abc'",
    "UPDATE partitions SET version = -1": "the version of partition 0 of {address} is -1",
    "UPDATE partitions SET version = 9223372036854775807": "is 9223372036854775807, which is no",
    "UPDATE partitions SET version = 7.5": "the version of partition 0 of {address} is 7.5",
    "UPDATE partitions SET version = 7": "is at version 7, by its progress at 6",
    "UPDATE partitions SET progress = 'text'": "the progress of partition 0 of {address} is 'text'",
    "UPDATE partitions SET progress = x'ffffffff'": "the progress of partition 0 of {address}: a",
    "UPDATE partitions SET checkpoint = 7": "the checkpoint of partition 0 of {address} is 7",
    "UPDATE partitions SET id = 99": "has learned of partition 99, and there are 4",
    "INSERT INTO partitions SELECT 7, owner, version, progress, checkpoint FROM partitions": (
        "has learned of partition 7, and there are 4"
    ),
    # entries
    "UPDATE entries SET version = version + 1000000 WHERE version = 4": (
        "entry 1000004 of partition 0 of {address} is in truth entry 4 of partition 0"
    ),
    "UPDATE entries SET version = 'x' WHERE version = 4": "entry 'x' of partition 0 of {address}",
    "UPDATE entries SET partition = 'x' WHERE version = 4": (
        "table entries of {address} has records of partition 'x', and there are 4"
    ),
    "UPDATE entries SET partition = 5 WHERE version = 2": "has records of partition 5",
    "UPDATE entries SET entry = 'text' WHERE version = 4": (
        "entry 4 of partition 0 of {address} is 'text', and no bytes"
    ),
    "UPDATE entries SET entry = x'00' WHERE version = 4": (
        "entry 4 of partition 0 of {address}: an entry of 1 bytes can't be read"
    ),
    "UPDATE entries SET entry = (SELECT entry FROM entries WHERE version = 5) WHERE version = 4": (
        "entry 4 of partition 0 of {address} is in truth entry 5 of partition 0"
    ),
    # rows
    "INSERT INTO rows VALUES (99, 1, 99, x'00')": "has records of partition 99, and there are 4",
    "INSERT INTO rows VALUES (0, 99, 99, x'00')": "has records of table_index 99 in partition 0",
    "INSERT INTO rows VALUES ('a', 'b', 'c', 'd')": "has records of partition 'a'",
    "INSERT INTO rows VALUES (0, 'b', 1, x'00')": "has records of table_index 'b' in partition 0",
    f"UPDATE rows SET value = 'text' WHERE table_index = 1 AND key = {FIRST_KEY}": (
        "rows:user_factors: the row of key "
    ),
    f"UPDATE rows SET value = x'00' WHERE table_index = 1 AND key = {FIRST_KEY}": (
        "is 1 bytes long, where 20 bytes belong"
    ),
    f"UPDATE rows SET key = 'k' WHERE table_index = 1 AND key = {FIRST_KEY}": (
        "rows:user_factors has a key 'k', which is no integer"
    ),
    "UPDATE rows SET key = key + 0.5 - 0.25 WHERE table_index = 6 AND key = 0": (
        "rows:recent_items has a key 0.25, which is no integer"
    ),
    f"UPDATE rows SET key = key + 1 WHERE table_index = 1 AND key = {FIRST_KEY}": (
        "and names:user no such key"
    ),
    "UPDATE rows SET key = 1 << 40 WHERE table_index = 6": "indices, and one is 1099511627776",
    "UPDATE rows SET key = -1 WHERE table_index = 6": "indices, and one is 18446744073709551615",
    # names
    "INSERT INTO names VALUES (0, 'alien', 1, x'61')": "has records of entity 'alien' in partition",
    "INSERT INTO names VALUES (0, x'61', 1, x'61')": "has records of entity b'a' in partition 0",
    "INSERT INTO names VALUES (9, 'user', 1, x'61')": "has records of partition 9",
    "UPDATE names SET name = 'x' WHERE key = (SELECT min(key) FROM names)": "is 'x', no bytes",
    "UPDATE names SET name = x'61' WHERE key = (SELECT min(key) FROM names)": (
        "is b'a', whose key is "
    ),
    "UPDATE names SET key = key + 1 WHERE key = (SELECT max(key) FROM names)": "whose key is ",
    "UPDATE names SET key = 'k' WHERE key = (SELECT min(key) FROM names)": "has a key 'k', which",
}
"""Statement → what is said where the partition is loaded."""

SCHEDULE_EDITS = {
    "UPDATE schedules SET version = version + 500 WHERE version = 6": (
        "the schedule of entry 506 of partition 0 of {address} is in truth that of entry 6"
    ),
    "UPDATE schedules SET version = 'x' WHERE version = 4": "the schedule of entry 'x' of",
    "UPDATE schedules SET schedule = x'' WHERE version = 4": (
        "the schedule of entry 4 of partition 0 of {address}: a schedule of 0 bytes can't be read"
    ),
    "UPDATE schedules SET schedule = 'text' WHERE version = 4": "is 'text', and no bytes",
    "UPDATE schedules SET schedule = (SELECT schedule FROM schedules WHERE version = 5)"
    " WHERE version = 4": "the schedule of entry 4 of partition 0 of {address} is in truth that of",
}
"""Statement → what is said where the schedule is read."""

LAYOUT_EDITS = (
    ("'{}'", "the layout of {address}: a layout of 2 bytes can't be read"),
    ("'not json'", "the layout of {address}: a layout of 8 bytes can't be read"),
    ("''", "the layout of {address}: a layout of 0 bytes can't be read"),
    ("x'00'", "the layout of {address}: a layout of 1 bytes can't be read"),
    ("replace(layout, '4', '0')", "can't be read (it would "),
    ("replace(layout, '\"i8\"', '\"i9\"')", "can't be read (table user_meta would have"),
    ("replace(layout, '\"width\": 4', '\"width\": -4')", "can't be read (table user_meta would"),
)
TABLES = ("layout", "partitions", "entries", "schedules", "names", "rows")

REDIS_EDITS: dict[str, tuple[tuple[object, ...], str]] = {
    "version text": (("HSET", "{0}:meta", "version", "abc"), "field version of the key {key}:meta"),
    "version with a point": (("HSET", "{0}:meta", "version", "6.0"), "field version of the key"),
    "version with a dash": (("HSET", "{0}:meta", "version", "1_0"), "field version of the key"),
    "version huge": (("HSET", "{0}:meta", "version", 2**63 - 1), "entry 7 is missing"),
    "version below 0": (
        ("HSET", "{0}:meta", "version", -1),
        "is at version -1, but its checkpoint",
    ),
    "offset of a topic": (("HSET", "{0}:meta", "offset:events", b"\xff"), "field offset:events of"),
    "topic of an offset": (("HSET", "{0}:meta", b"offset:\xff", "x"), "field offset:\\xff of"),
    "checkpoint": (("HSET", "{0}:meta", "checkpoint", "text"), "field checkpoint of the key {key}"),
    "checkpoint_version": (
        ("HSET", "{0}:meta", "checkpoint_version", 1),
        "has a checkpoint at version 2, and 1 in its field checkpoint_version",
    ),
    "an entry's fields": (
        ("XADD", "{0}:log", "7-0", "x", "y"),
        "entry 7 of partition 0 of {key}:lo",
    ),
    "an entry's bytes": (
        ("XADD", "{0}:log", "7-0", "e", "y"),
        "entry 7 of partition 0 of {key}:log",
    ),
    "a row's length": (
        ("HSET", "{0}:rows:recent_items", bytes(8), "x"),
        "{key}:rows:recent_items in",
    ),
    "a row's key": (("HSET", "{0}:rows:recent_items", "key", "x"), "{key}:rows:recent_items in"),
    "a row's index": (
        ("HSET", "{0}:rows:recent_items", b"\xff" * 8, bytes(72)),
        "indices, and one is 18446744073709551615",
    ),
    "a name's key": (
        ("HSET", "{0}:names:user", bytes(8), "ann"),
        "the name of key 0 (0x0000000000000000)",
    ),
    "a name's length": (
        ("HSET", "{0}:names:user", "key", "ann"),
        "has a field b'key', which is no",
    ),
    "layout": (("SET", "layout", "not json"), "the key {prefix}:layout in Redis at "),
}
"""Command → what is said where the partition is loaded."""
REDIS_KEYS = (
    "{0}:meta",
    "{0}:log",
    "{0}:schedule",
    "{0}:rows:user_meta",
    "{0}:names:user",
    "layout",
)


def kind(name: str) -> pytest.MarkDecorator:
    marks = [pytest.mark.integration] if name == "redis" else []
    return pytest.mark.parametrize("stored", [pytest.param(name, marks=marks)], indirect=True)


@pytest.fixture
def stored(request: pytest.FixtureRequest, store_url: object) -> Iterator[StoreUnderTest]:
    """An empty store of the kind that a test asks for."""
    under_test = StoreUnderTest(request.param, store_url(request.param))  # type: ignore[operator]
    yield under_test
    under_test.close()


def refused(ask: Callable[[], object], *said: str) -> None:
    """Whether something is refused for good, in these words."""
    with pytest.raises(StoreError) as caught:
        ask()
    assert not isinstance(caught.value, StoreUnavailable)
    for words in said:
        assert words in str(caught.value)


def seventh() -> Entry:
    """The entry that comes next."""
    world = World()
    *_, last = [world.next_entry() for _ in range(7)]
    return last


def rebuilt(store: ParameterStore) -> None:
    """Whether a store is in order once all of it is forgotten."""
    forget_all(store, LAYOUT, owner="rebuild")
    for partition in range(LAYOUT.n_partitions):
        assert not store.load(partition).offsets
        assert list(store.schedule(partition)) == []
    check_records(store)
    store.acquire(0, "b")
    assert isinstance(store.versions()[0], int)


@kind("sqlite")
@pytest.mark.parametrize(("edit", "said"), SQLITE_EDITS.items())
def test_what_a_file_has_is_checked_where_it_is_loaded(
    store: ParameterStore, stored: StoreUnderTest, edit: str, said: str
) -> None:
    Damage(stored).sql(edit)
    address = stored.url
    refused(
        lambda: store.load(0), said.format(address=address), address, "`streamer store rebuild`"
    )
    rebuilt(store)


@kind("sqlite")
@pytest.mark.parametrize(("edit", "said"), SCHEDULE_EDITS.items())
def test_a_schedule_of_a_file_is_checked_where_it_is_read(
    store: ParameterStore, stored: StoreUnderTest, edit: str, said: str
) -> None:
    Damage(stored).sql(edit)
    words = said.format(address=stored.url)
    refused(lambda: list(store.schedule(0)), words, stored.url, "`streamer store rebuild`")
    rebuilt(store)


@kind("sqlite")
def test_a_version_and_records_that_are_ahead_take_no_commit(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    damage = Damage(stored)
    damage.sql("UPDATE schedules SET version = version + 500 WHERE version = 6")
    refused(lambda: store.commit(seventh(), owner="a"), "is at version 6, but its log holds later")
    damage.sql("UPDATE partitions SET version = 'abc'")
    for ask in (
        lambda: store.commit(seventh(), owner="a"),
        lambda: store.follow({0: 6}, timeout_s=0),
    ):
        refused(ask, f"the version of partition 0 of {stored.url} is 'abc'")
    assert store.versions() == {0: 0}


@kind("sqlite")
def test_an_entry_that_is_followed_is_checked(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    for edit, said in (
        ("entry = (SELECT entry FROM entries WHERE version = 6)", "is in truth entry 6 of"),
        ("entry = 'text'", "entry 5 of partition 0 of"),
        ("version = 5.5", "is 5.5, which is no number"),
    ):
        Damage(stored).sql(f"UPDATE entries SET {edit} WHERE version = 5")
        refused(lambda: store.follow({0: 4}, timeout_s=0), said, "`streamer store rebuild`")


@kind("sqlite")
@pytest.mark.parametrize(("layout", "said"), LAYOUT_EDITS)
def test_a_layout_that_cannot_be_is_said_to_be_damaged(
    store: ParameterStore, stored: StoreUnderTest, layout: str, said: str
) -> None:
    Damage(stored).sql(f"UPDATE layout SET layout = {layout}")
    refused(store.layout, said.format(address=stored.url), "the store is damaged: restore it, or")


@kind("sqlite")
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("edit", ["DROP TABLE {}", "ALTER TABLE {} ADD COLUMN extra TEXT"])
def test_a_table_that_is_missing_or_another_is_named(
    store: ParameterStore, stored: StoreUnderTest, table: str, edit: str
) -> None:
    Damage(stored).sql(edit.format(table))
    what = "lacks its table" if "DROP" in edit else "has other columns in its table"
    refused(stored.open().versions, f"{what} {table}", "restore a copy of it, but delete its -wal")
    if "DROP" in edit and table in {"entries", "schedules"}:  # under one that has it open
        refused(lambda: store.commit(seventh(), owner="a"), f"no such table: {table}", "damaged")


@kind("redis")
@pytest.mark.parametrize("name", REDIS_EDITS)
def test_what_a_server_has_is_checked_where_it_is_loaded(
    store: ParameterStore, stored: StoreUnderTest, name: str
) -> None:
    edit, said = REDIS_EDITS[name]
    damage = Damage(stored)
    damage.redis(*edit)  # type: ignore[arg-type]
    words = said.replace("{key}", f"{stored.key_prefix}:{{0}}")
    refused(lambda: store.load(0), words.replace("{prefix}", stored.key_prefix))
    if name != "layout":
        refused(lambda: store.load(0), "`streamer store rebuild`")
        rebuilt(store)


@kind("redis")
def test_a_schedule_of_a_server_is_checked_where_it_is_read(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    fourth = encode_schedule(list(store.schedule(0))[3])
    for fields in (("x", "y"), ("s", "text"), ("s", fourth)):
        Damage(stored).redis("XDEL", "{0}:schedule", "7-0")
        Damage(stored).redis("DEL", "{0}:schedule")
        Damage(stored).redis("XADD", "{0}:schedule", "7-0", *fields)
        said = f"the schedule of entry 7 of partition 0 of {stored.key_prefix}:{{0}}:schedule in"
        refused(lambda: list(store.schedule(0)), said, "`streamer store rebuild`")
    rebuilt(store)


@kind("redis")
@pytest.mark.parametrize("key", REDIS_KEYS)
def test_a_key_of_another_type_is_no_silent_server(
    store: ParameterStore, stored: StoreUnderTest, key: str
) -> None:
    damage = Damage(stored)
    damage.redis("DEL", key)
    damage.redis("SADD", key, "member")

    def ask() -> None:
        store.layout()
        store.load(0)
        list(store.schedule(0))
        store.commit(seventh(), owner="a")

    refused(ask, "has a key of another type", f"{stored.key_prefix}:{key}", "delete that key")
    damage.redis("DEL", key)
    rebuilt(store)


@pytest.mark.parametrize(
    "stored", ["sqlite", pytest.param("redis", marks=pytest.mark.integration)], indirect=True
)
def test_entries_before_the_checkpoint_are_checked_by_who_verifies(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    check_records(store)
    damage = Damage(stored)
    if damage.in_redis:
        damage.redis("XDEL", "{0}:log", "1-0")
        damage.redis("XDEL", "{0}:log", "3-0")
    else:
        damage.sql("UPDATE entries SET entry = 7 WHERE version = 1")
        refused(lambda: check_records(store), f"entry 1 of partition 0 of {stored.url} is 7, and")
        damage.sql("DELETE FROM entries WHERE version IN (1, 3)")
    refused(lambda: check_records(store), "entry 3 is missing from the log, which goes on with")
    damage.drop("entries", version=6)
    for version in (2, 4, 5):
        damage.drop("entries", version=version)
    if not damage.in_redis:
        damage.sql("INSERT INTO entries SELECT 0, -1, x'00'")
        refused(lambda: check_records(store), "entry -1 of partition 0 of")
    rebuilt(store)


@pytest.mark.parametrize(
    "stored", ["sqlite", pytest.param("redis", marks=pytest.mark.integration)], indirect=True
)
def test_a_schedule_that_is_not_that_of_its_entry_is_found_by_who_verifies(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    sixth = encode_schedule(replace(list(store.schedule(0))[5], rate_factor=0.5))
    damage = Damage(stored)
    if damage.in_redis:
        damage.redis("DEL", "{0}:schedule")
        damage.redis("XADD", "{0}:schedule", "6-0", "s", sixth)
    else:
        damage.sql(f"UPDATE schedules SET schedule = x'{sixth.hex()}' WHERE version = 6")
    refused(lambda: check_records(store), "the schedule of entry 6 is not that in the log")


@pytest.mark.parametrize(
    "stored", ["sqlite", pytest.param("redis", marks=pytest.mark.integration)], indirect=True
)
def test_a_checkpoint_of_other_settings_is_found(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    damage, generations = Damage(stored), (Generation(), Generation())
    assert store.replace_layout(replace(LAYOUT, generations=generations), expected=LAYOUT)
    whole = Progress.of(store.load(0).checkpoint)
    for generation, ask, said in (
        (
            7,
            lambda: store.load(0),
            "is of generation 7 of the settings, and the layout ends with 1",
        ),
        (1, lambda: check_records(store), "of generation 0 of the settings, the checkpoint at"),
    ):
        other = encode_progress(msgspec.structs.replace(whole, generation=generation))
        if damage.in_redis:
            damage.redis("DEL", "{0}:log")
            damage.redis("HSET", "{0}:meta", "version", 2, "checkpoint", other)
        else:
            damage.sql("DELETE FROM entries")
            at = encode_progress(msgspec.structs.replace(whole, generation=generation, sizes={}))
            damage.sql(
                f"UPDATE partitions SET version = 2, progress = x'{at.hex()}',"
                f" checkpoint = x'{other.hex()}'"
            )
        if damage.in_redis:
            damage.redis("HSET", "{0}:meta", "watermark_ms", whole.watermark_ms)
            for topic, offset in whole.offsets.items():
                damage.redis("HSET", "{0}:meta", f"offset:{topic}", offset)
        refused(ask, said, "`streamer store rebuild`")
    if not damage.in_redis:
        damage.sql(f"UPDATE partitions SET checkpoint = x'{encode_progress(whole).hex()}'")
        refused(lambda: store.load(0), "is of generation 0 of the settings, its progress of 1")


@kind("redis")
def test_keys_of_no_table_or_partition_are_named(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    check_records(store)
    damage = Damage(stored)
    for key in ("{0}:rows:strange", "{0}:names:alien", "{99}:log", "{x}:meta", "{0}:other"):
        damage.redis("HSET", key, "a", "b")
        said = f"the key {stored.key_prefix}:{key} in Redis at"
        refused(lambda: check_records(store), said, "`streamer store rebuild`")
        damage.redis("DEL", key)
    damage.redis("HSET", "{99}:meta", "offset:events", "7")
    refused(lambda: check_records(store), f"the key {stored.key_prefix}:{{99}}:meta in Redis at")


@kind("redis")
def test_an_owner_that_is_no_text_holds_the_partition(
    store: ParameterStore, stored: StoreUnderTest
) -> None:
    Damage(stored).redis("HSET", "{0}:meta", "owner", b"\xff")
    refused(
        lambda: store.commit(seventh(), owner="a"), "partition 0 is held by '\\\\xff', not by 'a'"
    )
