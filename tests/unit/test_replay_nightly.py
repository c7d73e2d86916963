"""Models trained on a schedule: what they are, when they learn, and what they never know."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from streamer.config.specs import parse_specs
from streamer.errors import ConfigError
from streamer.replay.interactions import UNKNOWN, Interaction
from streamer.replay.models import build_model
from streamer.replay.nightly import implicit_models
from streamer.replay.nightly.consumed import Consumed
from streamer.replay.nightly.ease import Ease
from streamer.replay.nightly.schedule import Nightly
from streamer.replay.settings import Settings
from tests.unit.replay_logs import DAY_MS, event, means, random_log, replayed

needs_implicit = pytest.mark.skipif(
    not implicit_models.INSTALLED, reason="needs pip install '.[nightly]'"
)
KINDS = ["ease", *(pytest.param(each, marks=needs_implicit) for each in ("als", "bpr"))]


def rows(*of: int) -> NDArray[np.int32]:
    return np.array(of, dtype=np.int32)


def made(spec: str, *, seed: int = 0) -> Nightly:
    model = build_model(parse_specs([spec])[0], task="topk", seed=seed)
    assert isinstance(model, Nightly)
    return model


def teach(model: Nightly, *events: tuple[int, int, float], reward: float = 1.0) -> None:
    """Events are (user row, item row, day)."""
    for number, (user, item, day) in enumerate(events):
        happened = event(f"u{user}", f"i{item}", int(day * DAY_MS))
        model.learn(
            Interaction(number=number, event=happened, user_row=user, item_row=item, reward=reward)
        )


def at(day: float) -> int:
    return int(day * DAY_MS)


# --- what was consumed ----------------------------------------------------------------------------


def test_a_pair_counts_once() -> None:
    consumed = Consumed.of(rows(2, 0, 2, 2), rows(1, 3, 0, 1))
    assert [consumed.of_user(each).tolist() for each in (0, 1, 2, 3, UNKNOWN)] == [
        [3], [], [0, 1], [], [],
    ]  # fmt: skip
    assert consumed.counts.tolist() == [1, 1, 0, 1]
    starts, users = consumed.by_item()
    assert [starts.tolist(), users.tolist()] == [[0, 1, 2, 2, 3], [2, 2, 0]]


# --- EASE -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_users", "n_items"), [(40, 12), (12, 40), (20, 20)])
def test_ease_is_the_closed_form_of_the_paper(n_users: int, n_items: int) -> None:
    """``B = I - P diag(1 / diag(P))``, whichever of the two matrices it inverts."""
    x = (np.random.default_rng(n_users).random((n_users, n_items)) < 0.3).astype(float)
    x[0, -1] = x[-1, 0] = 1  # all rows are known
    users, items = np.nonzero(x)
    model = Ease(regularization=7.0)
    model.train(Consumed.of(users.astype(np.int32), items.astype(np.int32)))
    inverse = np.linalg.inv(x.T @ x + 7.0 * np.eye(n_items))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    for user in range(n_users):
        history = np.flatnonzero(x[user]).astype(np.int32)
        assert_allclose(model.scores(user, history), x[user] @ weights, atol=2e-5)
    assert model.scores(UNKNOWN, rows()).tolist() == [0] * n_items


def test_ease_of_two_items_by_hand() -> None:
    """Two users have both items, one the first alone: XᵀX + λI = [[4, 2], [2, 3]] at λ = 1, so
    P = [[3, -2], [-2, 4]] / 8 and B[0, 1] = 2/4, B[1, 0] = 2/3."""
    model = Ease(regularization=1.0)
    model.train(Consumed.of(rows(0, 0, 1, 1, 2), rows(0, 1, 0, 1, 0)))
    assert_allclose(model.scores(2, rows(0)), [0, 1 / 2], atol=1e-6)
    assert_allclose(model.scores(2, rows(1)), [2 / 3, 0], atol=1e-6)


def test_ease_refuses_more_items_than_its_bound() -> None:
    model = made("nightly:ease,items_max=3")
    teach(model, (0, 2, 0))
    with pytest.raises(ConfigError, match=r"4; it stops at 3: raise items_max.*leave this model"):
        teach(model, (0, 3, 0))
    with pytest.raises(ConfigError, match=r"20,001; it stops at 20,000"):
        teach(made("nightly:ease"), (0, 20_000, 0))


# --- the schedule ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_knows_nothing_of_the_day_it_was_not_trained_on(kind: str) -> None:
    """Two models that differ in what came after midnight alone rank alike until the next one."""
    model, other = (made(f"nightly:{kind},histories=trained") for _ in range(2))
    before = [(user, (user + step) % 6, 0.1 * user) for user in range(5) for step in range(3)]
    for each in (model, other):
        teach(each, *before)
        assert (each.score(0, at(0.9), 6) == -np.inf).all(), "not trained yet"
    first = model.score(0, at(1.0), 7).copy()
    assert np.isfinite(first[:6]).all()
    assert first[6] == -np.inf
    teach(model, (0, 6, 1.1), (1, 6, 1.2), (5, 0, 1.3), (0, 5, 1.4))
    for user in (0, 1, 5, UNKNOWN):
        today = model.score(user, at(1.9), 7).tolist()
        assert today == other.score(user, at(1.9), 7).tolist()
        assert today[6] == -np.inf, "the item is of today"
    assert np.isfinite(model.score(0, at(2.0), 7)).all()
    assert model.score(0, at(2.0), 7).tolist() != first.tolist()


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_histories_are_of_now_or_of_the_training(kind: str) -> None:
    taught = [(user, item, 0.5) for user in range(4) for item in (0, 1)]
    taught += [(user, item, 0.5) for user in range(4, 8) for item in (2, 3)]
    now, trained = made(f"nightly:{kind}"), made(f"nightly:{kind},histories=trained")
    for model in (now, trained):
        teach(model, *taught)
        model.score(UNKNOWN, at(1), 4)
        teach(model, (8, 2, 1.5))  # a new user, who is of the second kind
    assert now.score(8, at(1.6), 4).argmax() in (2, 3)
    assert now.score(8, at(1.6), 4)[3] > now.score(8, at(1.6), 4)[0] + 0.01
    assert_allclose(trained.score(8, at(1.6), 4), [4e-9] * 4)
    assert np.ptp(trained.score(8, at(2), 4)) > 1e-3, "the next training knows the user"


def test_every_is_of_unix_time() -> None:
    model = made("nightly:ease,every=12h")
    teach(model, (0, 0, 10.4), (0, 1, 10.4), (1, 0, 10.4))
    assert (model.score(1, at(10.49), 2) == -np.inf).all()
    assert np.isfinite(model.score(1, at(10.5), 2)).all()


def test_new_users_get_what_was_popular_and_other_feedback_teaches_nothing() -> None:
    model = made("nightly:ease")
    teach(model, (0, 0, 0), (0, 1, 0), (1, 1, 0), (2, 1, 0), (2, 2, 0))
    teach(model, (3, 2, 0), (4, 2, 0), (5, 3, 0), reward=0.0)
    assert np.argsort(-model.score(UNKNOWN, at(1), 4)[:3]).tolist()[0] == 1
    assert model.score(UNKNOWN, at(1), 4)[3] == -np.inf


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_log_and_seed_rank_alike(kind: str) -> None:
    spec, settings = f"nightly:{kind},every=20d", Settings(positives="value>=3", k=3)
    log = random_log(300, seed=4)
    first = means(replayed(log, spec, settings))
    assert means(replayed(log, spec, settings)) == first
    assert first["recall@3"] > 0


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nightly:knn", "nightly ones are ease, als, bpr"),
        ("nightly:ease,every=daily", "no duration"),
        ("nightly:ease,every=0", "must be above 0"),
        ("nightly:ease,histories=none", "now, trained"),
        ("nightly:ease,regularization=0.1", "at least 1"),
        ("nightly:ease,factors=3", "no parameter of ease"),
        pytest.param("nightly:bpr,histories=now", "histories=trained", marks=needs_implicit),
    ],
)
def test_what_cannot_be_is_refused(spec: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        made(spec)


def test_without_implicit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_models, "INSTALLED", False)
    for kind in ("als", "bpr"):
        with pytest.raises(ConfigError, match=r"pip install '\.\[nightly\]'"):
            made(f"nightly:{kind}")
