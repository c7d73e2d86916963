"""The key map against a dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer_models.state.ids.key_map import KeyMap

# Few low bits and few values: long probe runs, wrap-around at the end of the table, repeats.
KEYS = st.integers(0, 80).map(lambda i: (i % 5 + 60) % 64 + 64 * (i // 5))
STEPS = st.lists(st.tuples(st.sampled_from(["insert", "remove"]), st.lists(KEYS, max_size=12)))


@given(STEPS)
def test_it_is_a_dict(steps: list[tuple[str, list[int]]]) -> None:
    table, known = KeyMap(), dict[int, int]()
    for at, (action, keys) in enumerate(steps):
        array = np.array(keys, dtype=np.uint64)
        if action == "insert":
            slots = np.arange(len(keys), dtype=np.int32) + 100 * at
            table.insert(array, slots)
            known.update(zip(keys, slots.tolist(), strict=True))
        else:
            table.remove(array)
            for key in keys:
                known.pop(key, None)
        every = list(range(64 * 20))
        found = table.find(np.array(every, dtype=np.uint64))
        assert found.tolist() == [known.get(key, -1) for key in every]
        assert len(table) == len(known)
        assert 2 * len(table) <= len(table.slots)


def test_any_64_bits_are_a_key() -> None:
    keys = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    table = KeyMap()
    assert table.find(keys).tolist() == [-1] * 4
    table.insert(keys, np.arange(4, dtype=np.int32))
    assert table.find(keys).tolist() == [0, 1, 2, 3]
    assert [table.find_one(int(key)) for key in keys] == [0, 1, 2, 3]


def test_it_grows() -> None:
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, 2**64, 10_000, dtype=np.uint64))
    table = KeyMap()
    for part in np.array_split(keys, 37):
        table.insert(part, part.astype(np.int32) & np.int32(0x7FFFFFFF))
    assert len(table) == len(keys)
    np.testing.assert_array_equal(table.find(keys), keys.astype(np.int32) & 0x7FFFFFFF)
