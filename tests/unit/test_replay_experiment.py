"""Prequential evaluation against the protocol written down once more, as plainly as can be."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.config import Config
from streamer.config.specs import parse_specs
from streamer.errors import ConfigError, LearningError
from streamer.events import Event, Item
from streamer.replay.experiment import Experiment, Outcome
from streamer.replay.interactions import Interaction
from streamer.replay.knobs import Knobs
from streamer.replay.log import in_order, survey
from streamer.replay.model_kind import ModelKind
from streamer.replay.models import MODELS
from streamer.replay.rating_task import RatingTask
from streamer.replay.result import result_of
from streamer.replay.settings import Settings
from streamer.replay.topk_task import TopKTask
from streamer_producers.datasets import open_log
from tests.unit.replay_logs import DAY_MS, MemoryLog, event, means, random_log, replayed

SHARED = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[3] / "shared" / "data")
DATA = SHARED / "ml-latest-small"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}: see STREAMER_DATA")


# --- the protocol of top-k ------------------------------------------------------------------------


def popularity_by_hand(
    log: MemoryLog, settings: Settings, *, feedback_all: bool = False
) -> list[int | None]:
    """Rank of each scored target, ties against it; None for a first-seen item."""
    targets = [each for each in log.events() if each.value == 5]
    n_warmup = int(settings.warmup * len(targets))
    counts: Counter[str] = Counter()
    consumed: dict[str, set[str]] = {}
    ranks: list[int | None] = []
    n_targets = 0
    for each in log.events():
        of_user = consumed.setdefault(each.user_id, set())
        if each.value == 5:
            keep = settings.repeats == "keep"
            if n_targets >= n_warmup and (keep or each.item_id not in of_user):
                candidates = set(counts) if keep else set(counts) - of_user
                if each.item_id in candidates:
                    score = counts[each.item_id]
                    ranks.append(sum(counts[item] >= score for item in candidates) - 1)
                else:
                    ranks.append(None)
            n_targets += 1
        if each.value == 5 or feedback_all:
            counts[each.item_id] += 1
            of_user.add(each.item_id)
    return ranks


def scored(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """The ranks of each target that was scored, by its number."""
    found: dict[int, list[int]] = {}
    score = TopKTask.score

    def seen(task: TopKTask, each: Event, user: int, item: int, number: int) -> bool:
        was_scored = score(task, each, user, item, number)
        if was_scored:
            columns, row = task._block.next()
            found[number] = columns.ranks[row - 1].tolist()
        return was_scored

    monkeypatch.setattr(TopKTask, "score", seen)
    log = random_log(400, seed=3)
    specs = parse_specs(["popularity", "funnel:mf.factors=4"])
    Experiment(log, specs, settings, config=Config()).run()
    monkeypatch.undo()
    return found


def test_what_is_drawn_is_ranked_as_it_is_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = scored(Settings(positives="value>=3"), monkeypatch)
    drawn = scored(Settings(positives="value>=3", scored=0.3), monkeypatch)
    assert drawn == {number: all_of_them[number] for number in drawn}
    n, n_drawn = len(all_of_them), len(drawn)
    assert abs(n_drawn - 0.3 * n) < 4 * math.sqrt(n * 0.3 * 0.7)
    assert drawn != scored(Settings(positives="value>=3", scored=0.3, seed=1), monkeypatch)


@pytest.mark.parametrize("repeats", ["skip", "keep"])
@pytest.mark.parametrize("feedback", ["positives", "all"])
def test_ranks_are_those_of_the_protocol(repeats: str, feedback: str) -> None:
    log = random_log(1_500, seed=1)
    settings = Settings(
        positives="value>=5",
        k=5,
        rank_ties="against",
        repeats=repeats,  # type: ignore[arg-type]
        feedback=feedback,  # type: ignore[arg-type]
    )
    outcome = replayed(log, "popularity", settings)
    ranks = popularity_by_hand(log, settings, feedback_all=feedback == "all")
    found = means(outcome)
    places = [math.inf if rank is None else rank + 1 for rank in ranks]
    assert outcome.tally.n_scored == len(ranks)
    assert outcome.n_first_seen == ranks.count(None)
    assert "distance@5" not in found, "no item has an embedding"
    assert found["recall@5"] == pytest.approx(np.mean([place <= 5 for place in places]))
    assert found["mrr"] == pytest.approx(np.mean([1 / place for place in places]))
    assert found["ndcg@5"] == pytest.approx(
        np.mean([1 / math.log2(place + 1) if place <= 5 else 0 for place in places])
    )
    assert outcome.tally.n_scored + outcome.n_repeated == outcome.log.n_targets - int(
        0.3 * outcome.log.n_targets
    )
    assert (outcome.n_repeated == 0) == (repeats == "keep")


def test_a_small_log_by_hand() -> None:
    log = MemoryLog(
        [
            event("a", "x", 1),  # learned only: half of six
            event("b", "x", 2),
            event("b", "y", 3),
            event("c", "y", 4),  # x 2, y 1: the second
            event("a", "y", 5),  # x is consumed, y is the only candidate: the first
            event("a", "z", 6),  # never seen: a miss
        ],
        [
            Item(item_id="x", categories=["p"], embedding=[1.0, 0.0]),
            Item(item_id="y", categories=["p", "q"], embedding=[3.0, 4.0]),
            Item(item_id="z", embedding=[1.0]),  # of another length
        ],
    )
    outcome = replayed(log, "popularity", Settings(positives="value>=5", warmup=0.5, k=2))
    found = means(outcome)
    assert outcome.n_first_seen == 1
    assert found["recall@2"] == pytest.approx(2 / 3)
    assert found["ndcg@2"] == pytest.approx((1 / math.log2(3) + 1) / 3)
    assert found["mrr"] == pytest.approx(1.5 / 3)
    # Lists: x y for c, of 2 users (consumed by 2 and 1); y for a, of 3 users (by 2); then none.
    assert found["novelty@2"] == pytest.approx(((0 + 1) / 2 + math.log2(3 / 2)) / 2)
    assert found["diversity@2"] == pytest.approx(0.5)
    assert found["distance@2"] == pytest.approx(1 - 0.6)
    assert found["serendipity@2"] == 0
    assert found["precision@2"] == pytest.approx(found["recall@2"] / 2)
    # y stands below x, the only other; then it is alone, and z was never seen: no pair to order.
    assert found["auc"] == 0
    assert found["recalled"] == pytest.approx(2 / 3)
    assert "log_loss" not in found
    # c has consumed nothing. a: x, so all of p, against the half of p and of q in the list of y;
    # then x and y, so p and q at 3 to 1, against an empty list.
    assert found["calibration@2"] == pytest.approx(math.log(1 / (0.99 * 0.5 + 0.01)))
    assert isinstance(outcome.task, TopKTask)
    assert outcome.task.n_shown(0).tolist() == [1, 2, 0]


def test_gains_weigh_the_ndcg_where_the_log_has_some() -> None:
    log = MemoryLog(
        [
            event("a", "x", 1),  # learned only: half of four
            event("b", "y", 2),
            event("b", "x", 3, value=4.0),  # the only candidate: the first, worth 0.6
            event("c", "y", 4),  # x 2, y 1: the second, worth 1
        ]
    )
    settings = Settings(positives="value>=4", warmup=0.5, k=2)
    outcome = replayed(log, "popularity", settings)
    (found,) = result_of(outcome).metrics.values()
    assert found["ndcg@2"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert found["graded_ndcg@2"] == pytest.approx((0.6 + 1 / math.log2(3)) / 1.6)
    assert "gain" not in found
    alike = MemoryLog([replace(each, value=4.0) for each in log.events()])
    (found,) = result_of(replayed(alike, "popularity", settings)).metrics.values()
    assert "graded_ndcg@2" not in found


class Listwise:
    """Ranks item i by the logit -i; the second is no candidate."""

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
        self._logits = -np.arange(n_items, dtype=np.float64)
        self._logits[1:2] = -math.inf
        return self._logits

    def logits(self) -> NDArray[np.float64]:
        return self._logits

    def learn(self, interaction: Interaction) -> None:
        pass


def test_the_loss_of_a_choice_is_over_the_candidates_that_could_be_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODELS, "listwise", ModelKind(lambda *, seed: Listwise(), {}))
    learned = [event(user, f"i{at}", at) for at, user in enumerate("abcd")]
    scored = [event("a", "i2", 4), event("b", "i0", 5), event("c", "i1", 6)]
    settings = Settings(positives="value>=5", warmup=0.58)
    outcome = replayed(MemoryLog([*learned, *scored]), "listwise,popularity", settings)
    # a has met i0: i2 against i3. b has met i1: i0 against i2 and i3. i1 is no candidate.
    losses = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(-2) + math.exp(-3))]
    assert means(outcome)["log_loss"] == pytest.approx(sum(losses) / 2)
    assert means(outcome)["recalled"] == pytest.approx(2 / 3)
    # i2 is above i3 and i1; i0 above both others; i1 is below i0 and i3.
    assert means(outcome)["auc"] == pytest.approx(2 / 3)
    assert "log_loss" not in means(outcome, 1)
    late = replace(settings, knobs=Knobs(label_delay_ms=3))
    delayed = means(replayed(MemoryLog([*learned, *scored]), "listwise", late))
    # When a is asked i0 and i1 have come, when b is asked i2 too, when c is asked i3 too.
    assert delayed["recalled"] == pytest.approx(1 / 3)
    assert delayed["log_loss"] == pytest.approx(math.log(1 + math.exp(-2)))


@pytest.mark.parametrize(
    ("places", "n_scored"),
    [
        ([("u", "i")], 1),
        ([("u", f"i{n}") for n in range(5)], 5),
        ([(f"u{n}", "i") for n in range(5)], 5),
        ([("u", "i")] * 5, 5),
    ],
    ids=["one event", "one user", "one item", "one of both"],
)
@pytest.mark.parametrize("step_ms", [0, DAY_MS], ids=["at one time", "a day apart"])
def test_a_log_of_one_thing_has_defined_values_with_k_above_its_catalogue(
    places: list[tuple[str, str]], n_scored: int, step_ms: int
) -> None:
    log = MemoryLog([event(*each, at * step_ms) for at, each in enumerate(places)])
    outcome = replayed(log, "popularity", Settings(warmup=0.0, k=500, repeats="keep"))
    assert outcome.tally.n_scored == n_scored
    found = means(outcome)
    assert all(0.0 <= value <= 1.0 for value in found.values())


def test_other_feedback_is_seen_only_if_asked_for() -> None:
    log = MemoryLog([event("a", "x", 1, value=2.0), event("a", "x", 2), event("b", "x", 3)])
    positives = replayed(log, "popularity", Settings(positives="value>=5", warmup=0))
    assert (positives.tally.n_scored, positives.n_first_seen, positives.n_learned) == (2, 1, 2)
    seen = Settings(positives="value>=5", warmup=0, feedback="all")
    everything = replayed(log, "popularity", seen)
    assert (everything.tally.n_scored, everything.n_repeated, everything.n_learned) == (1, 1, 3)


def test_impressions_are_no_feedback_and_positives_default_to_rewards() -> None:
    log = MemoryLog(
        [
            event("a", "x", 1, kind="click", value=None),
            event("b", "x", 2, kind="impression", value=None),
            event("b", "y", 3, kind="rating", value=1.0),
            event("b", "x", 4, kind="click", value=None),
        ]
    )
    outcome = replayed(log, "popularity", Settings(warmup=0, feedback="all"))
    assert outcome.log.n_targets == 2
    assert outcome.n_learned == 3


def test_sampled_candidates_are_ranked_among_fewer() -> None:
    log = random_log(1_500, seed=2)
    everyone = replayed(log, "popularity")
    sampled = replayed(log, "popularity", Settings(positives="value>=5", n_sampled=5))
    assert sampled.tally.n_scored == everyone.tally.n_scored
    # Among six every target that was seen before is in a list of ten.
    n_hits = sampled.tally.n_scored - sampled.n_first_seen
    assert means(sampled)["recall@10"] == pytest.approx(n_hits / sampled.tally.n_scored)


def test_windows_and_groups_divide_what_was_scored() -> None:
    log = random_log(2_000, seed=3)
    for settings in (
        Settings(positives="value>=5", n_windows=7),
        Settings(positives="value>=5", window_ms=100 * DAY_MS),
    ):
        outcome = replayed(log, "popularity,item-cosine", settings)
        tally = outcome.tally
        assert len(outcome.windows) == tally.by_window.n_rows > 5
        for cells in (tally.by_window, tally.by_user):
            assert cells.sums().sum(axis=1) == pytest.approx(tally.total.sums()[:, 0])
        of_groups = tally.by_group.sums()
        assert of_groups[:, :2].sum(axis=1) == pytest.approx(tally.total.sums()[:, 0])
        assert of_groups[:, 2:].sum(axis=1) == pytest.approx(tally.total.sums()[:, 0])
        assert len(outcome.user_ids) == tally.by_user.n_rows
        assert all(window.from_ts <= window.to_ts for window in outcome.windows)
    spans = [window.to_ts - window.from_ts for window in outcome.windows]
    assert max(spans) < 100 * DAY_MS


def test_cold_is_what_has_few_consumptions() -> None:
    log = MemoryLog([event(f"u{at % 3}", f"i{at % 2}{at // 6}", at) for at in range(30)])
    outcome = replayed(log, "popularity", Settings(warmup=0, cold_below=4))
    # Each of three users has ten events, of which the first four find less than four before them.
    assert outcome.tally.group_sizes.tolist() == [12, 18, 30, 0]


def test_equal_times_are_shuffled_by_the_seed_alone() -> None:
    log = random_log(400, seed=4, same_times=True)
    in_file = list(log.events())
    assert list(in_order(log, "file", 0)) == in_file
    shuffled = list(in_order(log, "shuffle", 0))
    assert shuffled == list(in_order(log, "shuffle", 0))
    assert shuffled != in_file
    assert shuffled != list(in_order(log, "shuffle", 1))
    assert [each.ts for each in shuffled] == [each.ts for each in in_file]
    assert sorted(each.event_id for each in shuffled) == sorted(each.event_id for each in in_file)


def test_the_same_settings_give_the_same_values_and_another_seed_others() -> None:
    log = random_log(1_000, seed=5, same_times=True)
    models = "popularity,item-cosine,isgd,mf-softmax,mf-bpr,mf-logistic"

    def values(seed: int) -> list[float]:
        outcome = replayed(log, models, Settings(positives="value>=5", seed=seed))
        return [value for at in range(6) for value in means(outcome, at).values()]

    assert values(0) == values(0)
    assert values(0) != values(1)


def test_a_model_alone_is_the_model_among_others() -> None:
    log = random_log(800, seed=6)
    together = replayed(log, "popularity,mf-bpr,item-cosine")
    for at, name in enumerate(together.names):
        assert means(replayed(log, name)) == means(together, at)


def test_a_survey_knows_the_log_by_its_events() -> None:
    log = random_log(300, seed=7)
    found = survey(log, lambda each: each.value == 5)
    assert found.n_events == 300
    assert (found.value_min, found.value_max) == (5, 5)
    assert found.digest == survey(log, lambda each: True).digest
    events = list(log.events())
    assert found.digest != survey(MemoryLog(events[:-1]), lambda each: True).digest
    with pytest.raises(ConfigError, match="order of time"):
        survey(MemoryLog(events[::-1]), lambda each: True)
    with pytest.raises(ConfigError, match="none to score"):
        survey(log, lambda each: False)


def test_scores_that_are_not_numbers_stop_the_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
            return np.full(n_items, np.nan)

        def predict(self, user_row: int, item_row: int) -> float:
            return math.nan

        def learn(self, interaction: Interaction) -> None:
            pass

    monkeypatch.setitem(MODELS, "broken", ModelKind(lambda *, seed: Broken(), {}))
    with pytest.raises(LearningError, match=r"'broken'.*NaN"):
        replayed(random_log(50, seed=8), "broken")
    with pytest.raises(LearningError, match=r"'broken'.*NaN"):
        replayed(random_log(50, seed=8), "broken", Settings(task="rating", warmup=0))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"warmup": 1.0}, "warmup"),
        ({"scored": 0.0}, "scored 0.0 must be above 0 and at most 1"),
        ({"scored": 1.5}, "scored 1.5"),
        ({"k": 0}, "k is 0"),
        ({"n_sampled": 0}, "sampled:0"),
        ({"scale": (5.0, 1.0)}, "scale"),
        ({"window_ms": 0}, "windows"),
        ({"seed": -1}, "seed"),
        ({"positives": "stars>3"}, "no condition"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Experiment(
            random_log(10, seed=0),
            parse_specs(["popularity"]),
            Settings(**changed),  # type: ignore[arg-type]
            config=Config(),
        )


# --- ratings --------------------------------------------------------------------------------------


def test_ratings_are_predicted_then_learned_and_clipped() -> None:
    values = [4.0, 2.0, 3.0, 1.0]
    log = MemoryLog([event("a", f"i{at}", at, value=value) for at, value in enumerate(values)])
    outcome = replayed(log, "running-mean:first=9", Settings(task="rating", warmup=0))
    # The first prediction, 9, is clipped to the highest value, 4.
    errors = np.array([4 - 4, 4 - 2, 3 - 3, 3 - 1])
    found = means(outcome)
    assert found["squared_error"] == pytest.approx((errors**2).mean())
    assert found["absolute_error"] == pytest.approx(np.abs(errors).mean())
    wide = Settings(task="rating", warmup=0, scale=(0.0, 10.0))
    assert means(replayed(log, "running-mean:first=9", wide))["absolute_error"] == 9 / 4


def test_calibration_is_the_mean_of_what_came_where_so_much_was_predicted() -> None:
    values = [1.0, 5.0, 4.0, 2.0, 3.0]
    log = MemoryLog([event("a", f"i{at}", at, value=value) for at, value in enumerate(values)])
    outcome = replayed(log, "running-mean:first=1", Settings(task="rating", warmup=0))
    assert isinstance(outcome.task, RatingTask)
    counts, means = outcome.task.calibration(0)
    # Predicted: 1, 1, 3, 10 / 3, 3; parts are 4 / 18 long, from 1.
    assert counts[[0, 9, 10]].tolist() == [2, 2, 1]
    assert means[[0, 9, 10]].tolist() == [3, 3.5, 2]
    assert counts.sum() == 5
    assert np.isnan(means[1])
    assert outcome.task.bin_middles[[0, -1]] == pytest.approx([1 + 1 / 9, 5 - 1 / 9])


def test_events_without_a_value_are_not_rated() -> None:
    log = MemoryLog([event("a", "x", 1, kind="click", value=None), event("a", "y", 2)])
    assert replayed(log, "biased-mf", Settings(task="rating", warmup=0)).tally.n_scored == 1


# --- a real log -----------------------------------------------------------------------------------


def of_movielens(models: str, settings: Settings) -> Outcome:
    log = open_log(DATA, sort=True)
    return Experiment(log, parse_specs([models]), settings, config=Config()).run()


@needs_data
def test_textbook_baselines_come_out_as_published() -> None:
    models = "popularity,popularity:half_life_events=1000,item-cosine,isgd"
    outcome = of_movielens(models, Settings(positives="value>=5"))
    assert outcome.tally.n_scored == 10_567
    recall = [means(outcome, at)["recall@10"] for at in range(4)]
    assert recall == pytest.approx([0.0706, 0.0883, 0.0822, 0.0493], abs=0.003)
    ndcg = [means(outcome, at)["ndcg@10"] for at in range(4)]
    assert ndcg == pytest.approx([0.0357, 0.0447, 0.0452, 0.0228], abs=0.003)


@needs_data
def test_biased_factors_set_up_as_in_rivers_documentation_come_out_alike() -> None:
    # river's gradient of the squared error has a factor of 2, which doubles its rates.
    rates = "bias_rate=0.05,factor_rate=0.1,bias_regularization=0,factor_regularization=0"
    outcome = of_movielens(f"biased-mf:{rates}", Settings(task="rating", warmup=0))
    assert outcome.tally.n_scored == 100_004
    found = means(outcome)
    assert found["squared_error"] ** 0.5 == pytest.approx(0.8912, abs=0.003)
    assert found["absolute_error"] == pytest.approx(0.6858, abs=0.003)
