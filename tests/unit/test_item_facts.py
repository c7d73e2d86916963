"""Facts of the catalogue by key equal what the items say, through changes, removals and growth."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.catalogue.item_facts import CATEGORIES_MAX, UNKNOWN_MS, ItemFacts
from streamer.events import Item
from streamer_models.state.ids.id_table import id_key, keys_of


def test_facts_are_those_of_the_last_message_of_each_item() -> None:
    rng = np.random.default_rng(0)
    facts = ItemFacts()
    told: dict[str, Item] = {}
    labels = [f"category {n}" for n in range(12)]
    for _ in range(6_000):
        item_id = f"i{rng.integers(2_500)}"
        if rng.random() < 0.2:
            facts.remove(item_id)
            told.pop(item_id, None)
            continue
        created = int(rng.integers(10**12)) if rng.random() < 0.7 else None
        chosen = rng.choice(labels, size=rng.integers(4), replace=False).tolist()
        told[item_id] = Item(item_id=item_id, created_ts=created, categories=chosen or None)
        facts.put(told[item_id])
    assert len(facts) == len(told) > 1_024
    ids = [f"i{n}" for n in range(2_600)]
    created_ms = facts.created_ms(keys_of(ids)).tolist()
    history = ids[:40]
    affinity = facts.affinity(keys_of(history), keys_of(ids))
    for item_id, ms, share in zip(ids, created_ms, affinity.tolist(), strict=True):
        item = told.get(item_id, Item(item_id=item_id))
        assert ms == (UNKNOWN_MS if item.created_ts is None else item.created_ts)
        wanted = item.categories or []
        met = [told[other].categories or [] for other in history if other in told]
        shares = [sum(label in each for each in met) / len(history) for label in wanted]
        assert share == pytest.approx(np.mean(shares) if shares else 0.0)


def test_categories_beyond_the_bound_and_repeats_are_passed_over() -> None:
    facts = ItemFacts()
    many = [f"category {n}" for n in range(CATEGORIES_MAX + 1)]
    facts.put(Item(item_id="many", categories=many))
    facts.put(Item(item_id="last", categories=[many[-1]]))
    facts.put(Item(item_id="twice", categories=[many[0], many[0], "else"]))
    keys = keys_of(["last", "twice", "unknown"])
    history = np.array([id_key(b"many")], dtype=np.uint64)
    assert facts.affinity(history, keys).tolist() == [0.0, 0.5, 0.0]
    assert facts.affinity(history[:0], keys).tolist() == [0.0, 0.0, 0.0]


def test_labels_that_no_item_has_any_more_make_room_for_others() -> None:
    facts = ItemFacts()
    for n in range(300):
        facts.put(Item(item_id="a", categories=[f"{n}", f"{n + 1}"]))
        facts.put(Item(item_id="b", categories=["both", f"{n}"]))
        places = facts.categories(keys_of(["a", "b", "unknown"]))
        named = [[facts.labels[place] for place in row if place >= 0] for row in places.tolist()]
        assert named == [[f"{n}", f"{n + 1}"], ["both", f"{n}"], []]
        assert facts.labels.keys[places[1, 0]] == id_key(b"both")
    facts.remove("a")
    assert facts.categories(keys_of(["a"])).tolist() == [[-1] * CATEGORIES_MAX]
    assert facts.categories(keys_of(["b"])).max() < 8
