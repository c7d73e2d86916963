"""Items are found by their embeddings, new ones too, by whoever took up what is like them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.config import Config, load_config
from streamer.errors import BadMessage
from streamer.events import Event, Item, Request, decode_dead_letter, decode_item, encode
from streamer.model_set import build_models, store_layout
from streamer.ranking.context import request_context
from streamer.ranking.recall.allowed import Allowed
from streamer.ranking.recall.channel import Recalled
from streamer.ranking.recall.content import ContentChannel
from streamer.replay.channel_alone import ChannelAlone, channel_config
from streamer.replay.funnel_model import FunnelModel
from streamer.replay.interactions import Interaction
from streamer.simulation.live import LiveSystem
from streamer_models.neighbors.content import content_profile, most_alike
from streamer_models.state.ids.id_table import id_key, keys_of
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_producers.datasets import open_described
from tests.kinds import N_KINDS, START_MS, clicks_of_kinds
from tests.verified_slates import verified_again
from tests.verified_store import verified_store

N_NUMBERS = 10
N_ITEMS = 160
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
Floats = NDArray[np.float64]


def _vector(item_id: str, kind: int) -> list[float]:
    """The direction of a kind, and one of the item's own half as long."""
    own = np.random.default_rng(id_key(item_id.encode())).normal(size=N_NUMBERS)
    found: Floats = np.eye(N_NUMBERS)[kind] + 0.5 * own / np.linalg.norm(own)
    return [float(each) for each in 3 * found]


def _item(item_id: str, kind: int, **given: object) -> Item:
    return Item(item_id=item_id, embedding=_vector(item_id, kind), **given)  # type: ignore[arg-type]


def _config(**flags: object) -> Config:
    """Embeddings, and nothing else that is said of items."""
    given = {key.replace("__", "."): flags[key] for key in flags}
    said = {
        "catalogue.embedding": N_NUMBERS,
        "catalogue.fields": (),
        "topics.partitions": 2,
    }
    return load_config(env={}, flags={**said, **given})


def _shop(*, n_items: int = N_ITEMS, n_clicks: int = 3_000) -> LiveSystem:
    """Users who meet items of one kind, that of their own number, but for one in ten; then one new
    item of each kind is published."""
    live = LiveSystem(_config(), start_ms=START_MS, sync_interval_ms=0)
    live.publish(*(_item(f"i{n}", n % N_KINDS) for n in range(n_items)))
    live.publish(*clicks_of_kinds(n_clicks, n_items))
    live.sync()
    live.advance(START_MS + 1_000)
    live.publish(*(_item(f"new{kind}", kind) for kind in range(N_KINDS)))
    live.sync()
    return live


@pytest.fixture(scope="module")
def shop() -> LiveSystem:
    return _shop()


def _share_of_slates(live: LiveSystem, item_id: str, user_ids: Sequence[str]) -> float:
    answers = live.ask([user_id for user_id in user_ids for _ in range(4)], k=10)
    return float(np.mean([item_id in answer.item_ids for answer in answers]))


def test_a_new_item_is_in_the_slates_of_who_likes_its_kind_a_moment_after_it_was_published(
    shop: LiveSystem,
) -> None:
    lovers = [f"u{n}" for n in range(0, 5 * N_KINDS, N_KINDS)]
    others = [f"u{n + kind}" for n in range(0, 4 * N_KINDS, N_KINDS) for kind in (1, 2, 3)]
    n_of_kind = N_ITEMS // N_KINDS + 1
    assert _share_of_slates(shop, "new0", lovers) > 10 / n_of_kind, "chance, of those of its kind"
    assert _share_of_slates(shop, "new0", others) < 0.05


def test_each_slate_is_drawn_again_and_the_store_executed_again_to_the_bit() -> None:
    live = _shop(n_items=40, n_clicks=300)
    decisions = [live.request(f"u{n}").decision for n in range(8)]
    live.publish(Event(event_id="x", type="dislike", user_id="u1", item_id="i1", ts=START_MS))
    live.sync()
    decisions += [live.request(f"u{n}").decision for n in range(8)]
    found = verified_again(live, decisions)
    assert (found.n_same, found.problems) == (16, [])
    store = verified_store(live)
    assert store.problems + store.unchecked == []
    layout = live.store.layout()
    assert layout is not None
    assert "user_rewards" in {spec.name for spec in layout.tables}


def _recalled(
    live: LiveSystem, user_id: str, *, n: int = 5, config: Config | None = None, **given: object
) -> list[str]:
    """Ids that the channel brings."""
    request = Request(request_id="r", user_id=user_id, ts=START_MS + 2_000, **given)  # type: ignore[arg-type]
    scorer = live.scorer
    context = request_context(request, scorer.replica.current(), scorer.catalogue)
    allowed = Allowed()(context)
    found: Recalled = ContentChannel(config or live.config).recall(context, allowed, n)
    new = iter(context.new_ids(found.new_keys))
    return [context.items.names[row] if row >= 0 else next(new) for row in found.rows.tolist()]


def _rate(live: LiveSystem, user_id: str, *events: tuple[str, str, int]) -> None:
    live.publish(
        *(
            Event(
                event_id=f"{user_id} {n}",
                type=event_type,
                user_id=user_id,
                item_id=item_id,
                ts=START_MS - age_ms,
            )
            for n, (event_type, item_id, age_ms) in enumerate(events)
        )
    )
    live.sync()


def _kinds(item_ids: Sequence[str]) -> set[int]:
    return {int(item_id.lstrip("inew")) % N_KINDS for item_id in item_ids}


def test_what_is_brought_is_nearest_to_the_decayed_sum_and_dislikes_push_away(
    shop: LiveSystem,
) -> None:
    _rate(shop, "ann", ("like", "i4", 0))
    assert _kinds(_recalled(shop, "ann", n=15)) == {0}
    # Of two kinds the one met 30 days later weighs twice as much, with one half-life of 30 days.
    _rate(shop, "bob", ("like", "i5", 30 * DAY_MS), ("like", "i6", 0))
    assert _kinds(_recalled(shop, "bob", n=8)) == {2}
    assert 1 in _kinds(_recalled(shop, "bob", n=40))
    config = _config(recall__content__half_life_s=1_000)
    assert 1 not in _kinds(_recalled(shop, "bob", n=18, config=config))
    _rate(shop, "cas", ("like", "i4", 0), ("like", "i5", 0), ("dislike", "i9", 0))
    assert _kinds(_recalled(shop, "cas", n=15)) == {0}
    _rate(shop, "dora", ("dislike", "i4", 0))
    assert _recalled(shop, "dora") == _recalled(shop, "nobody") == []


def test_what_is_ruled_out_gives_its_place_to_the_next_nearest(shop: LiveSystem) -> None:
    _rate(shop, "eve", ("like", "i3", 0))
    nearest = _recalled(shop, "eve", n=6)
    assert "i3" not in nearest, "it was met"
    rest = _recalled(shop, "eve", n=4, exclude=nearest[:2])
    assert rest == nearest[2:]
    assert _recalled(shop, "eve", candidates=[nearest[3], "new3", "i0"]) == [
        each for each in _recalled(shop, "eve", n=100) if each in (nearest[3], "new3", "i0")
    ]


def test_many_ruled_out_items_are_looked_behind() -> None:
    live = LiveSystem(_config(), start_ms=START_MS, sync_interval_ms=0)
    live.publish(*(_item(f"i{n}", 0) for n in range(400)))
    live.publish(Item(item_id="last", embedding=[1.0, 2.0, *[0.0] * (N_NUMBERS - 2)]))
    _rate(live, "ann", ("like", "i4", 0))
    everything = _recalled(live, "ann", n=1_000)
    assert (len(everything), everything[-1]) == (400, "last")
    assert _recalled(live, "ann", n=2, exclude=everything[:-1]) == ["last"]


def test_what_goes_with_a_seed_that_nobody_met_is_nearest_by_embedding(shop: LiveSystem) -> None:
    request = Request(
        request_id="s", user_id="nobody", ts=START_MS + 2_000, k=5, seed_items=["new2"]
    )
    (answer,) = shop.answer([request])
    assert _kinds(answer.item_ids) == {2}
    for item in answer.recommendation.items:
        assert (item.reason, item.because) == ("of a kind with new2", "new2")
    known = Request(request_id="t", user_id="nobody", ts=START_MS + 2_000, seed_items=["i2"])
    content = [
        item
        for item in shop.answer([known])[0].recommendation.items
        if item.reason.startswith("of a kind")
    ]
    assert {(item.reason, item.because) for item in content} <= {("of a kind with i2", "i2")}


def test_a_bad_vector_has_a_letter_and_changes_nothing_and_without_a_number_none_is_used() -> None:
    live = LiveSystem(_config(), start_ms=START_MS, sync_interval_ms=0)
    live.publish(_item("a", 0, title="A"))
    live.publish(Item(item_id="a", title="B", embedding=[1.0, 2.0]))
    live.sync()
    live.scorer.settle()
    (letter,) = live.broker.records("dead-letters")
    assert (
        "has 2 numbers, and catalogue.embedding is 10; send"
        in decode_dead_letter(letter.value).reason
    )
    for known in (
        live.scorer.catalogue.embeddings,
        live._learner._catalogue.inputs.item_embeddings,
    ):
        assert len(known) == 1
    item = live.scorer.catalogue.get("a")
    assert item is not None
    assert item.title == "A"
    off = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
    off.publish(_item("a", 0), Item(item_id="b", embedding=[1.0]))
    off.sync()
    off.scorer.settle()
    assert not off.broker.records("dead-letters")
    assert len(off.scorer.catalogue.embeddings) == 0
    assert off.scorer.catalogue.published("b") == Item(item_id="b", embedding=[1.0])


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        ("[0, 0.0, -0.0]", "is 0 throughout, and has no direction; send a vector that has one"),
        ("[1, NaN]", r"field 'embedding\[1\]': NaN is not a finite number; send a finite one"),
        ("[1, 1e999]", "is not a finite number; send a finite one"),
        ("[1, null]", r"field 'embedding\[1\]': null is refused: expected `float`, got `null`"),
        ("[1, 1e19]", r"field 'embedding\[1\]': 1e\+19 is refused: expected `float` <= 1e"),
        ("[]", r"field 'embedding': \[\] is refused: expected `array` of length >= 1"),
    ],
)
def test_a_vector_without_a_direction_is_refused(vector: str, said: str) -> None:
    with pytest.raises(BadMessage, match=said):
        decode_item(b'{"item_id": "a", "embedding": %s}' % vector.encode())


def test_an_item_says_its_embedding_again_or_has_none() -> None:
    live = LiveSystem(_config(), start_ms=START_MS, sync_interval_ms=0)
    live.publish(_item("a", 0), _item("b", 1))
    live.sync()
    live.publish(Item(item_id="a"))
    live.delete(Item(item_id="b"))
    live.sync()
    assert len(live.scorer.catalogue.embeddings) == 0
    assert live.scorer.catalogue.published("a") == Item(item_id="a")


def test_a_file_of_items_has_embeddings_and_replay_refuses_those_of_another_length(
    tmp_path: Path,
) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(encode(_item("a", 0)) + b"\n" + encode(Item(item_id="b")) + b"\n")
    first, second = open_described(items=path).items()
    assert (first.embedding, second.embedding) == (_vector("a", 0), None)
    event = Event(event_id="e", type="click", user_id="ann", item_id="a", ts=START_MS)
    met = Interaction(number=0, event=event, user_row=0, item_row=0, reward=1.0, item=first)
    other = channel_config(_config(catalogue__embedding=8), "content", {}, seed=0)
    for model in (ChannelAlone(other, "content"), FunnelModel(other)):
        with pytest.raises(BadMessage, match="has 10 numbers, and catalogue"):
            model.learn(met)


def test_off_it_costs_nothing_and_no_store_is_another() -> None:
    config = load_config(env={}, flags={})
    assert "UserRewards" not in {model.name for model in build_models(config)}
    off = {"catalogue.embedding": N_NUMBERS, "recall.content.candidates": 0}
    models = build_models(load_config(env={}, flags=off))
    before, after = store_layout(config, build_models(config)), store_layout(config, models)
    assert before.generations[0].models == after.generations[0].models


# --- vectors -------------------------------------------------------------------------------------


def _unit(rng: np.random.Generator, n: int = 1) -> NDArray[np.float32]:
    vectors = rng.normal(size=(n, N_NUMBERS))
    found: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(
        np.float32
    )
    return found


def _updates(rng: np.random.Generator, n: int) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
    for _ in range(n):
        item_id = f"i{rng.integers(1_500)}"
        yield item_id, None if rng.random() < 0.3 else _unit(rng)[0]


def test_the_matrix_follows_each_update_and_cosines_do_not_depend_on_rows() -> None:
    rng = np.random.default_rng(0)
    embeddings, said = ItemEmbeddings(N_NUMBERS), dict[str, NDArray[np.float32]]()
    for item_id, vector in _updates(rng, 6_000):
        if vector is None:
            embeddings.remove(item_id)
            said.pop(item_id, None)
        else:
            embeddings.put(item_id, vector)
            said[item_id] = vector
    again = ItemEmbeddings(N_NUMBERS)
    for item_id in sorted(said):
        again.put(item_id, said[item_id])
    profile = np.zeros(16, dtype=np.float32)
    profile[:N_NUMBERS] = _unit(rng)[0]
    by_key = []
    for each in (embeddings, again):
        cosines = each.cosines(profile)
        there = cosines > -np.inf
        by_key.append(dict(zip(each.keys[there].tolist(), cosines[there].tolist(), strict=True)))
    assert by_key[0] == by_key[1]
    ids = list(said)
    expected = [float(said[item_id] @ profile[:N_NUMBERS]) for item_id in ids]
    found = [by_key[0][key] for key in keys_of(ids).tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert len(embeddings) == len(by_key[0]) == len(said)
    vectors, known = embeddings.of(keys_of(["nobody", ids[0]]))
    assert known.tolist() == [False, True]
    np.testing.assert_array_equal(vectors[1, :N_NUMBERS], said[ids[0]])
    assert not vectors[0].any()


def test_items_with_embeddings_are_bounded() -> None:
    embeddings, vector = ItemEmbeddings(2, items_max=2), np.array([0.0, 1.0], dtype=np.float32)
    for item_id in "abcd":
        embeddings.put(item_id, vector)
    assert (len(embeddings), embeddings.rows.n_refused) == (2, 2)
    with pytest.raises(ValueError, match="an embedding of 3 numbers, where each has 2; give"):
        embeddings.put("a", np.ones(3, dtype=np.float32))


def test_a_profile_is_the_direction_of_the_decayed_sum() -> None:
    vectors = np.eye(8, dtype=np.float32)[:3]
    ts_ms = np.array([10 * HOUR_MS, 8 * HOUR_MS, 20 * HOUR_MS])
    found = content_profile(vectors, ts_ms, np.array([1.0, -0.5, 0.0]), HOUR_MS)
    expected = np.array([1.0, -0.5 / 4, 0.0])  # two half-lives before the newest with a reward
    np.testing.assert_allclose(found[:3], expected / np.linalg.norm(expected), rtol=1e-6)
    assert not found[3:].any()
    cancelled = content_profile(vectors[[0, 0]], ts_ms[[0, 0]], np.array([1.0, -1.0]), HOUR_MS)
    assert not cancelled.any()
    nothing = content_profile(vectors[:0], ts_ms[:0], np.zeros(0), HOUR_MS)
    assert not nothing.any()


def test_the_item_most_alike_is_the_nearest_of_those_that_speak() -> None:
    rng = np.random.default_rng(2)
    last, wanted = np.zeros((6, 16), dtype=np.float32), np.zeros((20, 16), dtype=np.float32)
    last[:, :N_NUMBERS], wanted[:, :N_NUMBERS] = _unit(rng, 6), _unit(rng, 20)
    wanted[19] = 0
    speaks = np.array([True, False, True, True, False, True])
    cosines = np.where(speaks, wanted @ last.T, -1.0)
    expected = np.where(cosines.max(axis=1) > 0, cosines.argmax(axis=1), -1)
    assert most_alike(last, speaks, wanted).tolist() == expected.tolist()
    assert expected[19] == -1


def test_messages_with_embeddings_are_small_in_memory(shop: LiveSystem) -> None:
    """The catalogue keeps float32, and gives numbers as they were published."""
    item = shop.scorer.catalogue.get("i0")
    assert item is not None
    assert item.embedding is None
    published = shop.scorer.catalogue.published("i0")
    assert published is not None
    assert published.embedding is not None
    np.testing.assert_allclose(published.embedding, _vector("i0", 0), rtol=1e-6)
    assert len(encode(published)) < 300
