"""What every model promises: one suite over all of them, alone and together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from streamer.config import load_config
from streamer.events.profiles import PROFILE_WORDS
from streamer.events.types import IMPRESSION
from streamer.model_set import build_models
from streamer.testing import MODEL_CHECKS, ModelCheck, NewModels, check_model
from streamer.testing.contents import snapshot
from streamer.testing.model_checks import wildly_learned
from streamer.testing.streams import (
    EMBEDDING_NUMBERS,
    LARGE,
    SMALL,
    learn_stream,
    made_up,
    new_state,
)
from streamer_models.bandits.bandit import Bandit
from streamer_models.bandits.objectives import Objectives
from streamer_models.counters.consumptions import ItemConsumptions
from streamer_models.counters.daily_rhythm import DailyRhythm
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.counters.last_events import LastEvent
from streamer_models.counters.popularity import Popularity
from streamer_models.counters.profiles import UserProfiles
from streamer_models.counters.rewards import UserRewards
from streamer_models.counters.seen import UserSeen
from streamer_models.counters.token_counts import TokenCounts
from streamer_models.factorization.biased_mf import BiasedMF
from streamer_models.factorization.mf import ImplicitMF, item_scores
from streamer_models.factorization.session import SessionFactors
from streamer_models.neighbors.item_neighbours import ItemNeighbours
from streamer_models.neighbors.item_transitions import ItemTransitions
from streamer_models.ranking.answers import AnsweredSlates
from streamer_models.ranking.blend import ListwiseBlend
from streamer_models.ranking.blend_kernels import N_CONTEXTS, user_context
from streamer_models.state.inputs import Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.readable import Readable, ReadColumns
from streamer_models.state.shared import SharedState
from streamer_models.state.table import USER, Merge, TableSpec, recent_keys
from tests.default_types import CODES

N_FEATURES = 3
CLICK, LIKE = CODES["click"], CODES["like"]


def _mf(loss: str, *, regularization: float = 0.0) -> ImplicitMF:
    return ImplicitMF(
        n_factors=5,
        loss=loss,
        regularization=regularization,
        n_negatives=3,
        recent_share=0.5,
        n_recent_items=16,
    )


def _token_counts() -> TokenCounts:
    return TokenCounts()


def _rewards() -> UserRewards:
    return UserRewards(length=5, n_numbers=4, half_life_ms=60_000)


def _session() -> SessionFactors:
    return SessionFactors(n_factors=5, length=3, n_negatives=3, n_recent_items=16)


class _Practised(ListwiseBlend):
    """The blend, with choices that are made up of events in place of those that are practised."""

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        batch = inputs.feedback
        for i in np.flatnonzero(batch.rewards > 0).tolist():
            rng = np.random.default_rng(int(batch.offsets[i]))
            columns = rng.normal(0, 1, (5, len(self.columns)))
            context = user_context(int(rng.integers(0, 9)), int(rng.integers(0, 10**9)))
            self.step(columns, context, int(rng.integers(0, 5)), state, shared)


def _blend() -> ListwiseBlend:
    prior = np.full((3, N_CONTEXTS), 0.1)
    return _Practised(columns=["a", "b", "c"], prior=prior, window=7)


def _answers() -> AnsweredSlates:
    return AnsweredSlates(columns=["a", "b", "position"], prior=np.array([0.0, 0.1, -0.3]))


def _bandit(half_life_s: float = 0.0) -> Bandit:
    return Bandit(
        n_features=N_FEATURES,
        half_lives_s=(600.0, 86_400.0),
        half_life_s=half_life_s,
        per_arm=True,
    )


def _objectives(half_life_s: float = 0.0) -> list[Model]:
    """The bandit admits the arms."""
    objectives = Objectives(
        objectives={"click": ["click"], "rating": ["rating", "like"]},
        feature_names=[f"x{at}" for at in range(N_FEATURES)],
        counted_half_life_s=3_600.0,
        half_life_s=half_life_s,
    )
    return [_bandit(half_life_s), objectives]


def _decayed() -> DecayedFeatures:
    def rate(entity: str) -> DecayedFeature:
        return DecayedFeature(
            name=f"{entity}_rate",
            entity=entity,
            numerator=(CLICK, LIKE),
            denominator=(IMPRESSION,),
            half_life_ms=600_000,
            smoothing=3.0,
        )

    return DecayedFeatures(
        [
            *map(rate, ("user", "item", "surface")),
            DecayedFeature(
                name="spent",
                entity="user",
                numerator=(CLICK,),
                sums_values=True,
                half_life_ms=9_000,
            ),
            LastEvent(name="recency", entity="item", types=(CLICK, LIKE)),
            LastEvent(name="overall", entity="global", types=(CLICK,)),
        ]
    )


def _profiles() -> UserProfiles:
    return UserProfiles(words=PROFILE_WORDS)


class _LastEmbeddings(Model):
    """Of each user the embedding of what was liked last."""

    def settings(self) -> Mapping[str, Any]:
        return {}

    def tables(self) -> Sequence[TableSpec]:
        return (TableSpec("last_embeddings", USER, Merge.REPLACE, "f4", EMBEDDING_NUMBERS),)

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        liked = inputs.feedback.take(inputs.feedback.rewards > 0)
        vectors, known = inputs.item_embeddings.of(state.items.keys[liked.item_slots])
        if known.any():
            table, slots = state.own["last_embeddings"], liked.user_slots[known]
            table.touch(slots)
            table.values[slots] = vectors[known, :EMBEDDING_NUMBERS]


def _neighbours() -> ItemNeighbours:
    """So short lists that many neighbours fall off."""
    return ItemNeighbours(list_length=4, window=3)


def _transitions() -> ItemTransitions:
    return ItemTransitions(list_length=3, window=2)


MODELS: dict[str, NewModels] = {
    "history": lambda: UserHistory(length=5),
    "consumptions": ItemConsumptions,
    "neighbours": lambda: [UserHistory(length=5), _neighbours()],
    "transitions": lambda: [UserHistory(length=5), _transitions()],
    "popularity": lambda: Popularity(half_lives_s=(60, 3_600, 86_400)),
    "daily_rhythm": DailyRhythm,
    "bpr": lambda: _mf("bpr"),
    "logistic": lambda: _mf("logistic", regularization=0.01),
    "softmax": lambda: _mf("softmax"),
    "session": lambda: [UserHistory(length=5), _session()],
    "token_counts": _token_counts,
    "blend": _blend,
    "answers": _answers,
    "biased_mf": lambda: BiasedMF(n_factors=5),
    "bandit": _bandit,
    "fading_bandit": lambda: _bandit(half_life_s=3_600.0),
    "objectives": _objectives,
    "fading_objectives": lambda: _objectives(half_life_s=3_600.0),
    "seen": lambda: UserSeen(length=7),
    "rewards": _rewards,
    "impressions": lambda: UserImpressions(event_type=IMPRESSION, length=4),
    "decayed_features": _decayed,
    "profiles": _profiles,
    "last_embeddings": _LastEmbeddings,
    "all": lambda: [
        UserHistory(length=5),
        UserSeen(length=7),
        _rewards(),
        ItemConsumptions(),
        _neighbours(),
        _transitions(),
        Popularity(half_lives_s=(60, 3_600)),
        DailyRhythm(),
        _mf("bpr"),
        _session(),
        _token_counts(),
        _blend(),
        _answers(),
        BiasedMF(n_factors=5),
        *_objectives(),
        UserImpressions(event_type=IMPRESSION, length=4),
        _decayed(),
        _profiles(),
    ],
}


@pytest.mark.parametrize("new_models", MODELS.values(), ids=list(MODELS))
@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_every_model_keeps_the_contract(check: ModelCheck, new_models: NewModels) -> None:
    check(new_models, n_features=N_FEATURES)


def test_every_model_of_a_learner_is_in_the_suite() -> None:
    configured = {
        type(model)
        for kind in ("implicit", "explicit")
        for model in build_models(
            load_config(
                env={},
                flags={
                    "learner.model": kind,
                    "recall.mf.candidates": 10,
                    "catalogue.embedding": 4,
                },
            )
        )
    }
    learned = [type(model) for model in _all()]
    left_out = [kind for kind in configured if not any(issubclass(each, kind) for each in learned)]
    assert not left_out, "put it into MODELS"
    assert len(configured) > 10


def test_streams_evict_ids_of_every_entity() -> None:
    models = _all()
    state = new_state(models, bounds=SMALL)
    learn_stream(made_up(1_000, seed=2, n_features=N_FEATURES), state, models)
    assert {entity for entity, ids in state.ids.items() if ids.n_evicted < 50} == set()


def _all() -> list[Model]:
    made = MODELS["all"]()
    assert not isinstance(made, Model)
    return list(made)


def test_prediction_changes_nothing_and_adds_no_ids() -> None:
    models = _all()
    state = new_state(models, bounds=LARGE)
    stream = made_up(300, seed=6, n_features=N_FEATURES)
    learn_stream(stream, state, models)
    before = snapshot(state)
    own, merged = state.own, state.shared.tables
    factors, biases = ImplicitMF.item_arrays(merged["item_factors"].values)
    stranger = np.zeros(5, dtype=np.float32)
    known = state.users.find("user-3")
    first = item_scores(own["user_factors"].values[known, :-1], factors, biases)
    # Somebody new is scored by item biases, and nobody else's scores move.
    np.testing.assert_array_equal(item_scores(stranger, factors, biases), biases)
    assert state.users.find("nobody") == -1
    second = item_scores(own["user_factors"].values[known, :-1], factors, biases)
    np.testing.assert_array_equal(first, second)
    items = merged["item_rating_factors"].values
    users = np.zeros((len(items), 6), dtype=np.float32)
    totals = merged["rating_totals"].values[0]
    assert np.isfinite(BiasedMF.predict(users, items, totals)).all()
    Popularity(half_lives_s=(60, 3_600)).trending(
        merged["item_popularity"].values, int(stream.events.ts_ms[-1])
    )
    recent_keys(own["user_history"].values[known])
    assert snapshot(state) == before


@pytest.mark.parametrize("name", ["bpr", "logistic", "softmax", "biased_mf", "popularity"])
def test_fixed_point_stays_in_range_after_wild_updates(name: str) -> None:
    state = wildly_learned(MODELS[name])
    for table in ("item_factors", "item_rating_factors"):
        if table in state.shared.tables:
            largest = np.abs(state.shared.tables[table].values.astype(np.int64)).max()
            assert 0 < largest <= 64 << 24
    for table in ("item_adagrad", "item_popularity"):
        if table in state.shared.tables:
            assert state.shared.tables[table].values.min() >= 0  # nothing wrapped around


# --- broken models: the suite says what is wrong --------------------------------------------------


class Likes(Model):
    """Counts likes by user and by item: right, and the least that a model has to write."""

    def settings(self) -> Mapping[str, Any]:
        return {}

    def tables(self) -> Sequence[TableSpec]:
        return (
            TableSpec("user_likes", "user", Merge.REPLACE, "i8", 1),
            TableSpec("item_likes", "item", Merge.SUM, "i8", 1),
        )

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        liked = inputs.feedback.rewards > 0
        for table, slots in (
            (state.own["user_likes"], inputs.feedback.user_slots[liked]),
            (state.contributions["item_likes"], inputs.feedback.item_slots[liked]),
        ):
            table.touch(slots)
            np.add.at(table.values[:, 0], slots, 1)


class Untouched(Likes):
    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        super().learn(inputs, state, shared)
        slots = inputs.feedback.user_slots
        state.own["user_likes"].values[slots] += 1


class Remembering(Likes):
    n_learned = 0

    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        super().learn(inputs, state, shared)
        self.n_learned += len(inputs.feedback)
        slots = inputs.feedback.user_slots
        state.own["user_likes"].touch(slots)
        state.own["user_likes"].values[slots] = self.n_learned


class ByBatch(Likes):
    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        super().learn(inputs, state, shared)
        slots = inputs.feedback.user_slots
        state.own["user_likes"].touch(slots)
        state.own["user_likes"].values[slots] += len(slots)


class Writing(Likes):
    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        super().learn(inputs, state, shared)
        inputs.feedback.rewards[:] = 1.0
        inputs.events.values[:] = 0.0


class Floating(Likes):
    def tables(self) -> Sequence[TableSpec]:
        user, item = super().tables()
        return user, TableSpec(item.name, item.entity, item.merge, "f4", 1)


class Misread(Likes):
    def readable(self) -> Sequence[Readable]:
        return (ReadColumns(TableSpec("likes", "item", Merge.SUM, "i8", 1)),)


class Useless(Likes):
    def tables(self) -> Sequence[TableSpec]:
        return *super().tables(), TableSpec("unused", "item", Merge.SUM, "i8", 1)


class Restless(Likes):
    def learn(self, inputs: Inputs, state: PartitionState, shared: SharedState) -> None:
        super().learn(inputs, state, shared)
        state.own["user_likes"].touch(state.users.live_slots())


class Shrinking(Likes):
    def rescale(self, shared: SharedState, others: object) -> None:
        shared.tables["item_likes"].values //= 2


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_the_least_that_a_model_writes_is_enough(check: ModelCheck) -> None:
    check(Likes)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (Untouched, "touch"),
        (Remembering, "must learn the same again"),
        (ByBatch, "batches .* must teach what one does"),
        (Writing, "inputs must not be written to: feedback.rewards"),
        (Floating, "table item_likes: .* merge exactly as integers"),
        (Misread, r"readable\(\) names likes, and tables\(\) has no such table"),
        (Useless, "table unused: 600 events of all types taught nothing"),
        (Restless, "learning nothing must change nothing"),
        (Shrinking, "rescale"),
    ],
)
def test_a_broken_model_is_told_the_rule(broken: type[Model], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_model(broken)


def test_tables_of_one_name_are_refused() -> None:
    with pytest.raises(AssertionError, match="'user_likes' is used twice"):
        check_model(lambda: [Likes(), Likes()])
