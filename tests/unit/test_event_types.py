"""Event types are configuration: an added type is learned, counted and replayed as any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamer.config import Config, EventConfig, load_config
from streamer.config.specs import parse_specs
from streamer.errors import BadMessage, ConfigError
from streamer.events import (
    DEFAULT_TYPES,
    Event,
    EventTypes,
    Item,
    decode_dead_letter,
    decode_event,
    encode,
)
from streamer.events.event_columns import decode_events
from streamer.events.types import TYPES_MAX
from streamer.faust_worker.bundles import Bundle, Part, decode_bundle, encode_bundle, received
from streamer.learner.configured import learner_settings
from streamer.model_set import build_models
from streamer.replay.experiment import Experiment
from streamer.replay.funnel_model import FunnelModel, funnel_config, funnel_keys
from streamer.replay.interactions import Interaction
from streamer.replay.settings import Settings
from streamer.simulation.live import LiveSystem
from streamer.verify.parameters import compare_contents, image_contents
from streamer_models.counters.decayed_counters import N_TYPES_MAX
from streamer_producers.datasets import open_log
from tests.unit.replay_logs import MemoryLog

START_MS = 1_700_000_000_000
SAVE = """
[topics]
partitions = 2
[learner]
sync_interval_ms = 100
[mf]
factors = 4
[events.save]
weight = 2
[features.saves]
numerator = "save"
half_life = "1h"
[features.save_rate]
numerator = ["save", "click"]
denominator = "impression"
window = "1s"
lateness = "100ms"
"""


def configured(folder: Path, toml: str = SAVE) -> Config:
    path = folder / "streamer.toml"
    path.write_text(toml, encoding="utf-8")
    return load_config(path, env={})


def event(n: int, event_type: str, *, ts: int = START_MS, value: float | None = None) -> Event:
    return Event(
        event_id=f"e{n}",
        type=event_type,
        user_id=f"u{n % 7}",
        item_id=f"i{n % 5}",
        ts=ts,
        value=value,
    )


def played(config: Config, events: list[Event]) -> LiveSystem:
    live = LiveSystem(config, start_ms=START_MS)
    live.publish(*(Item(item_id=f"i{n}") for n in range(5)))
    live.publish(*events)
    live.advance(START_MS + 100)
    return live


def differences(left: LiveSystem, right: LiveSystem) -> list[str]:
    """What the stores of two systems hold differently."""
    models, settings = build_models(left.config), learner_settings(left.config)
    found: list[str] = []
    for partition in range(left.config.topics.partitions):
        pair = [
            image_contents(each.store.load(partition), models, settings) for each in (left, right)
        ]
        found += compare_contents(*pair)
    return found


# --- codes ----------------------------------------------------------------------------------------


def test_default_codes_are_fixed_and_added_ones_follow_in_the_order_of_their_names() -> None:
    assert EventTypes().names == DEFAULT_TYPES
    some = EventTypes(("save", "bookmark", "click"))
    assert some.names == (*DEFAULT_TYPES, "bookmark", "save")
    assert some == EventTypes(("bookmark", "save"))
    assert [some.codes[name] for name in DEFAULT_TYPES] == list(range(len(DEFAULT_TYPES)))


def test_kernels_have_a_bit_for_every_type() -> None:
    assert TYPES_MAX == N_TYPES_MAX
    n_added = TYPES_MAX - len(DEFAULT_TYPES)
    assert len(EventTypes(tuple(f"t{n}" for n in range(n_added)))) == TYPES_MAX
    with pytest.raises(ValueError, match="52 event types are added to the 11 default ones"):
        EventTypes(tuple(f"t{n}" for n in range(n_added + 1)))


def test_too_many_types_are_refused_with_their_origin(tmp_path: Path) -> None:
    toml = "".join(f"[events.t{n}]\nweight = 1\n" for n in range(52))
    said = r"streamer\.toml: events\.t9\.weight: 52 event types are added"
    with pytest.raises(ConfigError, match=said):
        configured(tmp_path, toml)


def test_columns_carry_the_codes_of_the_types_they_were_decoded_with() -> None:
    payloads: list[bytes | None] = [encode(event(0, "save")), encode(event(1, "click"))]
    for added in (("save",), ("bookmark", "save")):
        types = EventTypes(added)
        columns, rejected = decode_events(payloads, np.full(2, -1), types)
        assert not rejected
        assert [types.names[code] for code in columns.types] == ["save", "click"]


# --- what is not configured ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "section"), [("save", "[events.save]"), ("Save it!", "[events.NAME]")]
)
@pytest.mark.parametrize("context", [None, {"note": "n" * 300}])  # a short message, and a long one
def test_an_unknown_type_is_rejected_with_the_section_to_add(
    name: str, section: str, context: dict[str, str | int | float | bool] | None
) -> None:
    payload = encode(replace(event(0, name), context=context))
    columns, rejected = decode_events(
        [encode(event(1, "like")), payload], np.full(2, -1), EventTypes(("bookmark",))
    )
    assert columns.event_ids.strings() == ["e1"]
    (bad,) = rejected
    assert bad.index == 1
    assert bad.reason.startswith(f"field 'type': {json.dumps(name)} is unknown; add {section} with")
    assert "or map it to one of impression, click" in bad.reason
    assert bad.reason.endswith("skip, bookmark")
    with pytest.raises(BadMessage) as refused:
        decode_event(payload, EventTypes(("bookmark",)))
    assert str(refused.value) == bad.reason


def test_a_learner_puts_an_unknown_type_into_the_dead_letters() -> None:
    live = played(replace(Config(), learner=replace(Config().learner, sync_interval_ms=100)), [
        event(0, "click"), event(1, "save"),
    ])  # fmt: skip
    (record,) = live.broker.records("dead-letters")
    letter = decode_dead_letter(record.value)
    assert "add [events.save] with its weight" in letter.reason
    assert live.counts.n_learned == 1


def test_a_feature_of_an_unknown_type_names_the_section(tmp_path: Path) -> None:
    without = SAVE.replace("[events.save]\nweight = 2\n", "")
    with pytest.raises(ConfigError) as refused:
        configured(tmp_path, without)
    assert 'numerator: "save" is no event type: add [events.save] with' in str(refused.value)


# --- what is configured -------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [2.0, 0.5])
def test_a_type_teaches_as_any_other_of_its_weight(tmp_path: Path, weight: float) -> None:
    toml = SAVE[: SAVE.index("[features")].replace("weight = 2", f"weight = {weight}")
    config = configured(tmp_path, toml + "[windows]\ndefault_features = false\n")
    kinds = ["save" if n % 3 else "skip" for n in range(60)]
    ours = played(config, [event(n, kind) for n, kind in enumerate(kinds)])
    likes = ["like" if kind == "save" else kind for kind in kinds]  # a like is worth 2
    theirs = played(config, [event(n, kind) for n, kind in enumerate(likes)])
    assert ours.counts.n_learned == theirs.counts.n_learned == 60
    assert (differences(ours, theirs) == []) == (weight == 2.0)


def test_features_count_it_by_its_name(tmp_path: Path) -> None:
    config = configured(tmp_path)
    events = [event(5 * n, kind) for n, kind in enumerate(["save", "save", "like", "impression"])]
    live = played(config, events)
    live.publish(event(90, "skip", ts=START_MS + 5_000), event(91, "skip", ts=START_MS + 5_000))
    for step_ms in range(200, 60_000, 10_000):  # the other partition is idle after a while
        live.advance(START_MS + step_ms)
    decision = live.request("u1").decision
    row = decision.feature_matrix()[decision.candidates.index("i0")]
    values = dict(zip(decision.feature_names, row.tolist(), strict=True))
    assert values["saves"] == pytest.approx(math.log(1 + 2 * 0.5 ** (50.2 / 3600)) / 4, abs=1e-3)


def test_a_type_more_changes_nothing_that_was_learned_before_it(tmp_path: Path) -> None:
    kinds = ["save", "click", "impression", "skip"]
    events = [event(n, kinds[n % 4]) for n in range(40)]
    before = played(configured(tmp_path), events)
    more = configured(tmp_path, SAVE + "[events.bookmark]\nweight = 1\n")
    assert more.event_types.codes["save"] != before.config.event_types.codes["save"]
    assert differences(before, played(more, events)) == []


def test_replay_and_live_agree(tmp_path: Path) -> None:
    config = configured(tmp_path)
    kinds = ["save", "click", "impression", "bookmark"]
    events = [event(n, kinds[n % 4], ts=START_MS + n) for n in range(60)]
    funnel = funnel_config(config, {"events.save.weight": "2.5"}, seed=0, n_partitions=2)
    assert funnel.events["save"] == EventConfig(weight=2.5)
    assert "events.save.weight" in funnel_keys(config)
    model = FunnelModel(funnel)
    for number, each in enumerate(events):
        model.learn(Interaction(number=number, event=each, user_row=0, item_row=0, reward=1.0))
    model.sync(START_MS + 1_000)
    live = LiveSystem(funnel, start_ms=START_MS)
    for each in events:
        live.advance(each.ts)
        live.publish(each)
    live.advance(START_MS + 1_000)
    assert model.live is not None
    assert live.counts.n_learned == 30
    assert live.counts.n_rejected == model.live.counts.n_rejected == 15
    assert differences(model.live, live) == []


def test_replay_scores_what_has_a_positive_reward_or_is_asked_for(tmp_path: Path) -> None:
    config = configured(tmp_path)
    kinds = ["save", "skip", "click", "save"]
    log = MemoryLog([event(n, kinds[n % 4], ts=START_MS + n) for n in range(40)])
    for positives, n_targets in ((None, 30), ("type=save", 20), ("type!=save", 20)):
        settings = Settings(positives=positives)
        found = Experiment(log, parse_specs(["popularity"]), settings, config=config).run()
        assert found.log.n_targets == n_targets
    with pytest.raises(ConfigError, match=r"'keep' is no event type; add \[events\.keep\]"):
        Experiment(log, parse_specs(["popularity"]), Settings(positives="type=keep"), config=config)


def test_logs_and_mappings_know_it(tmp_path: Path) -> None:
    config = configured(tmp_path)
    path = tmp_path / "log.jsonl"
    path.write_bytes(encode(event(0, "save")) + b"\n" + encode(event(1, "click")) + b"\n")
    log = open_log(path, types=config.event_types)
    assert [each.type for each in log.events()] == ["save", "click"]
    strange = open_log(path)
    assert [each.type for each in strange.events()] == ["click"]
    assert "add [events.save] with its weight" in strange.malformed[0].reason
    mapped = open_log(path, mapping="type=save", types=config.event_types)
    assert [each.type for each in mapped.events()] == ["save", "save"]
    typed = open_log(path, event_type="save", types=config.event_types)
    assert [each.type for each in typed.events()] == ["save", "save"]


# --- between workers ----------------------------------------------------------------------------


def test_bundles_name_the_types_they_count() -> None:
    sent = EventTypes(("bookmark", "save"))
    codes = [sent.codes[name] for name in ("save", "click", "bookmark", "save")]
    part = Part("item", [1, 2, 3, 4], list("abcd"), codes, [5] * 4, [None] * 4, list("uvwx"))
    bundle = decode_bundle(encode_bundle(Bundle(0, 1, False, [part], 0, sent.added)))
    for types in (sent, EventTypes(("save",)), EventTypes(("annotate", "save"))):
        (found,) = received([bundle], types)
        names = [types.names[code] for code in found.contributions.types]
        known = [name for name in ("save", "click", "bookmark", "save") if name in types]
        assert names == known
        assert len(found.offsets) == len(found.contributions) == len(known)
    with pytest.raises(BadMessage, match="codes of event types go from 0 to 10"):
        decode_bundle(encode_bundle(Bundle(0, 1, False, [part])))
