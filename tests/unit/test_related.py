"""What goes with given items, and reasons that name one."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.application.services.warm_up import warm_up
from streamer.config import load_config
from streamer.events import Item, Recommendation, Request, RequestRow
from streamer.events.messages import ANYBODY
from streamer.ranking.asked import met
from streamer.ranking.context import RequestContext, request_context
from streamer.simulation.live import Answer, LiveSystem
from streamer_models.counters.history import UserHistory
from streamer_models.neighbors.scores import neighbour_scores, strongest_lists
from streamer_models.state.ids.id_table import id_key
from tests.kinds import N_KINDS, START_MS, clicks_of_kinds

N_ITEMS = 120


@pytest.fixture(scope="module")
def shop() -> LiveSystem:
    """Users who meet items of one kind (number modulo 4) but for one in ten; nothing is said of
    the kinds, and items have titles."""
    live = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
    live.publish(*(Item(item_id=f"i{n}", title=f"Title {n}") for n in range(N_ITEMS)))
    live.publish(Item(item_id="unmet", title="Nobody met it"))
    live.publish(*clicks_of_kinds(2_000, N_ITEMS))
    live.sync()
    return live


def _ask(shop: LiveSystem, user_id: str, *seeds: str, k: int = 5) -> Answer:
    request = Request(
        request_id=f"{user_id} {' '.join(seeds)}",
        user_id=user_id,
        ts=START_MS,
        k=k,
        seed_items=list(seeds) or None,
    )
    return shop.answer([request])[0]


def _kinds(answer: Recommendation) -> list[int]:
    return [int(item.item_id[1:]) % N_KINDS for item in answer.items]


@pytest.mark.parametrize("user", ["nobody", "u3"])
def test_what_goes_with_a_seed_is_of_its_kind_whoever_asks(shop: LiveSystem, user: str) -> None:
    for seed in (4, 9, 14):
        answer = _ask(shop, user, f"i{seed}").recommendation
        kinds = _kinds(answer)
        assert np.mean(np.array(kinds) == seed % N_KINDS) >= 0.8
        assert f"i{seed}" not in [item.item_id for item in answer.items]


def test_a_request_without_seeds_goes_with_what_the_user_met(shop: LiveSystem) -> None:
    assert np.mean(np.array(_kinds(_ask(shop, "u3").recommendation)) == 3) >= 0.8


def test_what_the_user_met_is_left_out_beside_seeds(shop: LiveSystem) -> None:
    met = shop.scorer.replica.current()
    seen = set(met.users.history(met.users.map.find_one(_key("u3"))).tolist())
    slate = _ask(shop, "u3", "i4", k=20).item_ids
    assert not seen & {_key(item_id) for item_id in slate}


def test_the_first_of_two_seeds_counts_most(shop: LiveSystem) -> None:
    kinds = _kinds(_ask(shop, "nobody", "i5", "i6", k=10).recommendation)
    assert set(kinds[:6]) <= {1, 2}
    swapped = _kinds(_ask(shop, "nobody", "i6", "i5", k=10).recommendation)
    assert kinds.count(1) > swapped.count(1)


def test_a_reason_names_the_seed_by_its_title(shop: LiveSystem) -> None:
    for item in _ask(shop, "nobody", "i8", k=3).recommendation.items:
        assert (item.because, item.reason) in (
            ("i8", "similar to Title 8"),
            ("i8", "often next after Title 8"),
        )


def test_a_reason_names_an_item_that_the_user_met(shop: LiveSystem) -> None:
    version = shop.scorer.replica.current()
    met = version.users.history(version.users.map.find_one(_key("u3")))[:10].tolist()
    items = _ask(shop, "u3", k=5).recommendation.items
    named = [item for item in items if item.because is not None]
    assert named
    for item in named:
        assert item.because is not None
        assert _key(item.because) in met
        assert item.reason.endswith(f"Title {item.because[1:]}")


def test_a_seed_that_nobody_met_is_answered_with_what_all_channels_bring(shop: LiveSystem) -> None:
    answer = _ask(shop, "nobody", "unmet", k=10).recommendation
    assert len(answer.items) == 10
    assert "unmet" not in [item.item_id for item in answer.items]
    assert {item.because for item in answer.items} == {None}


def test_seeds_that_are_unknown_are_said_with_what_they_may_mean(shop: LiveSystem) -> None:
    def note(*seeds: str) -> str | None:
        answer = _ask(shop, "nobody", *seeds).recommendation
        assert answer.items
        return answer.note

    assert note("nowhere", " I8 ") == (
        "nothing is known of the seed_items ('nowhere', ' I8 ': did you mean 'i8'?), so the items"
        " go with none of them"
    )
    assert note("a", "i8", "b", "a", "c", "d") == (
        "nothing is known of 4 of 5 seed_items ('a', 'b', 'c', …)"
    )
    assert note("i8", "unmet") is None
    assert note() is None


def test_a_row_says_its_own_unknown_seeds(shop: LiveSystem) -> None:
    rows = [
        RequestRow(name="like it", seed_items=["nowhere"]),
        RequestRow(name="for you"),
    ]
    request = Request(request_id="of rows", user_id="nobody", ts=START_MS, rows=rows)
    answer = shop.answer([request])[0].recommendation
    notes = [row.note for row in answer.rows or ()]
    assert (notes[1], answer.note) == (None, None)
    assert (notes[0] or "").startswith("nothing is known of the seed_items ('nowhere')")


def test_visitors_without_a_name_are_not_one_user_who_met_what_all_of_them_did() -> None:
    live = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
    clicks = clicks_of_kinds(600, N_ITEMS)
    live.publish(*clicks, *(replace(each, user_id=ANYBODY, event_id=f"v{each.event_id}")
                            for each in clicks if each.user_id == "u3"))  # fmt: skip
    live.sync()
    scorer = live.scorer

    def asks(user_id: str) -> RequestContext:
        request = Request(request_id="r", user_id=user_id, ts=START_MS)
        return request_context(request, scorer.replica.current(), scorer.catalogue)

    named, visitor = asks("u3"), asks(ANYBODY)
    assert named.user_row >= 0
    assert len(named.seen)
    assert len(named.barred)
    assert (visitor.user_row, len(visitor.seen), len(visitor.barred)) == (-1, 0, 0)
    assert (named.user_id, visitor.user_id) == ("u3", None)


@pytest.mark.parametrize(
    ("seeds", "n_met"), [(["unmet"], 0), (["nowhere"], 0), (["i8"], 1), (["unmet", "i8", "i9"], 2)]
)
def test_seeds_that_nothing_is_known_of_do_not_count_as_met(
    shop: LiveSystem, seeds: list[str], n_met: int
) -> None:
    """Else what is popular would weigh as for somebody of whom more is known, which is silent."""
    request = Request(request_id="r", user_id="nobody", ts=START_MS, seed_items=seeds)
    scorer = shop.scorer
    context = request_context(request, scorer.replica.current(), scorer.catalogue)
    assert met(context, UserHistory(length=64)).n_events == n_met


def test_a_decision_with_seeds_is_made_from_what_goes_with_them_alone(shop: LiveSystem) -> None:
    candidates = _ask(shop, "nobody", "i8").decision.candidates
    everything = _ask(shop, "nobody").decision.candidates
    assert 5 <= len(candidates) < len(everything)


def test_the_strongest_list_is_the_one_whose_part_of_the_sum_is_greatest() -> None:
    rng = np.random.default_rng(4)
    n_partitions, n_ids, length = 3, 6, 8
    lists = np.zeros((n_partitions, n_ids, 2 * length), dtype=np.uint64)
    for p in range(n_partitions):
        for i in range(n_ids):
            n = int(rng.integers(0, length + 1))
            lists[p, i, :n] = rng.choice(12, n, replace=False) + 1
            lists[p, i, length : length + n] = rng.integers(1, 1 << 24, n)
    weights = rng.random(n_ids)
    wanted = np.arange(1, 16, dtype=np.uint64)
    parts = np.zeros((n_ids, len(wanted)))
    for i in range(n_ids):
        alone = np.where(np.arange(n_ids) == i, weights, 0.0)
        keys, [sums] = neighbour_scores(lists, alone[None, :])
        for key, value in zip(keys.tolist(), sums.tolist(), strict=True):
            parts[i, key - 1] = value
    expected = np.where(parts.max(axis=0) > 0, parts.argmax(axis=0), -1)
    assert strongest_lists(lists, weights, wanted).tolist() == expected.tolist()
    assert -1 in expected.tolist()


def test_a_warm_scorer_has_compiled_what_names_an_item() -> None:
    warm_up(load_config(env={}, flags={}))
    assert strongest_lists.signatures


def _key(text: str) -> int:
    return id_key(text.encode())
