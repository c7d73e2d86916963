"""Pages of a slate: none shows an item again, and each is drawn as any slate is."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import load_config
from streamer.errors import BadMessage
from streamer.events import Event, Item, Pin, Request, RequestRow, decode_request, encode
from streamer.events.pages import PAGED_MAX, packed_keys, unpacked_keys
from streamer.simulation.live import Answer, LiveSystem
from tests.kinds import START_MS, clicks_of_kinds
from tests.verified_slates import verified_again

N_ITEMS = 40


@pytest.fixture(scope="module")
def live() -> LiveSystem:
    config = load_config(env={}, flags={"recall.again.candidates": 5})
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    live.publish(
        *(Item(item_id=f"i{n}", created_ts=START_MS - n) for n in range(N_ITEMS)),
        *clicks_of_kinds(300, N_ITEMS),
    )
    live.advance(START_MS + 1_000)
    return live


def _page(live: LiveSystem, request_id: str, **given: object) -> Answer:
    fields = {"request_id": request_id, "user_id": "visitor", "ts": live.clock.now_ms(), "k": 7}
    return live.answer([Request(**fields | given)])[0]  # type: ignore[arg-type]


def _pages(live: LiveSystem, name: str, **given: object) -> list[Answer]:
    after: str | None = ""
    found: list[Answer] = []
    while after is not None:
        found.append(_page(live, f"{name} {len(found)}", after=after, **given))
        after = found[-1].recommendation.next
    return found


@pytest.mark.parametrize("list_name", [None, "latest"])
def test_pages_show_everything_once_and_end(live: LiveSystem, list_name: str | None) -> None:
    pages = [page.item_ids for page in _pages(live, f"all {list_name}", list_name=list_name)]
    shown = [item for page in pages for item in page]
    assert sorted(shown) == sorted(f"i{n}" for n in range(N_ITEMS))
    assert [len(page) for page in pages] == [7, 7, 7, 7, 7, 5], "the last one says that it is"
    if list_name:
        assert shown == [f"i{n}" for n in range(N_ITEMS)]


@pytest.mark.parametrize("k", [8, 40])
@pytest.mark.parametrize("list_name", [None, "latest"])
def test_a_page_that_is_full_and_the_last_says_so(
    live: LiveSystem, list_name: str | None, k: int
) -> None:
    pages = _pages(live, f"full {list_name} {k}", list_name=list_name, k=k)
    assert [len(page.item_ids) for page in pages] == [k] * (N_ITEMS // k)
    named = [f"i{n}" for n in range(k)]
    (page,) = _pages(live, f"named {list_name} {k}", list_name=list_name, k=k, candidates=named)
    assert sorted(page.item_ids) == sorted(named)


def test_pinned_items_alone_are_a_page_before_others(live: LiveSystem) -> None:
    for list_name in (None, "latest"):
        pins = [Pin(position=at, item_id=f"p{at}") for at in range(7)]
        given = {"after": "", "pinned": pins, "list_name": list_name}
        assert _page(live, f"pins {list_name}", **given).recommendation.next is not None
        alone = _page(live, f"pins alone {list_name}", candidates=["i0"], exclude=["i0"], **given)
        assert (len(alone.item_ids), alone.recommendation.next) == (7, None)


def test_what_is_learned_or_published_meanwhile_brings_nothing_back(live: LiveSystem) -> None:
    first = _page(live, "before", after="")
    live.publish(
        *(
            Event(event_id=f"{u}", type="click", user_id=f"w{u}", item_id=first.item_ids[0], ts=1)
            for u in range(50)
        ),
        *(Item(item_id=item_id, title="again") for item_id in first.item_ids),
    )
    live.sync()
    second = _page(live, "after", after=first.recommendation.next)
    assert len(second.item_ids) == 7
    assert not set(second.item_ids) & set(first.item_ids)
    assert not set(second.decision.candidates) & set(first.item_ids)


def test_a_page_is_drawn_as_a_request_that_excludes_what_was_shown(live: LiveSystem) -> None:
    pages = _pages(live, "same")[:3]
    shown: list[str] = []
    for number, page in enumerate(pages):
        alone = _page(live, f"same {number}", exclude=shown or None)
        assert alone.decision_message == page.decision_message
        shown += page.item_ids
    found = verified_again(live, [page.decision for page in pages])
    assert (found.n_same, found.problems) == (3, [])


def test_without_a_page_asked_for_there_is_no_next_and_pages_have_a_bound(live: LiveSystem) -> None:
    assert _page(live, "plain").recommendation.next is None
    for list_name in (None, "latest"):
        many = np.arange(PAGED_MAX - 10, dtype=np.uint64)
        given = {"list_name": list_name, "pinned": [Pin(position=5, item_id="p")]}
        deep = _page(live, f"deep {list_name}", after=packed_keys(many), **given)
        assert len(unpacked_keys(deep.recommendation.next or "")) == PAGED_MAX - 3
        given |= {"after": deep.recommendation.next}
        last = _page(live, f"deepest {list_name}", **given)
        assert (len(last.item_ids), last.recommendation.next) == (3, None)
        beyond = packed_keys(np.arange(PAGED_MAX, dtype=np.uint64))
        none = _page(live, f"beyond {list_name}", **given | {"after": beyond})
        assert (none.item_ids, none.recommendation.next) == ([], None)


def test_what_is_no_next_of_an_answer_is_refused() -> None:
    request = Request(request_id="q", user_id="u", ts=1, after="")
    assert decode_request(encode(request)) == request
    for wrong in ("A", "AAAA", "AQAAAAAAAAA=", "%%%%", "ü", "A" * 6_000):
        with pytest.raises(BadMessage, match=r"^field 'after'"):
            decode_request(encode(replace(request, after=wrong)))
    with pytest.raises(BadMessage, match=r"^field 'after'.*of a row by a request of its own"):
        decode_request(encode(replace(request, rows=[RequestRow(name="a")])))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 499])
def test_keys_are_unpacked_as_they_were_packed(n: int) -> None:
    keys = np.random.default_rng(n).integers(0, 2**64, n, dtype=np.uint64)
    assert unpacked_keys(packed_keys(keys)).tolist() == keys.tolist()
