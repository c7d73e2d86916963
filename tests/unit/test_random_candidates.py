"""Items drawn from the catalogue at random: what makes it possible to show what is new."""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import BanditConfig
from streamer.events import Item, encode
from streamer.ranking.recall.random import RandomSettings
from streamer_models.state.ids.id_table import keys_of
from tests.scoring import START_MS, Shop, crowd, recalling

DRAWING = recalling(mf={"candidates": 2}, trending={"candidates": 2}, random={"candidates": 3})


def catalogue(n: int) -> Catalogue:
    made = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()), items_max=1_000)
    for i in range(n):
        made.apply(f"i{i}".encode(), encode(Item(item_id=f"i{i}")))
    return made


def test_every_item_is_drawn_as_often() -> None:
    items = catalogue(20)
    drawn = np.concatenate([items.drawn(5, seed) for seed in range(4_000)])
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == 20
    expected = len(drawn) / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi-square, 19 degrees, p = .001


def test_a_draw_is_a_function_of_its_seed_and_holds_no_item_twice() -> None:
    items = catalogue(8)
    for seed in range(50):
        drawn = items.drawn(6, seed).tolist()
        assert drawn == items.drawn(6, seed).tolist()
        assert len(set(drawn)) == len(drawn)
    assert len({tuple(items.drawn(6, seed).tolist()) for seed in range(50)}) > 40


def test_what_is_deleted_is_drawn_no_more() -> None:
    items = catalogue(6)
    for gone in ("i2", "i5", "i2"):
        items.apply(gone.encode(), None)
    items.apply(b"i4", encode(Item(item_id="i4", title="published again")))
    drawn = np.unique(np.concatenate([items.drawn(4, seed) for seed in range(200)]))
    assert drawn.tolist() == np.sort(keys_of(["i0", "i1", "i3", "i4"])).tolist()
    for gone in ("i0", "i1", "i3", "i4"):
        items.apply(gone.encode(), None)
    assert len(items.drawn(4, 1)) == 0


def test_items_that_nobody_has_met_come_to_be_shown() -> None:
    policy = BanditConfig(policy="epsilon-greedy", uniform_share=0.5)
    shop = Shop(DRAWING, bandit=policy)
    for i in range(12):
        shop.publish(f"i{i}", created_ts=START_MS)
    shop.click(*crowd("i0", 9), *crowd("i1", 8), *crowd("i2", 7))
    shown = {
        item for n in range(300) for item in shop.ask("somebody", request_id=f"r{n}", k=2).item_ids
    }
    assert {f"i{i}" for i in range(12)} <= shown


def test_no_item_is_drawn_that_the_user_has_met_or_that_is_ruled_out() -> None:
    shop = Shop(DRAWING | {"random": RandomSettings(candidates=50)})
    for i in range(8):
        shop.publish(f"i{i}")
    shop.publish("i7", available=False)
    shop.click(*crowd("i0", 5), *crowd("i1", 4), *crowd("i2", 3), *crowd("i3", 2))
    for n in range(20):
        slate = shop.ask("crowd0", request_id=f"r{n}", exclude=["i4"], k=8)
        assert sorted(slate.candidates) == ["i5", "i6"], "crowd0 has met i0 to i3"
        asked = shop.ask("crowd4", request_id=f"r{n}", candidates=["i1", "i6"], k=8)
        assert sorted(asked.candidates) == ["i1", "i6"], "the request says what to choose from"
