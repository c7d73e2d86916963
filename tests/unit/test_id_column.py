"""Columns of ids: their cuts, texts, hashes and keys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer_models.state.columns import Columns
from streamer_models.state.ids.id_bytes import read_only, same_bytes
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.ids.name_map import NameMap, distinct

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def with_few_hashes(ids: list[str], n_hashes: int) -> IdColumn:
    """Ids of which many have one hash: bytes alone tell them apart."""
    column = IdColumn.of(ids)
    return replace(column, hashes=column.hashes % np.uint64(n_hashes))


@given(st.lists(texts, min_size=1), st.data())
def test_a_column_is_a_sequence_of_its_texts(ids: list[str], data: st.DataObject) -> None:
    column = IdColumn.of(ids)
    assert list(column) == column.strings() == ids
    assert [column[i] for i in range(len(ids))] == ids
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(ids))] * 2)))
    assert column.slice(start, end).strings() == ids[start:end]
    index = np.array(data.draw(st.lists(st.integers(0, len(ids) - 1))), dtype=np.int64)
    taken = column.take(index)
    assert taken.strings() == [ids[i] for i in index]
    assert taken.hashes.tolist() == IdColumn.of(taken.strings()).hashes.tolist()


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_keys_are_blake2b(names: list[bytes]) -> None:
    expected = [hashlib.blake2b(name, digest_size=8).digest() for name in names]
    keys = IdColumn.of_bytes(names).keys()
    assert keys.tolist() == [int.from_bytes(each, "little") for each in expected]


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 255, 256, 257, 4_096])
def test_keys_of_whole_blocks(n: int) -> None:
    name = bytes(i % 251 for i in range(n))
    expected = hashlib.blake2b(name, digest_size=8).digest()
    assert IdColumn.of_bytes([b"before", name]).keys()[1] == int.from_bytes(expected, "little")


@given(st.binary(min_size=1, max_size=40), st.integers(0, 39), st.integers(1, 255))
def test_bytes_are_the_same_or_differ_in_one(name: bytes, at: int, change: int) -> None:
    other = bytearray(name)
    other[at % len(name)] ^= change
    data = read_only(b"-" + name + b"--" + name + bytes(other))
    n = len(name)
    assert same_bytes(data, 1, data, n + 3, n)
    assert not same_bytes(data, 1, data, 2 * n + 3, n)


@given(st.lists(texts, max_size=40), st.integers(1, 3))
def test_different_ids_are_found_in_order(ids: list[str], n_hashes: int) -> None:
    first, which = distinct(with_few_hashes(ids, n_hashes))
    assert [ids[i] for i in first] == list(dict.fromkeys(ids))
    assert [ids[first[each]] for each in which] == ids


@settings(deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=30, unique=True),
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 29))), max_size=12),
    st.integers(1, 5),
)
def test_a_name_map_is_a_dictionary_in_bounded_memory(
    ids: list[str], steps: list[tuple[bool, set[int]]], n_hashes: int
) -> None:
    column, names, slot_of = with_few_hashes(ids, n_hashes), NameMap(), dict[str, int]()
    names.reserve(len(ids))
    for adds, chosen in steps:
        at = np.array(
            [i for i in sorted(chosen) if i < len(ids) and adds == (ids[i] not in slot_of)],
            dtype=np.int32,
        )
        if adds:
            names.insert(column.take(at), at)
            slot_of |= {ids[i]: i for i in at.tolist()}
        elif len(at):
            names.remove(at)
            for i in at.tolist():
                del slot_of[ids[i]]
        assert names.find(column).tolist() == [slot_of.get(each, -1) for each in ids]
        assert np.flatnonzero(names.live).tolist() == sorted(slot_of.values())
        assert len(names) == len(slot_of)
        for name, slot in slot_of.items():
            assert names.name(slot) == name.encode()


def test_names_that_went_take_no_memory() -> None:
    names, n = NameMap(), 100
    names.reserve(n)
    slots = np.arange(n, dtype=np.int32)
    for round_ in range(100):
        names.insert(IdColumn.of([f"{round_:06}-{i:06}" * 8 for i in range(n)]), slots)
        names.remove(slots[: n // 2] if round_ == 0 else slots)
        if round_ == 0:
            names.remove(slots[n // 2 :])
        assert len(names._arena) <= 4 * n * 13 * 8


@dataclass(frozen=True, slots=True)
class Rows(Columns):
    """One of each kind of column."""

    numbers: NDArray[np.int64]
    ids: IdColumn
    texts: list[str]
    by_name: dict[str, IdColumn]
    rate: float = 1.0
    weights: NDArray[np.int64] | None = None


def test_all_columns_are_cut_alike() -> None:
    ids = IdColumn.of(["a", "b", "c", "d"])
    rows = Rows(np.arange(4), ids, list("wxyz"), {"user": ids}, 0.5)
    for cut, at in ((rows.slice(1, 3), [1, 2]), (rows.take(np.array([3, 0])), [3, 0])):
        assert cut.numbers.tolist() == at
        assert cut.ids.strings() == cut.by_name["user"].strings() == ["abcd"[i] for i in at]
        assert cut.texts == ["wxyz"[i] for i in at]
        assert (len(cut), cut.rate) == (2, 0.5)
    before, after = rows.split(1)
    assert (before.texts, after.texts) == (["w"], ["x", "y", "z"])


def test_parts_are_one_after_the_other_and_keep_no_messages() -> None:
    message = read_only(b"ann, and bob, in a message of megabytes")
    spans = np.array([0, 9]), np.array([3, 12])
    users = IdColumn(message, *spans, IdColumn.of(["ann", "bob"]).hashes)
    none, cem = IdColumn.of([]), IdColumn.of(["cem"])
    parts = [
        Rows(np.arange(2), users, ["x", "y"], {"user": users}, 0.5, np.arange(2)),
        Rows(np.arange(0), none, [], {"user": none}, 0.5, np.arange(0)),
        Rows(np.arange(1), cem, ["z"], {"user": cem}, 0.5, np.arange(1)),
    ]
    rows = Rows.concat(parts)
    assert rows.ids.strings() == ["ann", "bob", "cem"]
    assert rows.ids.hashes.tolist() == IdColumn.of(rows.ids.strings()).hashes.tolist()
    assert rows.ids.data.tobytes() == b"annbobcem"
    assert rows.by_name["user"].strings() == ["ann", "bob", "cem"]
    assert (rows.texts, rows.rate) == (["x", "y", "z"], 0.5)
    assert rows.numbers.tolist() == [0, 1, 0]
    assert rows.weights is not None
    assert rows.weights.tolist() == [0, 1, 0]
    assert Rows.concat([replace(each, weights=None) for each in parts]).weights is None


def test_columns_that_are_there_in_some_instances_alone_are_cut_there() -> None:
    rows = Rows(np.arange(2), IdColumn.of(["a", "b"]), list("xy"), {})
    assert rows.slice(1, 2).weights is None
    weighed = replace(rows, weights=np.array([5, 6])).slice(1, 2)
    assert weighed.weights is not None
    assert weighed.weights.tolist() == [6]
