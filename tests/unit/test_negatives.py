"""What is drawn as a negative, and from where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.ids.id_table import META_FIRST_OFFSET
from streamer_models.state.inputs import Batch
from streamer_models.state.partition import PartitionState
from streamer_models.state.table import Slots, recent_keys
from tests.learning import LARGE, new_state


def _sampling(
    *, n_negatives: int = 4, recent_share: float = 0.5, n_recent_items: int = 8, partition: int = 0
) -> tuple[ImplicitMF, PartitionState]:
    model = ImplicitMF(
        n_factors=2,
        n_negatives=n_negatives,
        recent_share=recent_share,
        n_recent_items=n_recent_items,
    )
    return model, new_state([model], bounds=LARGE, partition=partition)


def _batch(
    state: PartitionState, items: Sequence[str], *, offset: int = 0, reward: float = 1.0
) -> Batch:
    """Feedback on items, admitting them at the offsets at which they are first met."""
    offsets = np.arange(offset, offset + len(items))
    plan = state.items.plan(items)
    state.items.apply(plan, len(items), offsets)
    state.reserve()
    return Batch(
        offsets=offsets,
        ts_ms=offsets,
        user_slots=np.zeros(len(items), dtype=np.int32),
        item_slots=plan.slots,
        item_rows=state.item_rows[plan.slots],
        rewards=np.full(len(items), reward, dtype=np.float32),
        values=np.full(len(items), np.nan),
    )


def _items(n: int, *, seed: int, n_items: int = 50) -> list[str]:
    return [f"item-{i}" for i in np.random.default_rng(seed).integers(0, n_items, n)]


@pytest.mark.parametrize("recent_share", [0.0, 0.5, 1.0])
def test_a_negative_is_another_item_met_before(recent_share: float) -> None:
    model, state = _sampling(recent_share=recent_share)
    batch = _batch(state, _items(500, seed=0))
    drawn = model.sampler.draw(batch, state).slots
    assert drawn.shape == (500, 4)
    assert (drawn[0] == -1).all()  # nothing else was known yet
    first_offsets = state.items.meta.values[:, META_FIRST_OFFSET]
    for slots, slot, offset in zip(drawn, batch.item_slots, batch.offsets, strict=True):
        found = slots[slots >= 0]
        assert (found != slot).all()
        assert (first_offsets[found] < offset).all()
    assert (drawn[50:] >= 0).mean() > 0.98


def test_evicted_items_are_not_drawn() -> None:
    model, state = _sampling()
    model.sampler.draw(_batch(state, _items(300, seed=1)), state)
    state.collect()
    evicted = np.arange(0, 40, 2, dtype=np.int32)
    state.evict("item", evicted)
    drawn = model.sampler.draw(_batch(state, ["item-new"] * 100, offset=300), state).slots
    # The new item took slot 0 and is the positive itself; the others are free.
    assert not np.isin(drawn, evicted).any()
    assert (drawn >= 0).mean() > 0.7


def test_recent_ones_come_from_the_ring_in_proportion() -> None:
    model, state = _sampling(recent_share=1.0, n_negatives=2_000, n_recent_items=8)
    old = _batch(state, [f"old-{i}" for i in range(30)])
    model.sampler.draw(old, state)
    ring = ["a", "b", "a", "c", "a", "a", "b", "d"]
    model.sampler.draw(_batch(state, ring, offset=30), state)
    drawn = model.sampler.draw(_batch(state, ["e"], offset=38), state).slots
    names = [state.items.name(slot).decode() for slot in drawn[0]]
    shares = {name: names.count(name) / 2_000 for name in set(names)}
    assert shares == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.125, "d": 0.125}, abs=0.04)


def test_uniform_ones_come_from_all_slots_alike() -> None:
    model, state = _sampling(recent_share=0.0, n_negatives=5_000)
    model.sampler.draw(_batch(state, [f"item-{i}" for i in range(10)] + ["item-0"] * 90), state)
    drawn = model.sampler.draw(_batch(state, ["e"], offset=100), state).slots
    counts = np.bincount(drawn[0], minlength=10)
    assert len(counts) == 10  # the positive's own slot, the 11th, is never drawn
    assert np.abs(counts - 500).max() < 100  # 4.5 standard deviations


@pytest.mark.parametrize("recent_share", [0.0, 0.25, 1.0])
def test_what_is_expected_is_what_is_drawn(recent_share: float) -> None:
    """Over many draws, each item comes about as often as ``log_expected`` says."""
    model, state = _sampling(recent_share=recent_share, n_negatives=20_000)
    model.sampler.draw(_batch(state, [f"old-{i}" for i in range(20)]), state)
    # One batch from before the ring's oldest entry to after its newest: entries also leave it.
    ring = ["x", "y", "a", "b", "a", "c", "a", "a", "b", "d", "e"]
    negatives = model.sampler.draw(_batch(state, ring, offset=20), state)
    slots, expected = negatives.slots[-1], np.exp(negatives.log_expected[-1])
    assert (slots >= 0).all()
    for slot in np.unique(slots):
        share = (slots == slot).mean()
        assert expected[slots == slot].max() == expected[slots == slot].min()
        assert share == pytest.approx(expected[slots == slot][0] / 20_000, abs=0.012)
    names = {state.items.name(slot).decode() for slot in slots}
    assert ("x" in names) == (recent_share < 1)


def test_the_ring_holds_the_last_positives() -> None:
    model, state = _sampling(n_recent_items=3)
    model.sampler.draw(_batch(state, ["a", "b", "c", "d"]), state)
    model.sampler.draw(_batch(state, ["x", "y"], offset=4, reward=-1.0), state)
    keys = recent_keys(state.own["recent_items"].values[0])
    slots = [state.items.map.find_one(int(key)) for key in keys]
    assert [state.items.name(slot) for slot in slots] == [b"d", b"c", b"b"]


def test_dislikes_get_no_negatives() -> None:
    model, state = _sampling()
    model.sampler.draw(_batch(state, _items(100, seed=2)), state)
    drawn = model.sampler.draw(
        _batch(state, _items(50, seed=3), offset=100, reward=-1.0), state
    ).slots
    assert (drawn == -1).all()


def _in_parts(ends: Sequence[int]) -> Slots:
    model, state = _sampling()
    items = _items(200, seed=4, n_items=150)
    parts = []
    for start, end in zip([0, *ends], [*ends, 200], strict=True):
        parts.append(model.sampler.draw(_batch(state, items[start:end], offset=start), state).slots)
    return np.concatenate(parts)


def test_where_batches_end_does_not_matter() -> None:
    whole = _in_parts([])
    np.testing.assert_array_equal(_in_parts(range(1, 200)), whole)
    np.testing.assert_array_equal(_in_parts([3, 4, 90, 177]), whole)


def test_partitions_and_offsets_draw_differently() -> None:
    items = _items(200, seed=5)
    drawn = []
    for partition, offset in ((0, 0), (1, 0), (0, 1)):
        model, state = _sampling(partition=partition)
        drawn.append(model.sampler.draw(_batch(state, items, offset=offset), state).slots[100:])
    assert (drawn[0] != drawn[1]).mean() > 0.8
    assert (drawn[0] != drawn[2]).mean() > 0.8


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"recent_share=1\.5"):
        ImplicitMF(recent_share=1.5)
    with pytest.raises(ValueError, match="n_negatives=0"):
        ImplicitMF(n_negatives=0)
