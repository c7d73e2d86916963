"""Items shown to users: what is kept, and what the ranking makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.config import BanditConfig, Config
from streamer.events.types import IMPRESSION
from streamer.model_set import build_models
from streamer.ranking.features import Features
from streamer_models.counters.history import UserHistory
from streamer_models.counters.impressions import UserImpressions
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.inputs import Events, Inputs
from streamer_models.state.model import Model
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.table import recent_keys
from tests.default_types import CODES
from tests.learning import learn, new_state, stream
from tests.scoring import Click, Shop, crowd

LENGTH = 4


def keys(*items: str) -> list[int]:
    return [id_key(item.encode()) for item in items]


def impressions(offsets: NDArray[np.int64], users: Sequence[str], items: Sequence[str]) -> Events:
    n = len(offsets)
    types = np.full(n, IMPRESSION, dtype=np.int8)
    return Events(
        offsets, np.zeros(n, dtype=np.int64), types, np.full(n, np.nan), users, items, [""] * n
    )


def shown_to(users: str, items: str, *, offset: int) -> Events:
    """One letter a user and an item."""
    return impressions(np.arange(offset, offset + len(users)), list(users), list(items))


def show(model: UserImpressions, events: Events, state: PartitionState) -> None:
    model.learn(Inputs(events=events), state, state.shared)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_last_items_shown_to_known_users_are_kept(size: int) -> None:
    model = UserImpressions(event_type=IMPRESSION, length=LENGTH)
    models: list[Model] = [UserHistory(length=2), model]
    state = new_state(models, bounds=Bounds(users_max=100, items_max=100))
    feedback = stream(40, seed=1, n_users=2)
    learn(feedback, state, models)
    first = int(feedback.offsets[feedback.user_ids.index("user-1")])
    n = 30
    shown = impressions(
        np.arange(first - 5, first - 5 + n),
        ["user-1", "user-0", "stranger"] * (n // 3),
        [f"i{row % 7}" for row in range(n)],
    )
    expected = [
        f"i{row % 7}"
        for row in range(n)
        if shown.user_ids[row] == "user-1" and shown.offsets[row] > first
    ]
    for start in range(0, n, size):
        show(model, shown.slice(start, start + size), state)
    row = state.own[UserImpressions.TABLE].values[state.users.find("user-1")]
    assert recent_keys(row).tolist() == keys(*expected[: -LENGTH - 1 : -1])
    assert int(row[0]) == len(expected)


def test_impressions_before_any_user_are_passed_over() -> None:
    model = UserImpressions(event_type=IMPRESSION, length=LENGTH)
    state = new_state([model])
    show(model, shown_to("ab", "xy", offset=0), state)
    assert not state.own[UserImpressions.TABLE].values.any()


def test_events_of_other_types_show_nothing() -> None:
    model = UserImpressions(event_type=IMPRESSION, length=LENGTH)
    models: list[Model] = [UserHistory(length=2), model]
    state = new_state(models, bounds=Bounds(users_max=100, items_max=100))
    learn(stream(40, seed=1, n_users=2), state, models)
    events = shown_to("ab", "xy", offset=1 << 40)
    events = replace(events, user_ids=["user-0", "user-1"])
    others = replace(events, types=np.full(2, CODES["click"], dtype=np.int8))
    show(model, others, state)
    assert not state.own[UserImpressions.TABLE].values.any()
    show(model, events, state)
    assert state.own[UserImpressions.TABLE].values.any()


def column(shop: Shop, user: str, name: str = "passed_by") -> dict[str, float]:
    """By candidate."""
    slate = shop.ask(user)
    features: Features = slate.features
    return dict(zip(slate.candidates, features.column(name).tolist(), strict=True))


def test_ranking_knows_how_often_a_user_passed_an_item_by() -> None:
    shop = Shop()
    shop.click(
        *crowd("a", 3), *crowd("b", 2), *crowd("c", 1), Click("me", "old"), Click("you", "a")
    )
    shop.impress("me", "a", "b", "a", "a")
    assert column(shop, "me") == pytest.approx({"a": math.log(4), "b": math.log(2), "c": 0.0})
    assert set(column(shop, "you").values()) == {0.0}
    assert set(column(shop, "nobody").values()) == {0.0}


def test_without_impressions_there_is_no_column() -> None:
    shop = Shop(bandit=BanditConfig(policy="greedy", impressions=0))
    shop.click(*crowd("a", 3))
    assert "passed_by" not in shop.ask("me").features.names


def test_what_counts_as_shown_is_a_setting() -> None:
    """By name, as a code may change when a type is added; by its code where it has none."""
    named = UserImpressions(event_type=IMPRESSION, type_name="impression", length=LENGTH)
    assert named.settings() == {"event_type": "impression", "length": LENGTH}
    coded, other = (UserImpressions(event_type=code, length=LENGTH) for code in (2, 3))
    assert coded.settings() != other.settings()
    (made,) = (each for each in build_models(Config()) if isinstance(each, UserImpressions))
    assert made.settings()["event_type"] == "impression"


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        UserImpressions(event_type=IMPRESSION, length=0)
