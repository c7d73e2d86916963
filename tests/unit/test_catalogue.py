"""What the items topic says decides what may be recommended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.content import CatalogueContent
from streamer.catalogue.expiries import Expiries
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import CatalogueConfig
from streamer.errors import BadMessage
from streamer.events import Item, encode
from streamer.simulation.broker import ManualClock, MemoryBroker, MemoryReader, MemorySink
from streamer.windows.categories import ItemCategories
from streamer_models.state.ids.id_table import id_key, keys_of
from streamer_models.state.items.item_tokens import NO_TOKEN


def catalogue_of(*items: Item, items_max: int = 100) -> Catalogue:
    catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()), items_max=items_max)
    for item in items:
        catalogue.apply(item.item_id.encode(), encode(item))
    return catalogue


def blocked(catalogue: Catalogue, *item_ids: str) -> list[bool]:
    keys = np.array([id_key(item_id.encode()) for item_id in item_ids], dtype=np.uint64)
    by_key = catalogue.blocked(keys).tolist()
    assert by_key == [catalogue.is_blocked(item_id) for item_id in item_ids]
    return [bool(each) for each in by_key]


def test_unavailable_and_deleted_items_are_blocked_and_unknown_ones_are_not() -> None:
    catalogue = catalogue_of(Item(item_id="a"), Item(item_id="b", available=False))
    catalogue.apply(b"c", None)
    assert blocked(catalogue, "a", "b", "c", "d") == [False, True, True, False]


def test_fields_that_items_have_are_counted_as_items_come_change_and_go() -> None:
    catalogue = catalogue_of(
        Item(item_id="a", title="A", attributes={"price": 1, "brand": "x"}),
        Item(item_id="b", categories=[], tags=["t"], attributes={"price": 2}),
        items_max=2,
    )
    described = catalogue.described
    assert {*described} == {"title", "tags", "attributes.price", "attributes.brand"}
    assert described.names()[0] == "attributes.price"
    assert "item_id" in described
    catalogue.apply(b"b", encode(Item(item_id="b", expires_ts=5)))
    assert {*described} == {"title", "expires_ts", "attributes.price", "attributes.brand"}
    catalogue.apply(b"c", encode(Item(item_id="c", created_ts=5)))  # a is forgotten
    assert {*described} == {"expires_ts", "created_ts"}
    catalogue.apply(b"b", None)
    catalogue.apply(b"b", None)
    assert {*described} == {"created_ts"}


def test_the_last_message_of_an_item_counts() -> None:
    catalogue = catalogue_of(Item(item_id="a", title="old"))
    catalogue.apply(b"a", None)
    assert catalogue.get("a") is None
    assert len(catalogue) == 0
    catalogue.apply(b"a", encode(Item(item_id="a", title="new")))
    assert blocked(catalogue, "a") == [False]
    found = catalogue.get("a")
    assert found is not None
    assert found.title == "new"


def test_the_revision_rises_when_what_may_be_recommended_changes_and_only_then() -> None:
    catalogue = catalogue_of(Item(item_id="a"))
    before = catalogue.revision
    catalogue.apply(b"a", encode(Item(item_id="a", title="renamed")))
    assert catalogue.revision == before
    catalogue.apply(b"a", encode(Item(item_id="a", available=False)))
    assert catalogue.revision == before + 1
    catalogue.apply(b"a", None)
    assert catalogue.revision == before + 1


def test_the_newest_come_first_and_unavailable_ones_not_at_all() -> None:
    catalogue = catalogue_of(
        Item(item_id="a"), Item(item_id="b", available=False), Item(item_id="c"), Item(item_id="a")
    )
    assert list(catalogue.newest()) == ["a", "c"]


def test_the_bound_holds_and_what_is_forgotten_reads_as_unknown() -> None:
    catalogue = catalogue_of(*(Item(item_id=f"i{n}") for n in range(5)), items_max=3)
    assert list(catalogue.newest()) == ["i4", "i3", "i2"]
    for n in range(5):
        catalogue.apply(f"i{n}".encode(), None)
    assert blocked(catalogue, "i0", "i1", "i2", "i3", "i4") == [False, False, True, True, True]


def test_a_bad_message_changes_nothing() -> None:
    catalogue = catalogue_of(Item(item_id="a"))
    with pytest.raises(BadMessage, match="available"):
        catalogue.apply(b"a", b'{"item_id": "a", "available": 3}')
    with pytest.raises(BadMessage, match="no key"):
        catalogue.apply(None, None)
    with pytest.raises(BadMessage, match="not UTF-8"):
        catalogue.apply(b"\xff", None)
    for key, said in ((b"kk", "is not the key b'kk'"), (None, "of which there is none")):
        with pytest.raises(BadMessage, match=f"field 'item_id': .* {said}; send it as the key"):
            catalogue.apply(key, encode(Item(item_id="b")))
    assert list(catalogue.newest()) == ["a"]


Said = dict[str, list[str]]


def said_of(messages: Sequence[tuple[bytes, bytes]], ids: Sequence[str]) -> list[Said]:
    """Return what scorer, learner and worker know of some items after a topic of messages."""
    clock, broker = ManualClock(), MemoryBroker({"items": 1})
    for key, value in messages:
        MemorySink(broker, clock=clock).send("items", key=key, value=value)

    def reader() -> MemoryReader:
        return MemoryReader(broker, ["items"], clock=clock)

    catalogue = catalogue_of()
    catalogue.follow(reader(), n_max=100, timeout_s=0, reject=lambda *_: None)
    items = {each: catalogue.get(each) for each in ids}
    content = CatalogueContent(CatalogueConfig(fields=("categories",)))
    content.load(reader())
    tokens = {each: content.tokens.of(keys_of([each]))[0] for each in ids}
    categories = ItemCategories(reader())
    categories.load()
    return [
        {each: list(item.categories or ()) for each, item in items.items() if item is not None},
        {each: list(map(str, found[found != NO_TOKEN])) for each, found in tokens.items()},
        {each: list(categories(each)) for each in ids},
    ]


def test_what_compaction_drops_was_never_taken() -> None:
    sent = [(b"a", "a"), (b"kk", "xx"), (b"kk", "yy"), (b"a", "b"), (b"b", "b"), (b"a", "a")]
    messages = [
        (key, encode(Item(item_id=item_id, categories=[f"c{n}"])))
        for n, (key, item_id) in enumerate(sent)
    ]
    last = {key: n for n, (key, _) in enumerate(messages)}
    compacted = [messages[n] for n in sorted(last.values())]
    ids = ["a", "b", "xx", "yy"]
    assert said_of(messages, ids) == said_of(compacted, ids)
    assert said_of(messages, ids)[0] == {"a": ["c5"], "b": ["c4"]}


def test_following_a_topic_goes_on_past_bad_messages() -> None:
    clock = ManualClock()
    broker = MemoryBroker({"items": 2})
    sink, reader = MemorySink(broker, clock=clock), MemoryReader(broker, ["items"], clock=clock)
    catalogue = catalogue_of()
    for n in range(4):
        sink.send("items", key=f"i{n}".encode(), value=encode(Item(item_id=f"i{n}")))
    sink.send("items", key=b"i9", value=b"{}")
    sink.send("items", key=b"i1", value=None)
    rejected: list[str] = []
    n_taken = [
        catalogue.follow(
            reader,
            n_max=4,
            timeout_s=0,
            reject=lambda batch, place, reason: rejected.append(reason),
        )
        for _ in range(3)
    ]
    assert n_taken == [4, 2, 0]
    assert reader.positions == reader.end_offsets()
    assert sorted(catalogue.newest()) == ["i0", "i2", "i3"]
    assert blocked(catalogue, "i1") == [True]
    assert len(rejected) == 1
    assert "item_id" in rejected[0]


def test_items_end_in_the_order_of_their_times_whatever_is_said_again() -> None:
    expiries, rng = Expiries(), np.random.default_rng(5)
    ends: dict[str, int] = {}
    for _ in range(400):
        item_id, at = f"i{rng.integers(40)}", int(rng.integers(1_000))
        if rng.random() < 0.2:
            expiries.remove(item_id)
            ends.pop(item_id, None)
        elif rng.random() < 0.1:
            expiries.put(item_id, None)
            ends.pop(item_id, None)
        else:
            expiries.put(item_id, at)
            ends[item_id] = at
        now = int(rng.integers(1_000))
        over = {item_id for item_id, at in ends.items() if at <= now}
        assert sorted(expiries.ended(now).tolist()) == sorted(keys_of(sorted(over)).tolist())
        assert expiries.n_ended(now) == len(over)
    assert len(expiries) == len(ends)


def test_a_change_of_what_ends_is_a_revision_and_saying_it_again_is_none() -> None:
    expiries = Expiries()
    expiries.put("a", 10)
    before = expiries.revision
    expiries.put("a", 10)
    expiries.remove("b")
    assert expiries.revision == before
    expiries.put("a", 11)
    assert expiries.revision > before
