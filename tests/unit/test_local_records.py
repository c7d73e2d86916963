"""Records on disk are what the changelog says, whatever is cut off and whoever writes between."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamer.application.services.features import run_features
from streamer.config import Config, load_config
from streamer.errors import ConfigError, StoreError
from streamer.faust_worker.changes import ChangelogMessage
from streamer.faust_worker.settings import features_settings
from streamer.faust_worker.worker_folder import worker_folder
from streamer.simulation.broker import ManualClock

pytest.importorskip("rocksdict", reason="pip install '.[features,rocksdb]'")
from streamer.faust_worker.local_records import COPY_AGE_MAX_MS, LocalRecords

START_MS = 1_700_000_000_000


def key(name: str, partition: int = 0) -> bytes:
    return msgspec.msgpack.encode([partition, "series", name, 7])


def change(offset: int, name: str, value: bytes | None, partition: int = 0) -> ChangelogMessage:
    return ChangelogMessage(partition, offset, START_MS, key(name, partition), value)


def opened(folder: Path, *partitions: int, now_ms: int = START_MS) -> LocalRecords:
    records = LocalRecords(folder, clock=ManualClock(now_ms))
    records.hold(partitions or (0,))
    return records


def contents(records: LocalRecords) -> dict[bytes, bytes | None]:
    return {each: records.get(each) for each in records}


def compacted(changelog: Sequence[ChangelogMessage]) -> dict[bytes, bytes]:
    last = {each.key: each.value for each in changelog}
    return {name: value for name, value in last.items() if value is not None}


def test_a_change_is_seen_at_once_and_kept_once_the_broker_has_it(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.put(key("a"), b"1")
    records.put(key("b"), b"2")
    assert contents(records) == {key("a"): b"1", key("b"): b"2"}
    records.settle([change(0, "a", b"1")])
    records.close()
    again = opened(tmp_path)
    assert contents(again) == {key("a"): b"1"}
    assert again.offset(0) == 0


def test_a_deletion_is_seen_at_once_and_kept_once_the_broker_has_it(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.replay([change(0, "a", b"1"), change(1, "b", b"2")])
    records.put(key("a"), None)
    assert contents(records) == {key("b"): b"2"}
    records.settle([change(2, "a", None)])
    records.close()
    assert contents(opened(tmp_path)) == {key("b"): b"2"}


def test_only_partitions_that_are_held_are_read(tmp_path: Path) -> None:
    records = opened(tmp_path, 0, 1)
    records.replay([change(0, "a", b"0", 0), change(0, "a", b"1", 1)])
    records.put(key("b", 1), b"never acknowledged")
    records.hold([0])
    assert contents(records) == {key("a", 0): b"0"}
    assert (records.offset(0), records.offset(1)) == (0, None)
    assert records.get(key("b", 1)) is None
    records.settle([change(1, "b", b"never acknowledged", 1)])  # too late: another's by now
    records.hold([0, 1])
    assert contents(records) == {key("a", 0): b"0", key("a", 1): b"1"}
    assert records.offset(1) == 0


def test_what_somebody_else_wrote_between_is_read_next_time(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.settle([change(0, "a", b"1"), change(2, "b", b"2")])  # 1 is not ours
    assert contents(records) == {key("a"): b"1", key("b"): b"2"}
    assert records.offset(0) == 0
    records.settle([change(3, "c", b"3")])
    assert records.offset(0) == 0
    records.replay([change(1, "a", b"foreign"), change(2, "b", b"2"), change(3, "c", b"3")])
    assert contents(records) == {key("a"): b"foreign", key("b"): b"2", key("c"): b"3"}
    assert records.offset(0) == 3


def test_what_was_read_before_and_comes_again_changes_nothing(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.replay([change(0, "a", b"1"), change(1, "a", b"2")])
    records.replay([change(0, "a", b"1")])
    assert contents(records) == {key("a"): b"2"}
    assert records.offset(0) == 1


def test_whatever_is_cut_off_the_rest_of_the_changelog_makes_it_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    folders = [tmp_path / "one", tmp_path / "two"]
    changelog: list[ChangelogMessage] = []
    n_restored = 0
    for turn in range(60):
        records = opened(folders[rng.integers(2)])
        start = records.offset(0)
        n_restored += start is not None
        rest = changelog[0 if start is None else start + 1 :]
        n_read = len(rest)
        if rng.random() < 0.3:  # killed while it restores
            n_read = int(rng.integers(len(rest) + 1))
        for at in range(0, n_read, 5):
            records.replay(rest[at : min(at + 5, n_read)])
        if n_read == len(rest):
            assert contents(records) == compacted(changelog), turn
            for _ in range(rng.integers(4)):
                _work(records, changelog, rng)
        records.close()
    assert len(changelog) > 100
    assert n_restored > 40


def _work(
    records: LocalRecords, changelog: list[ChangelogMessage], rng: np.random.Generator
) -> None:
    """Some changes, of which a first part reaches the broker, and is known to have, or is not."""
    if rng.random() < 0.1:  # a stopped worker that has gone on
        changelog.append(change(len(changelog), f"k{rng.integers(9)}", b"foreign"))
    sent: list[ChangelogMessage] = []
    for _ in range(rng.integers(1, 8)):
        value = None if rng.random() < 0.3 else rng.bytes(4)
        sent.append(change(len(changelog) + len(sent), f"k{rng.integers(9)}", value))
        records.put(sent[-1].key, value)
    if rng.random() < 0.2:
        changelog.extend(sent[: rng.integers(len(sent) + 1)])
        records.hold(())  # killed
        records.hold((0,))
        for each in changelog[(records.offset(0) or 0) :]:
            records.replay([each])
    else:
        changelog.extend(sent)
        records.settle(reversed(sent))


def test_a_copy_older_than_a_topic_remembers_deletions_is_thrown_away(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.replay([change(0, "a", b"1")])
    records.close()
    young = opened(tmp_path, now_ms=START_MS + COPY_AGE_MAX_MS)
    assert young.offset(0) == 0
    young.close()
    old = opened(tmp_path, now_ms=START_MS + COPY_AGE_MAX_MS + 1)
    assert old.offset(0) is None
    assert contents(old) == {}


def test_a_copy_that_can_not_be_read_is_thrown_away(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.replay([change(0, "a", b"1")])
    records.close()
    (tmp_path / "partition-0" / "CURRENT").write_text("nonsense\n")
    again = opened(tmp_path)
    assert again.offset(0) is None
    assert contents(again) == {}


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    opened_once = opened(tmp_path)
    with pytest.raises(StoreError, match=r"windows\.store_folder"):
        opened(tmp_path)
    opened_once.close()


def test_workers_of_a_machine_have_folders_of_their_own_and_find_them_again(tmp_path: Path) -> None:
    with worker_folder(tmp_path) as one, worker_folder(tmp_path) as two:
        assert {one.name, two.name} == {"worker-0", "worker-1"}
    with worker_folder(tmp_path) as again:
        assert again == one


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match=r"windows\.store_folder"),
        worker_folder(tmp_path / "file"),
    ):
        pass


def _on_disk(**more: str) -> Config:
    return load_config(
        None,
        env={},
        flags={
            "kafka.bootstrap_servers": "127.0.0.1:1",
            "windows.store": "rocksdb",
            **more,
        },
    )


def test_rocksdb_without_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"set windows\.store_folder"):
        features_settings(_on_disk())


def test_rocksdb_without_its_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    monkeypatch.delitem(sys.modules, "streamer.faust_worker.local_records")
    with pytest.raises(ConfigError, match=r"pip install '\.\[features,rocksdb\]'"):
        run_features(_on_disk(**{"windows.store_folder": str(tmp_path)}))
