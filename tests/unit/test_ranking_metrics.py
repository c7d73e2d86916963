"""Ranking metrics: values by hand, and those of an independent implementation."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from ir_measures.measures import Measure
from numpy.typing import NDArray

from streamer_models.evaluation.ranking_metrics import (
    NOT_RANKED,
    calibration,
    catalogue_coverage,
    category_diversity,
    category_shares,
    exposure_gini,
    factor_diversity,
    mean_and_error,
    novelty,
    serendipity,
    target_metrics,
)
from streamer_models.evaluation.target_rank import (
    NOT_A_NUMBER,
    choice_loss,
    exclude_all_but_sample,
    place,
    share_below,
)
from tests.graded_metrics import (
    average_precision_at,
    hit_at,
    ndcg_at,
    precision_at,
    recall_at,
    reciprocal_rank,
)

K = 10


def placed(
    scores: list[float],
    target: int,
    *,
    excluded: tuple[int, ...] = (),
    start: int = 1,
    against: bool = False,
    k: int = 3,
) -> tuple[int, list[int]]:
    flags = np.zeros(len(scores), dtype=np.uint8)
    flags[list(excluded)] = 1
    top = np.empty(k, dtype=np.int32)
    rank = place(np.array(scores), flags, target, np.uint64(start), against, top, np.empty(k))
    return rank, top.tolist()


# --- metrics --------------------------------------------------------------------------------------


def test_values_by_hand() -> None:
    gains = np.array([[0.0, 3.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    all_gains = np.array([[3.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
    n_relevant = np.array([3, 1])
    assert recall_at(gains, n_relevant, 2).tolist() == [1 / 3, 0]
    assert recall_at(gains, n_relevant, 4).tolist() == [2 / 3, 0]
    assert hit_at(gains, 1).tolist() == [0, 0]
    assert hit_at(gains, 2).tolist() == [1, 0]
    assert average_precision_at(gains, n_relevant, 4) == pytest.approx([(1 / 2 + 2 / 4) / 3, 0])
    assert reciprocal_rank(gains).tolist() == [0.5, 0]
    ideal = 3 + 2 / math.log2(3) + 1 / 2
    dcg = 3 / math.log2(3) + 1 / math.log2(5)
    assert ndcg_at(gains, all_gains, 4) == pytest.approx([dcg / ideal, 0])


@pytest.mark.parametrize("k", [1, 5, 10])
def test_values_are_those_of_trec_eval(k: int) -> None:
    rng = np.random.default_rng(3)
    n_queries, n_items = 60, 40
    gains_of = rng.integers(0, 4, (n_queries, n_items)) * (rng.random((n_queries, n_items)) < 0.15)
    gains_of[:, 0] = np.maximum(gains_of[:, 0], 1)  # trec_eval leaves queries without any out
    orders = np.argsort(rng.random((n_queries, n_items)), axis=1)[:, :25]
    gains = np.take_along_axis(gains_of, orders, axis=1).astype(np.float64)
    n_relevant = (gains_of > 0).sum(axis=1)
    ours = {
        ir_measures.R @ k: recall_at(gains, n_relevant, k),
        ir_measures.nDCG @ k: ndcg_at(gains, gains_of.astype(np.float64), k),
        ir_measures.AP @ k: average_precision_at(gains, n_relevant, k),
        ir_measures.RR: reciprocal_rank(gains),
        ir_measures.Success @ k: hit_at(gains, k),
        ir_measures.P @ k: precision_at(gains, k),
    }
    theirs = _of_trec_eval(gains_of, orders, list(ours))
    for measure, values in ours.items():
        assert values == pytest.approx(theirs[measure]), measure


def _of_trec_eval(
    gains: NDArray[np.int64], orders: NDArray[np.int64], measures: list[Measure]
) -> dict[Measure, list[float]]:
    relevances = {
        f"q{query}": {f"i{item}": int(gain) for item, gain in enumerate(row)}
        for query, row in enumerate(gains)
    }
    run = {
        f"q{query}": {f"i{item}": float(-rank) for rank, item in enumerate(row)}
        for query, row in enumerate(orders)
    }
    found = {
        (each.measure, each.query_id): each.value
        for each in ir_measures.iter_calc(measures, relevances, run)
    }
    return {
        measure: [found[measure, f"q{query}"] for query in range(len(gains))]
        for measure in measures
    }


def test_one_target_is_the_case_of_one_gain() -> None:
    ranks = np.array([0, 4, 9, 10, 30, NOT_RANKED])
    gains = np.zeros((len(ranks), 40))
    gains[np.flatnonzero(ranks >= 0), ranks[ranks >= 0]] = 1.0
    ones = np.ones(len(ranks), dtype=np.int64)
    found = target_metrics(ranks, K)
    assert found[f"recall@{K}"].tolist() == recall_at(gains, ones, K).tolist()
    assert found[f"precision@{K}"].tolist() == precision_at(gains, K).tolist()
    assert found[f"hit_rate@{K}"].tolist() == hit_at(gains, K).tolist()
    assert found[f"ndcg@{K}"] == pytest.approx(ndcg_at(gains, np.ones((len(ranks), 1)), K))
    assert found[f"map@{K}"] == pytest.approx(average_precision_at(gains, ones, K))
    assert found["mrr"] == pytest.approx(reciprocal_rank(gains))


def test_diversity_by_hand() -> None:
    categories = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    lists = np.array([[0, 1, 2], [0, 1, -1], [3, 0, -1], [-1, -1, -1]], dtype=np.int32)
    found = category_diversity(lists, categories)
    assert found[:2] == pytest.approx([(0.5 + 1 + 1) / 3, 0.5])
    assert np.isnan(found[2:]).all()
    factors = np.array([[2, 0], [0, 1], [3, 3], [0, 0]], dtype=np.float32)
    lists = np.array([[0, 1, 2], [0, 3, -1]], dtype=np.int32)
    found = factor_diversity(lists, factors)
    assert found[0] == pytest.approx((1 + 2 * (1 - 0.5**0.5)) / 3)
    assert np.isnan(found[1])


def test_calibration_by_hand() -> None:
    categories = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    consumed = category_shares(np.array([0, 2, 3], dtype=np.int32), categories)
    assert consumed.tolist() == [0.75, 0.25, 0.0]
    lists = np.array([[0, 2, 3], [1, -1, -1], [3, -1, -1], [0, 1, -1]], dtype=np.int32)
    wanted = np.array([consumed, consumed, consumed, [0.0, 0.0, 0.0]])
    found = calibration(lists, categories, wanted)
    assert found[0] == pytest.approx(0.0)
    assert found[1] == pytest.approx(
        0.75 * math.log(0.75 / 0.0075) + 0.25 * math.log(0.25 / (0.99 + 0.0025))
    )
    assert np.isnan(found[2:]).all()


def test_exposure_is_concentrated_as_its_lorenz_curve_says() -> None:
    assert exposure_gini(np.array([3, 3, 3])) == 0
    assert exposure_gini(np.array([0, 7, 0])) == 1
    shown = np.array([4, 0, 1, 1, 9])
    differences = np.abs(shown[:, None] - shown).sum()  # mean difference over twice the mean
    assert exposure_gini(shown) == pytest.approx(differences / (2 * 4 * shown.sum()))
    assert exposure_gini(np.array([9, 1, 1, 4]), n_items=5) == exposure_gini(shown)
    assert math.isnan(exposure_gini(np.array([0, 0])))


def test_novelty_serendipity_and_coverage_by_hand() -> None:
    found = novelty(np.array([[1, 4], [2, -1], [0, 8], [-1, -1]]), np.array([8, 8, 8, 8]))
    assert found[:3] == pytest.approx([(3 + 1) / 2, 2, (3 + 0) / 2])
    assert np.isnan(found[3])
    hits, expected = np.array([1.0, 1.0, 0.0]), np.array([True, False, False])
    assert serendipity(hits, expected).tolist() == [0, 1, 0]
    assert catalogue_coverage(np.array([0, 3, 1, 0])) == 0.5
    assert catalogue_coverage(np.zeros(0, dtype=np.int64)) == 0


def test_mean_and_error_are_those_of_the_values() -> None:
    values = np.random.default_rng(0).random(50)
    mean, error = mean_and_error(values.sum(), (values**2).sum(), 50)
    assert mean == pytest.approx(values.mean())
    assert error == pytest.approx(values.std(ddof=1) / 50**0.5)
    assert math.isnan(mean_and_error(0.0, 0.0, 0)[0])
    assert math.isnan(mean_and_error(1.0, 1.0, 1)[1])


# --- the rank of a target -------------------------------------------------------------------------


def test_rank_and_list_by_hand() -> None:
    scores = [0.1, 0.9, 0.5, 0.7, -math.inf]
    assert placed(scores, 2) == (2, [1, 3, 2])
    assert placed(scores, 2, excluded=(1,)) == (1, [3, 2, 0])
    assert placed(scores, 4) == (NOT_RANKED, [1, 3, 2])
    assert placed(scores, -1, k=5) == (NOT_RANKED, [1, 3, 2, 0, -1])
    assert placed(scores, 1, excluded=(1,)) == (NOT_RANKED, [3, 2, 0])
    assert placed([0.0, math.nan], 0)[0] == NOT_A_NUMBER
    assert placed([0.0, math.nan], 0, excluded=(1,)) == (0, [0, -1, -1])


def flags(n: int, *excluded: int) -> NDArray[np.uint8]:
    found = np.zeros(n, dtype=np.uint8)
    found[list(excluded)] = 1
    return found


def test_share_of_the_others_below_by_hand() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.5, -math.inf, -math.inf])
    assert share_below(scores, flags(6), 1) == 1
    assert share_below(scores, flags(6), 2) == (3 + 0.5) / 5
    assert share_below(scores, flags(6, 0, 3), 2) == 2 / 3
    assert share_below(scores, flags(6), 4) == 0.5 / 5  # level with what is not recommended either
    assert math.isnan(share_below(scores, flags(6), -1))
    assert math.isnan(share_below(scores, flags(6, 2), 2))
    assert math.isnan(share_below(scores, flags(6, 0, 1, 3, 4, 5), 2))


def test_share_below_is_the_area_under_the_curve_of_one_target() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        scores = rng.integers(0, 4, 20).astype(np.float32)
        target, others = scores[7], np.delete(scores, 7)
        right = (target > others).mean() + (target == others).mean() / 2
        assert share_below(scores, flags(20), 7) == pytest.approx(right)


def test_the_loss_of_a_choice_by_hand() -> None:
    logits = np.log(np.array([1.0, 2.0, 5.0, 0.0001]))
    logits[3] = -math.inf
    assert choice_loss(logits, flags(4), 1) == pytest.approx(-math.log(2 / 8))
    assert choice_loss(logits + 900, flags(4), 1) == pytest.approx(-math.log(2 / 8))
    assert choice_loss(logits.astype(np.float32), flags(4, 2), 1) == pytest.approx(
        -math.log(2 / 3), rel=1e-6
    )
    assert choice_loss(logits, flags(4, 0, 2), 1) == 0
    for excluded, target in (((), 3), ((), -1), ((1,), 1)):
        assert math.isnan(choice_loss(logits, flags(4, *excluded), target))


def test_ties_fall_at_random_or_against_the_target() -> None:
    n_items, n = 8, 4_000
    scores = [0.0] * n_items
    ranks = np.array([placed(scores, 3, start=start)[0] for start in range(n)])
    # Uniform on 0 … 7: each expected 500 times, standard deviation 21.
    assert np.abs(np.bincount(ranks, minlength=n_items) - n / n_items).max() < 90
    assert {placed(scores, 3, start=start, against=True)[0] for start in range(50)} == {7}
    assert placed(scores, 3, start=5) == placed(scores, 3, start=5)


def test_rank_agrees_with_the_list_whatever_the_ties() -> None:
    rng = np.random.default_rng(1)
    for start in range(300):
        scores = rng.integers(0, 4, 30).astype(float)
        excluded = np.flatnonzero(rng.random(30) < 0.3)
        target = int(rng.integers(0, 30))
        for against in (False, True):
            rank, top = placed(
                scores.tolist(),
                target,
                excluded=tuple(excluded),
                start=start,
                against=against,
                k=12,
            )
            if target in excluded:
                assert rank == NOT_RANKED
                continue
            candidates = np.setdiff1d(np.arange(30), excluded)
            n_better = int((scores[candidates] > scores[target]).sum())
            n_as_good = int((scores[candidates] == scores[target]).sum())
            assert n_better <= rank < n_better + n_as_good
            assert not against or rank == n_better + n_as_good - 1
            assert (top[rank] == target) if rank < 12 else (target not in top)
            listed = [row for row in top if row >= 0]
            expected = np.sort(scores[candidates])[::-1][: len(listed)]
            assert scores[listed].tolist() == expected.tolist()


def test_a_sample_keeps_the_target_and_so_many_others() -> None:
    counts = np.zeros(20)
    for start in range(3_000):
        excluded = np.zeros(20, dtype=np.uint8)
        excluded[[2, 3]] = 1
        exclude_all_but_sample(excluded, 20, 7, 5, np.uint64(start))
        left = np.flatnonzero(excluded == 0)
        assert len(left) == 6
        assert 7 in left
        assert not {2, 3} & set(left.tolist())
        counts[left] += 1
    others = np.delete(counts, [2, 3, 7])
    # Each of 17 is drawn with 5 / 17: expected 882, standard deviation 25.
    assert np.abs(others - 3_000 * 5 / 17).max() < 110
    excluded = np.zeros(4, dtype=np.uint8)
    exclude_all_but_sample(excluded, 4, 0, 100, np.uint64(0))
    assert not excluded.any()
