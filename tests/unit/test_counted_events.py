"""Which events fading features count, and what `streamer features show` says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from streamer.application.services.features import known_features
from streamer.application.starting import configured_store
from streamer.cli import app
from streamer.clock import SystemClock
from streamer.config import load_config
from streamer.errors import ConfigError
from streamer.events import Event, encode
from streamer.learner.batch import DecodedBatch, decode_batch
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.dedup import DedupWindow
from streamer.learner.learner import Learner
from streamer.model_set import build_models, store_layout
from streamer.protocols import MessageBatch
from streamer_models.counters.decayed_counters import DecayedFeature
from streamer_models.counters.decayed_features import DecayedFeatures
from streamer_models.counters.decayed_layout import ID_ENTITY_OF
from streamer_models.state.ids.id_table import META_FIRST_OFFSET
from streamer_models.state.inputs import Events, Inputs
from tests.default_types import CODES, TYPES
from tests.event_log import START_MS, Dead, default_rewards
from tests.learning import LARGE, new_state

CLICK, IMPRESSION = CODES["click"], CODES["impression"]


def feature(entity: str) -> DecayedFeature:
    return DecayedFeature(
        name=entity,
        entity=entity,
        numerator=(CLICK,),
        denominator=(IMPRESSION,),
        half_life_ms=1_000,
    )


def decoded_batch(*events: Event, publish_ms: int = -1) -> DecodedBatch:
    payloads: list[bytes | None] = [encode(event) for event in events]
    offsets = np.arange(len(events), dtype=np.int64)
    batch = MessageBatch("events", 0, payloads, offsets, np.full(len(events), publish_ms))
    return decode_batch(batch, types=TYPES, dedup=DedupWindow(10), rewards=default_rewards)


def decoded(*events: Event, publish_ms: int = -1) -> Events:
    return decoded_batch(*events, publish_ms=publish_ms).events


def counted(events: Events, entity: str = "user") -> dict[str, int]:
    """By id that is counted for: the offset of its first event."""
    model = DecayedFeatures([feature(entity)])
    state = new_state([model], bounds=LARGE)
    assert model.make_room(Inputs(events=events), state) is None
    model.learn(Inputs(events=events), state, state.shared)
    ids = state.ids[ID_ENTITY_OF[entity]]
    first = ids.meta.values[:, META_FIRST_OFFSET]
    return {ids.name(slot).decode(): int(first[slot]) for slot in ids.live_slots().tolist()}


def event(event_id: str, **others: Any) -> Event:
    given: dict[str, Any] = {
        "type": "click",
        "user_id": "u",
        "item_id": "i",
        "ts": START_MS,
    } | others
    return Event(event_id=event_id, **given)


def test_events_ahead_of_their_publication_are_counted_once_each() -> None:
    events = [event(str(ahead), ts=START_MS + ahead) for ahead in (-5, 0, 999, 1_000, 86_400_000)]
    found = decoded_batch(*events, events[-1], publish_ms=START_MS)
    assert (found.n_ahead, found.n_duplicates) == (2, 1)
    assert found.events.ts_ms.tolist() == [START_MS - 5, *[START_MS] * 4]
    assert decoded_batch(*events, publish_ms=-1).n_ahead == 0  # it is not known when


def test_values_that_are_clipped_are_counted_by_type() -> None:
    ratings = [event(f"r{value}", type="rating", value=value) for value in (0.0, 5.0, 5.1, 1e308)]
    others = [event("c", value=1e308), event("w", type="watch", value=-1.5), event("n")]
    found = decoded_batch(*ratings, *others, ratings[-1])
    assert found.n_clipped == {"rating": 2, "watch": 1}


def test_events_without_a_reward_count_and_repeated_ones_do_not() -> None:
    found = decoded(
        event("1", user_id="a"),
        event("2", user_id="b", type="impression"),
        event("1", user_id="a"),
        event("3", user_id="c", type="skip"),
    )
    assert list(found.user_ids) == ["a", "b", "c"]
    assert found.types.tolist() == [CLICK, IMPRESSION, CODES["skip"]]
    assert found.offsets.tolist() == [0, 1, 3]
    assert counted(found) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    ("publish_ms", "lead_ms"), [(START_MS - 500, -500), (-1, 0), (START_MS, 0)]
)
def test_an_event_counts_no_later_than_it_was_published(publish_ms: int, lead_ms: int) -> None:
    assert decoded(event("1"), publish_ms=publish_ms).ts_ms.tolist() == [START_MS + lead_ms]


def test_the_surface_is_what_the_context_says() -> None:
    found = decoded(
        event("1", context={"surface": "home"}),
        event("2", context={"device": "phone"}),
        event("3"),
        event("4", context={"surface": 3}),
        event("5", context={"surface": "x" * 257}),
    )
    assert list(found.surfaces) == ["home", "", "", "", ""]
    assert counted(found, "surface") == {"home": 0}


def test_what_the_learner_holds_is_shown_without_a_broker(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    path.write_text(
        f"""
        [store]
        url = "sqlite:{tmp_path / "store.db"}"
        [windows]
        default_features = false
        [features.user_clicks]
        entity = "user"
        numerator = "click"
        half_life = "1d"
        [features.user_last]
        entity = "user"
        numerator = "click"
        measure = "recency"
        """,
        encoding="utf-8",
    )
    show = ["features", "show", "user", "u", "--config", str(path)]
    empty = CliRunner().invoke(app, show)
    assert empty.exit_code == 0
    assert "missing" in empty.stdout
    assert "nothing is known of user u: check how it is spelled" in empty.stdout
    config = load_config(path, env={})
    models = build_models(config)
    store = configured_store(config)
    store.ensure_layout(store_layout(config, models))
    learner = Learner(
        store=store,
        models=models,
        settings=learner_settings(config),
        rewards=reward_function(config),
        owner="a",
        clock=SystemClock(),
        dead_letter=Dead(),
    )
    learner.assign([0])
    now_ms = SystemClock().now_ms()
    payloads: list[bytes | None] = [encode(event(str(i), ts=now_ms - 3_000)) for i in range(3)]
    offsets = np.arange(3, dtype=np.int64)
    learner.learn([MessageBatch("events", 0, payloads, offsets, np.full(3, now_ms))])
    store.close()
    told = CliRunner().invoke(app, show).stdout
    took_s = (SystemClock().now_ms() - now_ms) / 1000
    shown = re.search(r"user_clicks\D+([0-9.]+).*fades", told)
    assert shown is not None, told
    assert float(shown[1]) == pytest.approx(3.0, rel=0.01)
    since = re.search(r"user_last\D+([0-9.]+) s .*since the last one", told)
    assert since is not None, told
    assert 3.0 <= float(since[1]) <= 3.1 + took_s
    assert "nothing is known" not in told


def test_what_cannot_be_shown_is_said() -> None:
    whose = CliRunner().invoke(app, ["features", "show", "item"])
    assert (whose.exit_code, "say which item" in whose.stderr) == (2, True)
    with pytest.raises(ConfigError, match=r"some of none: add a table \[features\.NAME\]"):
        known_features(load_config(env={}, flags={"windows.default_features": False}), "item", "i1")
