"""Settings that read what no item, user or request has are said, once and with the nearest name."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import load_config
from streamer.events import Item, Request, encode
from streamer.events.profiles import Profile
from streamer.ranking.rules.rules import Rules
from streamer.scorer.unread import REQUESTS_MIN, SETTLED_MS, UnreadWatch
from streamer.scorer.variants import Variants

FLAGS: Mapping[str, object] = {
    "rules.adult.exclude": "item.attributes.adlt == true",
    "rules.region.only": "item.attributes.shipsto == 'ALL' || user.cuntry == 'EU'",
    "rules.own.boost": 1.0,
    "rules.own.when": "item.attributes.brand == request.context.brnd",
    "rules.end.exclude": "item.expires_ts - now_ms < 1000 || size(item.tags) > 9",
    "slate.caps": ["categories<=2", "Brand<=1", "ships_to<=2"],
    "slate.fresh": ["1 in 5"],
    "catalogue.fields": ["categories", "title", "brand", "year", "colour"],
    "bandit.context": ["surface=home", "daypart=evening"],
    "bandit.context_hashed": ["device"],
}
ITEM = Item(
    item_id="a",
    categories=["tea"],
    attributes={"adult": False, "brand": "x", "ships_to": "ALL", "color": "red"},
)


def catalogue_of(*items: Item) -> Catalogue:
    catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()))
    for item in items:
        catalogue.apply(item.item_id.encode(), encode(item))
    return catalogue


def watching(**flags: object) -> UnreadWatch:
    return UnreadWatch(Variants(load_config(env={}, flags={**FLAGS, **flags})).configs)


def said(caplog: pytest.LogCaptureFixture) -> set[tuple[str, str, str | None]]:
    """What was logged since the last call, none of it twice."""
    fields = [
        (each.__dict__["setting"], each.__dict__["field"], each.__dict__["nearest"])
        for each in caplog.records
        if each.message == "setting_unread"
    ]
    caplog.clear()
    assert len(fields) == len({*fields})
    return {*fields}


OF_ITEMS = {
    ("rules.adult.exclude", "item.attributes.adlt", "item.attributes.adult"),
    ("rules.region.only", "item.attributes.shipsto", "item.attributes.ships_to"),
    ("rules.end.exclude", "item.expires_ts", None),
    ("rules.end.exclude", "item.tags", None),
    ("slate.caps", "item.attributes.Brand", "item.attributes.brand"),
    ("catalogue.fields", "item.title", None),
    ("catalogue.fields", "item.attributes.colour", "item.attributes.color"),
}


def test_what_no_item_has_is_said_once_the_catalogue_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = watching()
    watch.judge(catalogue_of())
    assert said(caplog) == set()  # of no items nothing is known
    watch.judge(catalogue_of(ITEM))
    assert said(caplog) == OF_ITEMS
    watch.judge(catalogue_of(ITEM))
    watch.look(catalogue_of(ITEM), 10 * SETTLED_MS)
    assert said(caplog) == set()


def test_a_catalogue_that_is_filled_later_is_looked_at_when_it_may_be_complete(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch, catalogue = watching(), catalogue_of()
    for now_ms in (0, 2 * SETTLED_MS):
        watch.look(catalogue, now_ms)
    catalogue.apply(b"first", encode(Item(item_id="first")))
    watch.look(catalogue, 3 * SETTLED_MS)
    catalogue.apply(b"a", encode(ITEM))
    watch.look(catalogue, 4 * SETTLED_MS - 1)
    assert said(caplog) == set()
    watch.look(catalogue, 4 * SETTLED_MS)
    assert said(caplog) == OF_ITEMS


def test_rules_and_caps_of_every_variant_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    variant = "experiments.test.variants.b."
    flags = {
        "experiments.test.variants.control.weight": 1,
        "experiments.test.variants.b.weight": 1,
        f"{variant}rules.adult.exclude": "item.attributes.adllt",
        f"{variant}slate.caps": ["brnd<=1"],
    }
    watching(**flags).judge(catalogue_of(ITEM))
    assert said(caplog) - OF_ITEMS == {
        ("rules.adult.exclude", "item.attributes.adllt", "item.attributes.adult"),
        ("slate.caps", "item.attributes.brnd", "item.attributes.brand"),
    }


def test_what_no_request_or_user_gives_is_said_after_many(caplog: pytest.LogCaptureFixture) -> None:
    watch, rules = watching(), Rules(load_config(env={}, flags=FLAGS))
    request = Request(
        request_id="r", user_id="ann", ts=0, context={"daypart": "noon", "brand": "x"}
    )
    other = Request(request_id="r", user_id="ann", ts=0, surface="home")
    profile = Profile(attributes={"country": "EU"})
    for n in range(REQUESTS_MIN):
        assert said(caplog) == set()
        asked, given = (request, profile) if n == 3 else (other, Profile())
        watch.take(asked, rules.of(asked, given, catalogue_of(ITEM), 0))
    assert said(caplog) == {
        ("rules.region.only", "user.cuntry", "user.country"),
        ("rules.own.when", "request.context.brnd", "request.context.brand"),
        ("bandit.context_hashed", "request.context.device", None),
    }
    for _ in range(REQUESTS_MIN):
        watch.take(request, None)
    assert said(caplog) == set()


def test_the_defaults_read_nothing_that_has_to_be_there(caplog: pytest.LogCaptureFixture) -> None:
    watch = UnreadWatch([load_config(env={})])
    watch.judge(catalogue_of(Item(item_id="a")))
    for _ in range(REQUESTS_MIN):
        watch.take(Request(request_id="r", user_id="ann", ts=0), None)
    assert said(caplog) == set()
