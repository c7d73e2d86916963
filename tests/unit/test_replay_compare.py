"""The bootstrap over users: against its definition, and against chance."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.replay import compare as comparing
from streamer.replay.compare import compare
from streamer.replay.result import Result, UserSums, encoded, result_of
from streamer.replay.settings import Settings
from tests.unit.replay_logs import random_log, replayed

TOPK = result_of(replayed(random_log(300, seed=0), "popularity"))
RATING = result_of(
    replayed(random_log(300, seed=0), "running-mean", Settings(task="rating", warmup=0))
)


def with_sums(
    base: Result, counts: NDArray[np.int64], metric: str, sums: NDArray[np.float64]
) -> Result:
    users = UserSums(
        n_users=len(counts),
        keys=np.arange(len(counts), dtype="<u8").tobytes(),
        events_scored=counts.astype("<u4").tobytes(),
        sums={"model": {metric: sums.astype("<f4").tobytes()}},
    )
    return msgspec.structs.replace(base, users=users, metrics={"model": {metric: None}})


def test_the_interval_is_that_of_users_drawn_with_replacement() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20, 40)
    sums_a = rng.binomial(counts, 0.2).astype(float)
    sums_b = rng.binomial(counts, 0.5).astype(float)
    a, b = (with_sums(TOPK, counts, "recall@10", sums) for sums in (sums_a, sums_b))
    found = compare(a, b, metric="recall@10", models=("model", "model"), n_resamples=4_000)
    assert found.a == pytest.approx(sums_a.sum() / counts.sum())
    assert found.difference == pytest.approx((sums_b - sums_a).sum() / counts.sum())
    drawn = []
    for _ in range(4_000):
        users = rng.integers(0, 40, 40)
        drawn.append((sums_b[users].sum() - sums_a[users].sum()) / counts[users].sum())
    # The percentiles of 4,000 draws of a standard deviation of .03 are good to about .002.
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.005)
    assert found.verdict.startswith("B's model is better than A's model: recall@10")
    back = compare(b, a, metric="recall@10", models=("model", "model"))
    assert back.verdict.startswith("B's model is worse")


def test_of_errors_less_is_better() -> None:
    counts = np.full(50, 10)
    rng = np.random.default_rng(1)
    worse, better = (
        with_sums(RATING, counts, "squared_error", level * rng.chisquare(10, 50))
        for level in (1.0, 0.5)
    )
    found = compare(worse, better, metric="rmse", models=("model", "model"))
    mean = np.frombuffer(worse.users.sums["model"]["squared_error"], "<f4").sum() / 500
    assert found.a == pytest.approx(mean**0.5)
    assert found.high < 0
    assert found.verdict.startswith("B's model is better")


def test_chance_alone_is_seldom_called_a_difference() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 30, 100)
    n_wrong = 0
    for seed in range(100):
        # Users differ much, the two models not at all.
        taste = rng.beta(1, 4, 100)
        results = [
            with_sums(TOPK, counts, "mrr", rng.binomial(counts, taste).astype(float))
            for _ in range(2)
        ]
        found = compare(
            *results, metric="mrr", models=("model", "model"), n_resamples=300, seed=seed
        )
        n_wrong += "No difference" not in found.verdict
    # 5 expected; 12 or more has a chance of 4 in 1,000.
    assert n_wrong < 12


def test_bags_of_users_say_what_users_say(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 20, 4_000)
    a, b = (
        with_sums(TOPK, counts, "mrr", rng.binomial(counts, share).astype(float))
        for share in (0.2, 0.21)
    )
    users = compare(a, b, metric="mrr", models=("model", "model"))
    monkeypatch.setattr(comparing, "BAGS_MAX", 500)
    bags = compare(a, b, metric="mrr", models=("model", "model"))
    assert bags.difference == users.difference
    # The width is good to 2 % with 2,000 draws, and to 3 % with 500 bags.
    assert bags.high - bags.low == pytest.approx(users.high - users.low, rel=0.15)


def test_a_result_is_what_its_json_says() -> None:
    for result in (TOPK, RATING):
        assert msgspec.json.decode(encoded(result), type=Result) == result
    sums = TOPK.users.sums_of("popularity", "recall@10")
    assert sums.sum() / TOPK.users.counts().sum() == pytest.approx(
        TOPK.metrics["popularity"]["recall@10"]
    )


def test_what_both_have_of_the_same_events_is_compared() -> None:
    """Gains differ in a log of ratings; the blend has shares, popularity has none."""
    log = random_log(300, seed=0)
    one, other = (
        result_of(replayed(log, model, Settings(warmup=0.1)))
        for model in ("popularity", "item-cosine")
    )
    models = ("popularity", "item-cosine")
    named = ["recall@10", "ndcg@10", "mrr", "graded_ndcg@10", "auc", "recalled"]
    assert comparing.comparable_metrics(one, other, models) == named
    for metric in (*named, "precision@10"):
        found = compare(one, other, metric=metric, models=models, n_resamples=200)
        assert found.a == pytest.approx(one.metrics["popularity"][metric])
        assert found.b == pytest.approx(other.metrics["item-cosine"][metric])
        assert found.low <= found.difference <= found.high
    recall, precision = (
        compare(one, other, metric=f"{name}@10", models=models) for name in ("recall", "precision")
    )
    assert precision.low == pytest.approx(recall.low / 10)
    with pytest.raises(ConfigError, match="no sums of 'log_loss' by user; there are recall@10,"):
        compare(one, other, metric="log_loss", models=models)


def test_shares_are_compared_of_the_same_events_alone() -> None:
    """What was not recalled has no share, so who recalls less has a loss of other events."""
    log = random_log(300, seed=0)
    settings = Settings(warmup=0.1)
    all_of_it, at_a_rate, part = (
        result_of(replayed(log, model, settings))
        for model in ("mf-softmax", "mf-softmax:learning_rate=0.5", "channel:next")
    )
    (whole,), (rated,), (few,) = (list(each.metrics) for each in (all_of_it, at_a_rate, part))
    found = compare(all_of_it, at_a_rate, metric="log_loss", models=(whole, rated))
    assert found.a == pytest.approx(all_of_it.metrics[whole]["log_loss"])
    assert "log_loss" in comparing.comparable_metrics(all_of_it, at_a_rate, (whole, rated))
    assert "log_loss" not in comparing.comparable_metrics(all_of_it, part, (whole, few))
    with pytest.raises(ConfigError, match="they have it of other events, or events of other gains"):
        compare(all_of_it, part, metric="log_loss", models=(whole, few))


def test_a_result_without_weights_is_one_of_before() -> None:
    before = msgspec.json.decode(encoded(TOPK))
    del before["users"]["weights"]
    read = msgspec.json.decode(msgspec.json.encode(before), type=Result)
    assert read.users.weights_of("popularity", "mrr").tolist() == TOPK.users.counts().tolist()
