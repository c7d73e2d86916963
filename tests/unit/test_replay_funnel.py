"""The live system as a model of an experiment: it ranks as it would serve, whatever crashes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.testing import assert_array_equal

from streamer.config import Config, FeatureConfig
from streamer.config.specs import parse_specs
from streamer.errors import ConfigError
from streamer.events import Event, Item, Request, User
from streamer.replay.experiment import Experiment
from streamer.replay.funnel_model import FunnelModel, funnel_config
from streamer.replay.interactions import UNKNOWN, Interaction
from streamer.replay.knobs import Knobs
from streamer.replay.models import build_model
from streamer.replay.result import encoded, result_of
from streamer.replay.settings import Settings
from streamer.simulation.live import LiveSystem
from tests.scoring import TWO_CHANNELS
from tests.unit.replay_logs import DAY_MS, MemoryLog, event, means, random_log, replayed

TIMINGS = ("elapsed_s", "events_per_s")
FUNNEL = "funnel:mf.factors=8,learner.dedup_window=200"
LOG = random_log(160, seed=5, same_times=True)


def found(knobs: Knobs, *, seed: int = 0, model: str = FUNNEL) -> Any:
    """The JSON of a replay, without timings and without the knobs themselves."""
    settings = Settings(positives="value>=3", knobs=knobs, seed=seed)
    outcome = Experiment(LOG, parse_specs([model]), settings, config=Config()).run()
    result = without_timings(json.loads(encoded(result_of(outcome))))
    del result["configuration"]
    return result


def funnel(changes: Mapping[str, object]) -> str:
    """A funnel of two channels, with changes."""
    flags = {**TWO_CHANNELS, **changes}
    return "funnel:" + ",".join(f"{name}={value}" for name, value in flags.items())


def without_timings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_timings(each) for key, each in value.items() if key not in TIMINGS}
    return value


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_same_log_seed_and_settings_give_the_same_json(partitions: int) -> None:
    knobs = Knobs(partitions=partitions)
    first = found(knobs)
    assert found(knobs) == first
    assert found(knobs, seed=1)["metrics"] != first["metrics"]


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("interval_ms", [0, 10 * DAY_MS])
def test_losing_learners_changes_nothing(partitions: int, interval_ms: int) -> None:
    knobs = {"partitions": partitions, "sync_interval_ms": interval_ms}
    assert found(Knobs(**knobs, crash_every=7)) == found(Knobs(**knobs))


def test_an_exploring_policy_is_the_same_every_time() -> None:
    explores = "funnel:bandit.policy=epsilon-greedy,bandit.uniform_share=0.5"
    first = found(Knobs(), model=explores)
    assert found(Knobs(), model=explores) == first
    assert first["metrics"][explores]["recall@10"] > 0


def test_stale_parameters_rank_otherwise() -> None:
    fresh, stale = (found(Knobs(sync_interval_ms=ms))["metrics"][FUNNEL] for ms in (0, 30 * DAY_MS))
    assert stale["recall@10"] < fresh["recall@10"]


def learn(
    model: FunnelModel,
    events: Sequence[Event],
    rows: Sequence[tuple[int, int]],
    *,
    items: Sequence[Item | None] = (),
) -> None:
    known = items or [None] * len(events)
    for number, (each, (user, row), item) in enumerate(zip(events, rows, known, strict=True)):
        model.learn(
            Interaction(
                number=number, event=each, user_row=user, item_row=row, reward=1.0, item=item
            )
        )


def test_it_ranks_what_the_live_system_would_serve() -> None:
    """Asked the same way, a system that is fed by hand serves the slate that leads the ranking."""
    config = funnel_config(Config(), {"mf.factors": "8"}, seed=3, n_partitions=1)
    model = FunnelModel(config, k=5)
    events = list(random_log(200, seed=6).events())
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    rows = [
        (
            users.setdefault(each.user_id, len(users)),
            items.setdefault(each.item_id, len(items)),
        )
        for each in events
    ]
    live = LiveSystem(config, start_ms=events[0].ts, sync_interval_ms=0)
    now_ms = events[-1].ts
    for at in range(0, 200, 20):
        learn(model, events[at : at + 20], rows[at : at + 20])
        model.sync(events[at + 19].ts)
        live.clock.set(events[at + 19].ts)
        live.publish(*events[at : at + 20])
        live.sync()
    for user_id, user_row in users.items():
        served = [items[item_id] for item_id in live.request(user_id, k=5).item_ids]
        scores = model.score(user_row, now_ms, len(items))
        assert np.argsort(-scores, kind="stable")[: len(served)].tolist() == served
        assert (scores > -np.inf).sum() > len(served) == 5


@pytest.mark.parametrize("ranker", ["blend", "bandit"])
def test_its_logits_are_those_of_the_blend(ranker: str) -> None:
    config = funnel_config(Config(), {"funnel.ranker": ranker}, seed=3, n_partitions=1)
    model = FunnelModel(config, k=2)
    n = 12
    events = [event(f"u{at}", f"i{at % 6}", at) for at in range(n)]
    learn(model, events, [(at, at % 6) for at in range(n)])
    model.sync(n)
    scores = model.score(0, n, 6)
    logits = model.logits()
    assert logits is not None
    assert ((logits > -np.inf) == (scores > -np.inf)).all()
    assert logits[0] == -np.inf, "it was consumed"
    if ranker == "blend":  # which expects the shares, below the two that are served
        shares = np.exp(logits) / np.exp(logits).sum()
        below = np.argsort(-scores)[2:5]
        assert scores[below] == pytest.approx(shares[below])


def test_without_a_blend_it_predicts_no_shares() -> None:
    flags = {"recall.blend.weight": "0"}
    model = FunnelModel(funnel_config(Config(), flags, seed=0, n_partitions=1))
    learn(model, [event("a", "x", 5), event("b", "y", 6)], [(0, 0), (1, 1)])
    model.sync(7)
    assert model.score(0, 7, 2)[1] > -np.inf
    assert model.logits() is None


def test_configured_features_recall_in_replay_too() -> None:
    """What has risen of late is recalled, though it is neither of the user nor the most popular."""
    counted = {"rising": FeatureConfig(numerator="rating", window="1d")}
    base = Config(features=counted)
    few = {
        **{name: str(value) for name, value in TWO_CHANNELS.items()},
        "recall.trending.candidates": "1",
        "recall.trending_feature.candidates": "1",
        "recall.mf.candidates": "0",
        "mf.factors": "8",
    }

    def recalled(**more: str) -> set[int]:
        config = funnel_config(base, few | more, seed=3, n_partitions=1)
        assert config.features == counted
        model = FunnelModel(config, k=1)
        days = [("old", 0)] * 5 + [("new", 3)] * 2 + [("last", 5)]
        events = [
            event(f"u{number}", item, DAY_MS * day) for number, (item, day) in enumerate(days)
        ]
        rows = {"old": 0, "new": 1, "last": 2}
        learn(model, events, [(number, rows[each.item_id]) for number, each in enumerate(events)])
        model.sync(DAY_MS * 5)
        return set(np.flatnonzero(model.score(UNKNOWN, DAY_MS * 4, 3) > -np.inf).tolist())

    with_rising = recalled(**{"recall.trending_feature.feature": "rising"})
    assert with_rising > recalled()
    assert 1 in with_rising


def test_scoring_changes_nothing() -> None:
    config = funnel_config(Config(), {}, seed=0, n_partitions=1)
    model = FunnelModel(config)
    learn(model, [event("a", "x", 5), event("b", "y", 6)], [(0, 0), (1, 1)])
    assert model.score(UNKNOWN, 7, 2).tolist() == [-np.inf, -np.inf], "nothing is synced yet"
    model.sync(7)
    first = model.score(0, 7, 2).copy()
    assert first[0] == -np.inf, "it was consumed"
    assert first[1] > -np.inf
    model.score(UNKNOWN, 7, 2)
    assert model.score(0, 7, 2).tolist() == first.tolist()


def test_an_item_met_before_the_date_in_the_catalogue_is_out_when_it_is_met() -> None:
    config = funnel_config(Config(), TWO_CHANNELS, seed=0, n_partitions=1)
    model = FunnelModel(config)
    events = [event("a", "x", DAY_MS), event("b", "y", 2 * DAY_MS)]
    rows = [(0, 0), (1, 1)]
    learn(model, events, rows, items=[Item(item_id=each, created_ts=9 * DAY_MS) for each in "xy"])
    model.sync(2 * DAY_MS)
    assert (model.score(UNKNOWN, 2 * DAY_MS, 2) > -np.inf).all()
    live = model.live
    assert live is not None
    request = Request(request_id="q", user_id="new", ts=2 * DAY_MS, list_name="latest")
    scorer = live.scorer
    listed = scorer.variants.of("new").recommend(
        request, scorer.replica.current(), scorer.catalogue
    )
    assert listed.item_ids == ["y", "x"]
    live.publish(Item(item_id="x", created_ts=3 * DAY_MS))
    live.sync()
    assert (model.score(UNKNOWN, 2 * DAY_MS, 2) > -np.inf).tolist() == [False, True]
    assert (model.score(UNKNOWN, 3 * DAY_MS, 2) > -np.inf).all()


def test_an_item_that_is_not_available_today_was_when_it_was_met() -> None:
    events = [event(f"u{n}", f"i{n % 7}", n * DAY_MS) for n in range(60)]
    dated = [Item(item_id=f"i{n}", created_ts=n) for n in range(7)]
    today = [replace(item, available=n % 2 == 0) for n, item in enumerate(dated)]
    replays = [
        Experiment(
            MemoryLog(events, items),
            parse_specs([models]),
            Settings(positives="value>=5"),
            config=Config(),
        ).run()
        for items, models in ((dated, "funnel"), (today, "funnel"), (today, "popularity"))
    ]
    assert means(replays[0]) == means(replays[1])
    said = [" ".join(each.log.remarks()) for each in replays]
    assert said[0] == said[2] == ""
    assert "3 items of the catalogue are not available on its day: the funnel takes" in said[1]


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ("user.cuntry == 'x'", "user.cuntry, which no user has (did you mean user.country?)"),
        ("user.vip", "user.vip, which no user has"),
        ("user.country == 'x'", None),
        ("request.context.kids", "request.context.kids, which no request of a replay has: a"),
        ("request.surface == 'home'", "request.surface, which no request of a replay has: a"),
        ("request.user_id == 'u1'", None),
    ],
)
def test_a_rule_that_reads_what_no_user_or_request_of_a_replay_has_is_said(
    read: str, said: str | None
) -> None:
    users = [User(user_id="u1", attributes={"country": "x"})]
    log = MemoryLog([event(f"u{n}", f"i{n % 7}", n * DAY_MS) for n in range(30)], users=users)
    settings = Settings(positives="value>=5", keys={"rules.some.exclude": read})
    experiment = Experiment(log, parse_specs(["funnel"]), settings, config=Config())
    remarks = [each for each in experiment.run().log.remarks() if "reads" in each]
    assert len(remarks) == (said is not None)
    assert said is None or remarks[0].startswith(f"rules.some.exclude reads {said}")


def test_a_rule_that_reads_what_no_item_has_is_said() -> None:
    priced = [Item(item_id=f"i{n}", attributes={"price": n}) for n in range(7)]
    log = MemoryLog([event(f"u{n}", f"i{n % 7}", n * DAY_MS) for n in range(30)], priced)
    rule = "rules.dear.exclude"
    remarks = [
        Experiment(
            log,
            parse_specs([model]),
            Settings(positives="value>=5", keys={rule: f"item.attributes.{field} > 5"}),
            config=Config(),
        )
        .run()
        .log.remarks()
        for model, field in (("funnel", "prise"), ("funnel", "price"))
    ]
    (said,), nothing = map(list, remarks)
    asked = "did you mean item.attributes.price?"
    assert said == f"{rule} reads item.attributes.prise, which no item has ({asked})"
    assert nothing == []


def test_what_is_published_of_an_item_after_it_was_met_counts() -> None:
    model = FunnelModel(funnel_config(Config(), TWO_CHANNELS, seed=0, n_partitions=1))
    events = [event("a", "x", DAY_MS), event("b", "y", 2 * DAY_MS)]
    gone = [Item(item_id=each, title="T", created_ts=3, available=False) for each in "xy"]
    learn(model, events, [(0, 0), (1, 1)], items=gone)
    model.sync(2 * DAY_MS)
    assert (model.score(UNKNOWN, 2 * DAY_MS, 2) > -np.inf).all()
    live = model.live
    assert live is not None
    live.publish(gone[0])
    live.sync()
    assert (model.score(UNKNOWN, 2 * DAY_MS, 2) > -np.inf).tolist() == [False, True]


def test_a_target_that_is_not_recalled_is_a_miss() -> None:
    log = MemoryLog(
        [event(f"u{n}", f"i{n % 30}", n * DAY_MS) for n in range(60)]
        + [event("late", "i7", 61 * DAY_MS)]
    )
    narrow = funnel({"recall.mf.candidates": 0, "recall.trending.candidates": 1})
    settings = Settings(positives="value>=5", warmup=0.99, k=3)
    for model, ranked in (("funnel", True), (narrow, False)):
        outcome = replayed(log, model, settings)
        assert outcome.tally.n_scored == 1
        assert (means(outcome)["mrr"] > 0) is ranked


def test_a_slate_is_all_that_is_served() -> None:
    """What was consumed before the history begins is served again, and takes a place."""
    popular = [event(f"v{n}", f"i{n % 3}", n) for n in range(30)]
    consumed = [event("u", item, 30 + n) for n, item in enumerate(["i0", "i1", "i2", "z"])]
    less = [event(f"w{n}", "j", 34 + n) for n in range(3)]
    log = MemoryLog([*popular, *consumed, *less, event("u", "j", 40)])
    forgets = funnel({"mf.history": 1, "recall.mf.candidates": 0, "recall.mf.weight": 0})
    settings = Settings(positives="value>=5", warmup=0.99, k=2)
    assert means(replayed(log, forgets, settings))["mrr"] == 1
    assert means(replayed(log, forgets, replace(settings, served=True)))["mrr"] == 0
    with pytest.raises(ConfigError, match="serves no slates"):
        build_model(parse_specs(["popularity"])[0], task="topk", seed=0, served=True)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("funnel:mf.factors=none", "mf.factors"),
        ("funnel:kafka.group=x", "no parameter of funnel"),
        ("funnel:factors=3", "no parameter of funnel"),
    ],
)
def test_what_no_funnel_can_be_is_refused(model: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build_model(parse_specs([model])[0], task="topk", seed=0)
    with pytest.raises(ConfigError, match="can't do --task rating"):
        build_model(parse_specs(["funnel"])[0], task="rating", seed=0)


def log_of_two_kinds(*users: User) -> MemoryLog:
    """Everybody takes tea; ``eve``, who comes last, takes a cake that few have met."""
    items = [
        Item(item_id=f"{kind}{n}", categories=[kind]) for kind in ("tea", "cake") for n in range(12)
    ]
    takes = [(f"u{n}", f"tea{n % 12}") for n in range(60)]
    takes[5:5] = [(f"v{n}", f"cake{n}") for n in range(12)]
    events = [event(user, item, n * DAY_MS) for n, (user, item) in enumerate(takes)]
    return MemoryLog([*events, event("eve", "cake7", 80 * DAY_MS)], items, users)


@pytest.mark.parametrize(
    ("said_ms", "sync_interval_ms", "counts"),
    [
        (None, 0, True),
        (80 * DAY_MS, 0, True),
        (81 * DAY_MS, 0, False),  # after the event
        (None, 30 * DAY_MS, False),  # the scorer has not heard of it yet
    ],
)
def test_what_a_new_user_chose_counts_from_the_first_event_on(
    said_ms: int | None, sync_interval_ms: int, counts: bool
) -> None:
    eve = User(user_id="eve", categories=["cake"], ts=said_ms)
    settings = Settings(
        positives="value>=5", warmup=0.98, k=5, knobs=Knobs(sync_interval_ms=sync_interval_ms)
    )
    unknown, known = (
        means(replayed(log, "funnel", settings))
        for log in (log_of_two_kinds(), log_of_two_kinds(eve))
    )
    assert (known["mrr"] > unknown["mrr"]) is counts
    if not counts:
        assert known == unknown


def test_what_a_user_says_is_learned_before_the_events_after_it() -> None:
    """However many events one round has: a learner reads what users say behind all of them."""
    log = random_log(160, seed=4, n_users=8)
    items = {item.item_id: item for item in log.items()}
    events = [replace(each, value=5.0) for each in log.events()]  # each practises
    users, rows = dict[str, int](), dict[str, int]()
    config = funnel_config(Config(), {"mf.factors": "8"}, seed=3, n_partitions=1)
    logits = []
    for asks in (False, True):
        model = FunnelModel(config, k=3)
        for number, each in enumerate(events):
            at = (
                users.setdefault(each.user_id, len(users)),
                rows.setdefault(each.item_id, len(rows)),
            )
            if number == 60:
                model.described(at[0], User(user_id=each.user_id, categories=["c1"]), each.ts)
            learn(model, [each], [at], items=[items[each.item_id]])
            model.sync(each.ts)
            if asks and number in (59, 60):  # and so has what came before learned
                model.score(UNKNOWN, each.ts, len(rows))
        model.score(0, events[-1].ts, len(rows))
        logits.append(model.logits())
    assert logits[0] is not None
    assert_array_equal(logits[0], logits[1])


def test_windowed_features_are_computed_where_a_ranking_depends_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a greedy bandit that knows its prior alone none does."""
    computed: list[bool] = []

    class Noted(LiveSystem):
        def __init__(self, *given: Any, computes_windows: bool, **named: Any) -> None:
            computed.append(computes_windows)
            super().__init__(*given, computes_windows=computes_windows, **named)

    monkeypatch.setattr("streamer.replay.funnel_model.LiveSystem", Noted)
    without = found(Knobs())
    monkeypatch.setattr("streamer.replay.funnel_model._reads_windows", lambda config: True)
    assert found(Knobs()) == without
    monkeypatch.undo()
    monkeypatch.setattr("streamer.replay.funnel_model.LiveSystem", Noted)
    found(Knobs(), model=f"{FUNNEL},bandit.policy=linear-thompson")
    trending = "recall.trending_feature.candidates=5,recall.trending_feature.feature=item_users_1h"
    found(Knobs(), model=f"{FUNNEL},{trending}")
    assert computed == [False, True, True, True]
