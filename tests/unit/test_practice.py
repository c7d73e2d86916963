"""Practising: the learner sees what a scorer would, and where its steps end changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from streamer.config import Config, load_config
from streamer.events import Event, Item, Request
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.practice.own_tables import OwnTables
from streamer.learner.practice.practice import Practice, Practised
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import request_context
from streamer.ranking.recall.again import comes_again
from streamer.ranking.recall.blend import BlendChannel
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer.ranking.recall.registry import channels_on
from streamer.ranking.recall.union import union
from streamer.simulation.live import LiveSystem
from streamer.testing.contents import snapshot
from streamer_models.ranking.blend import ListwiseBlend
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_models.state.items.item_tokens import ItemTokens
from streamer_models.state.model import model_of
from streamer_models.state.partition import PartitionState
from tests.verified_store import verified_store

START_MS = 1_700_000_000_000
N_USERS = 25


def _config(**flags: object) -> Config:
    small = {
        "topics.partitions": 1,
        "recall.popular.candidates": 8,
        "recall.similar.candidates": 8,
        "recall.similar.neighbours": 6,
        "recall.next.candidates": 8,
        "recall.next.neighbours": 4,
        "recall.session.factors": 8,
        "recall.blend.window": 8,
        "mf.history": 12,
    }
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(env={}, flags={**small, **given})


def _events(n: int, seed: int = 0) -> list[Event]:
    rng = np.random.default_rng(seed)
    types = rng.choice(["click", "like", "dislike"], n, p=[0.6, 0.3, 0.1])
    at_ms = START_MS + np.cumsum(rng.integers(0, 600_000, n))
    users, items = rng.integers(0, N_USERS, n), (60 * rng.random(n) ** 2).astype(int)
    return [
        Event(
            event_id=f"e{i}",
            type=str(types[i]),
            user_id=f"u{users[i]}",
            item_id=f"i{(items[i] + 20 * (users[i] % 3)) % 60}",
            ts=int(at_ms[i]),
        )
        for i in range(n)
    ]


def _catalogue(shift: int = 0) -> list[Item]:
    """Kinds and years of two in three items."""
    return [
        Item(
            item_id=f"i{n}",
            categories=[f"kind {(n + shift) % 20}", f"kind {(n + shift) % 7}"],
            attributes={"year": 1950 + (n + shift) % 60},
            embedding=np.random.default_rng((n + shift) % 20).normal(size=5).tolist(),
        )
        for n in range(60)
        if n % 3
    ]


def _learned(
    config: Config, events: Sequence[Event], cuts: Sequence[int], *, crashes: bool = False
) -> LiveSystem:
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    live.publish(*_catalogue())
    start = 0
    for end in [*cuts, len(events)]:
        live.publish(*events[start:end])
        live.sync()
        if crashes and end < len(events):
            live.crash()
        start = end
    return live


def _state(live: LiveSystem, partition: int = 0) -> PartitionState:
    return live._learner._owned[partition].state


def _problems(live: LiveSystem) -> list[str]:
    found = verified_store(live)
    return found.problems + found.unchecked


def _n_steps(live: LiveSystem, partition: int = 0) -> int:
    state = _state(live, partition)
    blend = model_of(live._models, ListwiseBlend)
    assert blend is not None
    return blend.n_steps(state)


@pytest.mark.parametrize("bounds", [{}, {"learner.items_max": 24, "learner.users_max": 15}])
def test_where_steps_end_and_crashes_change_nothing(bounds: dict[str, int]) -> None:
    config, events = _config(**bounds), _events(400)
    whole = _learned(config, events, [])
    assert _n_steps(whole) > 40
    expected = snapshot(_state(whole))
    for cuts, crashes in ((range(1, 400), False), ([37, 38, 200, 301], False), ([90, 91], True)):
        found = snapshot(_state(_learned(config, events, cuts, crashes=crashes)))
        assert found.keys() == expected.keys()
        for name, rows in expected.items():
            assert found[name] == rows, name


@pytest.mark.parametrize(
    ("n_partitions", "given"),
    [
        (1, {}),
        (3, {}),
        (3, {"recall__again__candidates": 50, "recall__again__after_s": 2_000.0}),
        (3, {"mf__history": 3, "mf__seen": 20, "recall__session__length": 3}),
        (3, {"catalogue__embedding": 5, "recall__content__candidates": 8}),
    ],
)
def test_the_learner_sees_what_the_scorer_would_to_the_bit(
    n_partitions: int, given: dict[str, float]
) -> None:
    config = _config(topics__partitions=n_partitions, **given)
    live = _learned(config, _events(500), [100, 333])
    practice, channels = Practice(config), channels_on(config)
    (blend,) = (each for each in channels if isinstance(each, BlendChannel))
    measuring = [each for each in channels if isinstance(each, MeasuringChannel)]
    version, n_compared = live.scorer.replica.current(), 0
    of_items = live._learner._catalogue.inputs
    assert len(of_items.item_tokens) == 40
    for user in range(N_USERS):
        for partition in range(n_partitions):
            state = _state(live, partition)
            slot = state.users.find(f"u{user}")
            if slot < 0:
                continue
            at_ms = version.watermark_ms + 1_000_000 * user
            asked = practice.asked(slot, at_ms, OwnTables(state), state, of_items)
            mine = practice.candidates(asked)
            request = Request(request_id="r", user_id=f"u{user}", ts=at_ms)
            context = request_context(
                request, version, live.scorer.catalogue, comes_again=comes_again(config)
            )
            allowed = context.items.live.copy()
            allowed[context.item_rows(context.excluded())] = False
            brought = [
                each.recall(context, allowed, each.settings.candidates) for each in measuring
            ]
            theirs = union(context, brought)
            # What nobody met yet stands behind the others, and can't be practised.
            n = len(theirs.rows)
            np.testing.assert_array_equal(mine.keys, theirs.keys[:n])
            np.testing.assert_array_equal(mine.places, theirs.places[:, :n])
            measured = blend.measured(context, theirs)
            np.testing.assert_array_equal(blend.measured(asked, mine), measured[:n])
            np.testing.assert_array_equal(blend.who(asked), blend.who(context))
            n_compared += len(mine)
    assert n_compared > 200


def test_a_share_of_positive_events_practises() -> None:
    events = _events(400)
    n_positive = sum(event.type != "dislike" for event in events)
    assert _n_steps(_learned(_config(practice__share=0.0), events, [])) == 0
    some = _n_steps(_learned(_config(practice__share=0.3), events, []))
    every = _n_steps(_learned(_config(), events, []))
    assert 0.15 * every < some < 0.45 * every < 0.45 * n_positive


def test_an_event_of_half_a_reward_practises_one_time_in_four() -> None:
    full = [msgspec.structs.replace(each, type="rating", value=5.0) for each in _events(400)]
    half = [msgspec.structs.replace(each, value=3.75) for each in full]
    every, some = (_n_steps(_learned(_config(), events, [])) for events in (full, half))
    assert 0.15 * every < some < 0.35 * every


def test_an_event_that_names_a_request_answers_its_slate_and_does_not_practise() -> None:
    events = _events(400)
    named = [msgspec.structs.replace(each, request_id=f"r{i % 3}") for i, each in enumerate(events)]
    half = [*named[:200], *events[200:]]

    def n_steps(given: Sequence[Event], *, asks: bool = True, **flags: object) -> int:
        live = LiveSystem(_config(**flags), start_ms=START_MS, sync_interval_ms=0)
        if asks:
            live.request("u0")
        live.publish(*given)
        live.sync()
        return _n_steps(live)

    every, some = n_steps(events), n_steps(half)
    assert 0 < some < every
    assert n_steps(named) == 0
    assert n_steps(named, recall__blend__answers=False) == every
    # Before anything was recommended here, they answer slates of something else.
    assert n_steps(named, asks=False) == every


def test_an_event_does_not_see_itself() -> None:
    """The first event of all has no candidates, and an item nobody met before is none."""
    live = _learned(_config(), _events(1), [])
    assert _n_steps(live) == 0


def test_without_the_blend_nothing_practises() -> None:
    live = _learned(_config(recall__blend__weight=0.0), _events(50), [])
    assert model_of(live._models, ListwiseBlend) is None


def test_the_share_of_each_commit_is_recorded_and_executed_again() -> None:
    """A learner whose share changes from batch to batch is verified commit by commit."""
    config = _config(topics__partitions=2)
    shares = iter([1.0, 0.25, 0.0, 0.5] * 100)
    live = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)
    practice = live._learner._practice
    assert practice is not None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(practice, "share", lambda n_events, state: next(shares))
        for start in range(0, 400, 40):
            live.publish(*_events(400)[start : start + 40])
            live.sync()
    recorded = {entry.practice_share for p in (0, 1) for entry in live.store.schedule(p)}
    assert recorded == {1.0, 0.25, 0.0, 0.5}
    assert _problems(live) == []


def test_the_catalogue_of_each_commit_is_recorded_and_executed_again() -> None:
    """What the catalogue says changes between the steps that learn from it."""
    config, events = _config(topics__partitions=2, catalogue__embedding=5), _events(400)
    live = _learned(config, events[:100], [50])
    for number, start in enumerate(range(100, 400, 100), 1):
        live.publish(*_catalogue(number))
        live.publish(*events[start : start + 100])
        live.sync()
    recorded = {entry.catalogue.get(0) for p in (0, 1) for entry in live.store.schedule(p)}
    assert recorded == {40, 80, 120, 160}
    assert _problems(live) == []
    tables = _state(live).shared.tables
    assert tables["session_tokens"].values.any()
    assert tables["token_counts"].values.any()
    # What is executed with another catalogue gives other parameters.
    for kind in (ItemTokens, ItemEmbeddings):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(kind, "put", lambda *arguments: None)
            assert verified_store(live).problems


def test_what_a_compacted_catalogue_no_longer_says_is_not_taken_for_damage() -> None:
    config, events = _config(topics__partitions=2), _events(200)
    live = _learned(config, events[:100], [50])
    live.publish(*_catalogue(1))
    live.publish(*events[100:])
    live.sync()
    gone = verified_store(live, without={("items", at) for at in range(40)})
    assert gone.problems == []
    assert len(gone.unchecked) >= 2
    assert all("items no longer has 40 of the messages" in each for each in gone.unchecked)


def test_a_partitions_first_steps_are_taken_whatever_they_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = _learned(_config(), _events(400), [])
    n_steps, state = _n_steps(live), _state(live)
    budget = PracticeBudget(1.0, 0.0, CollectorRegistry(), clock=lambda: 0.0)
    budget.spent(10.0, 1)  # nothing is left, and nothing comes
    practice = Practice(_config(), budget=budget)
    monkeypatch.setattr("streamer.learner.practice.practice._FIRST_STEPS", n_steps + 30)
    assert practice.share(10, state) == 1.0
    assert practice.share(300, state) == pytest.approx(0.1)
    monkeypatch.setattr("streamer.learner.practice.practice._FIRST_STEPS", n_steps)
    assert practice.share(10, state) == 0.0
    none = Practice(_config(practice__share=0.0), budget=budget)
    monkeypatch.setattr("streamer.learner.practice.practice._FIRST_STEPS", n_steps + 30)
    assert none.share(10, state) == 0.0


class _Spent(PracticeBudget):
    """A budget that pays for nothing, and keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(1.0, 0.0, CollectorRegistry(), clock=lambda: 0.0)
        self.told: list[tuple[float, int]] = []
        super().spent(10.0, 1)

    def spent(self, seconds: float, n_events: int) -> None:
        self.told.append((seconds, n_events))


def _budgeted(config: Config) -> tuple[LiveSystem, _Spent]:
    """A system whose learner has a budget that pays for nothing."""
    live, budget = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0), _Spent()
    live._learner._practice = Practice(config, budget=budget)
    return live, budget


def test_first_events_that_teach_nothing_practise_no_longer_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of items that nobody met before: none is among the candidates, so none is a step."""
    monkeypatch.setattr("streamer.learner.practice.practice._FIRST_STEPS", 60)
    live, budget = _budgeted(_config())
    for start in range(0, 200, 40):
        live.publish(
            *(
                Event(event_id=f"e{i}", type="click", user_id="u", item_id=f"i{i}", ts=START_MS + i)
                for i in range(start, start + 40)
            )
        )
        live.sync()
    assert 60 <= sum(n for _, n in budget.told) <= 65
    assert _n_steps(live) == 0


def test_a_budget_pays_for_practising_and_not_for_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a second later: between two of them something was practised."""
    monkeypatch.setattr(
        "streamer.learner.practice.practice.perf_counter", itertools.count().__next__
    )
    live, budget = _budgeted(_config())
    live.publish(*_events(100))
    live.sync()
    ((seconds, n_events),) = budget.told
    assert seconds == n_events > 20


def test_what_could_not_be_recommended_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    events = _events(200)
    live = _learned(_config(), events, [])
    looked: list[int] = []
    candidates = Practice.candidates

    def counted(self: Practice, asked: Practised) -> Candidates:
        looked.append(asked.user_row)
        return candidates(self, asked)

    monkeypatch.setattr(Practice, "candidates", counted)
    n_steps, click = _n_steps(live), next(each for each in events if each.type == "click")
    live.publish(msgspec.structs.replace(click, event_id="again"))
    live.sync()
    assert looked == []
    assert _n_steps(live) == n_steps
    live.publish(msgspec.structs.replace(click, event_id="another's", user_id="somebody"))
    live.sync()
    assert len(looked) == 1
    assert _n_steps(live) == n_steps + 1
