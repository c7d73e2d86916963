"""Answers to slates teach the blend: what a scorer logs, and what a learner makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import load_config
from streamer.events import Decision, Event, Request, decode_decision, encode
from streamer.learner.configured import join_settings
from streamer.learner.join.answers import decode_decisions
from streamer.protocols import MessageBatch
from streamer.scorer.explanation import explain
from streamer.simulation.live import LiveSystem
from streamer_models.ranking.answers import AnsweredSlates
from streamer_models.state.model import model_of
from streamer_models.state.table import Array
from streamer_producers.simulator import Simulator, SimulatorConfig
from tests.verified_slates import verified_again
from tests.verified_store import verified_store

START_MS = 1_700_000_000_000
N_STEPS = 60


def _new(n_partitions: int = 1, **flags: object) -> LiveSystem:
    small = {
        "topics.partitions": n_partitions,
        "recall.similar.candidates": 10,
        "recall.similar.neighbours": 6,
        "recall.next.candidates": 10,
        "recall.session.factors": 4,
        "join.window_s": 3,
    }
    given = {name.replace("__", "."): value for name, value in flags.items()}
    config = load_config(env={}, flags={**small, **given})
    return LiveSystem(config, start_ms=START_MS, sync_interval_ms=1_000)


def _play(live: LiveSystem, *, crash_every: int = 0) -> LiveSystem:
    """Users browse, ask, and report what they saw and clicked by the id of the request."""
    simulator = Simulator(SimulatorConfig(n_users=30, n_items=60, seed=1, start_ms=START_MS))
    rng = np.random.default_rng(3)
    live.publish(*simulator.items())
    for step in range(N_STEPS):
        if crash_every and step % crash_every == crash_every - 1:
            live.crash()
        now_ms = live.clock.now_ms()
        users = [simulator.user_ids[row] for row in rng.choice(30, 2, replace=False)]
        for answer in live.ask(users, k=5):
            asked = answer.recommendation
            live.publish(*simulator.react(asked.user_id, answer.item_ids, now_ms, asked.request_id))
        live.publish(*simulator.organic_events(np.array([now_ms], np.int64)))
        live.advance(now_ms + 500)
    live.advance(live.clock.now_ms() + 10_000)
    return live


@cache
def _played(n_partitions: int = 1) -> LiveSystem:
    return _play(_new(n_partitions))


def _decisions(live: LiveSystem) -> list[Decision]:
    found = [decode_decision(each.value) for each in live.broker.records("decisions")]
    return [each for each in found if each.items]


def _learned(live: LiveSystem) -> tuple[AnsweredSlates, Array | None]:
    model = model_of(live._models, AnsweredSlates)
    assert model is not None
    return model, live.scorer.replica.current().tables.read(model.statistics).row(0)


def test_clicks_on_slates_change_what_candidates_are_ordered_by() -> None:
    model, statistics = _learned(_played())
    assert statistics is not None
    assert np.abs(model.weights(statistics) - model.prior).max() > 0.05
    *_, last = _decisions(_played())
    slate = last.slate_matrix()
    assert np.abs(slate[:, -1] - slate[:, -3] * model.prior[-1]).max() > 0.01


def test_a_decision_logs_what_the_blend_said_of_the_items_shown() -> None:
    live = _played()
    model, statistics = _learned(live)
    weights, names = model.weights(statistics), list(join_settings(live.config).slate_names)
    assert names[-3:] == ["ln_position", "logit", "correction"]
    for user_id in ("u00001", "u00002", "stranger"):
        decision = live.request(user_id, k=5).decision
        assert decision.slate_names == names
        slate = decision.slate_matrix().astype(np.float64)
        np.testing.assert_allclose(slate[:, -3], np.log1p(range(5)), rtol=1e-6)
        np.testing.assert_allclose(slate[:, :-2] @ weights, slate[:, -1], atol=1e-4)
        # The bandit has the same logits, standardized, without what positions add.
        at = [decision.candidates.index(item_id) for item_id in decision.items]
        z = decision.feature_matrix()[at, decision.feature_names.index("blend_z")]
        logits = slate[:, -2] - weights[-1] * slate[:, -3]
        if np.ptp(z) > 0.1 and np.abs(z).max() < 7.9:
            scale = np.ptp(logits) / np.ptp(z)
            np.testing.assert_allclose(logits - logits[0], scale * (z - z[0]), atol=1e-3)


def test_an_explanation_adds_up_to_what_answers_taught_too() -> None:
    live = _played()
    request = Request(request_id="r", user_id="u00001", ts=live.clock.now_ms(), k=5, preview=True)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    slate = live.scorer.variants.of(request.user_id).recommend(
        request, version, catalogue, known=live.scorer.known
    )
    assert slate.blended is not None
    model, statistics = _learned(live)
    attention = model.weights(statistics)[-1]
    logits = slate.blended.values[:, -2] - attention * slate.blended.values[:, -3]
    first, last = (
        explain(live.config, request, item_id, version, catalogue, known=live.scorer.known)
        for item_id in (slate.item_ids[0], slate.item_ids[-1])
    )
    apart = sum(part.adds for part in first.blend) - sum(part.adds for part in last.blend)
    assert apart == pytest.approx(float(logits[0] - logits[-1]), abs=1e-4)


@pytest.mark.parametrize("n_partitions", [1, 2])
def test_what_was_committed_and_decided_is_executed_again_to_the_bit(n_partitions: int) -> None:
    live = _played(n_partitions)
    found = verified_store(live)
    assert (found.problems, found.unchecked) == ([], [])
    decisions = _decisions(live)
    verified = verified_again(live, decisions)
    assert (verified.problems, verified.n_same) == ([], len(decisions))
    # What was logged otherwise is found, and what an older scorer did not log is not looked for.
    changed = decisions[-1].slate_matrix().copy()
    changed[0, 0] += 0.5
    for decision, problems in (
        (replace(decisions[-1], slate=changed.tobytes()), 1),
        (replace(decisions[-1], slate=None, slate_names=None), 0),
    ):
        assert verified_again(live, [decision]).n_different == problems


def test_learners_that_crash_learn_the_same_answers() -> None:
    _, expected = _learned(_played())
    _, found = _learned(_play(_new(), crash_every=7))
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found, expected)


def _batch(decisions: Sequence[Decision]) -> MessageBatch:
    n = len(decisions)
    values: list[bytes | None] = [encode(each) for each in decisions]
    return MessageBatch("decisions", 0, values, np.arange(n), np.full(n, -1, dtype=np.int64))


def test_decisions_without_the_columns_teach_the_bandit_alone_and_are_counted() -> None:
    live = _played()
    settings = join_settings(live.config)
    one = _decisions(live)[-1]
    other = [f"other_{name}" for name in settings.slate_names]
    batch = _batch(
        [one, replace(one, slate=None, slate_names=None), replace(one, slate_names=other)]
    )
    decided, rejected = decode_decisions(batch, settings.feature_names, settings.slate_names)
    assert rejected == []
    assert [each.slate is not None for each in decided.decisions] == [True, False, False]
    assert (decided.n_without_slate, decided.n_foreign) == (2, 0)
    # Where the blend learns from no slate, none lacks anything.
    decided, _ = decode_decisions(batch, settings.feature_names)
    assert (decided.n_without_slate, len(decided.decisions)) == (0, 3)
    assert all(each.slate is None for each in decided.decisions)


def test_a_number_beyond_the_bound_is_refused() -> None:
    live = _played()
    settings = join_settings(live.config)
    one = _decisions(live)[-1]
    slate = one.slate_matrix().copy()
    slate[0, 0] = 2_000.0
    decided, rejected = decode_decisions(
        _batch([replace(one, slate=slate.tobytes())]), settings.feature_names, settings.slate_names
    )
    assert not decided.decisions
    (letter,) = rejected
    assert "'slate': 2000 is beyond the bound of ±1024" in letter.reason


def test_what_no_slate_teaches_is_not_logged() -> None:
    live = _new(recall__blend__answers=False)
    assert model_of(live._models, AnsweredSlates) is None
    live.publish(
        Event(event_id="e", type="click", user_id="u", item_id="i", ts=START_MS),
        Event(event_id="f", type="click", user_id="v", item_id="j", ts=START_MS),
    )
    live.advance(START_MS + 2_000)
    decision = live.request("u", k=5).decision
    assert decision.items
    assert (decision.slate, decision.slate_names) == (None, None)


def test_where_the_blend_ranks_alone_answers_teach_it_too() -> None:
    _, statistics = _learned(_play(_new(funnel__ranker="blend")))
    assert statistics is not None
    assert statistics.any()
