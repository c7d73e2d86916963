"""A recall channel is one file and one line: what is derived from it; and reasons of channels."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from streamer.config import BanditConfig, Config, SlateConfig, describe, known_keys, load_config
from streamer.config.extensions import REGISTRIES
from streamer.documentation import generated
from streamer.errors import ConfigError
from streamer.model_set import build_models
from streamer.ranking.columns import feature_names, prior_mean
from streamer.ranking.columns import registry as columns
from streamer.ranking.columns.family import Family
from streamer.ranking.recall.channel import Channel, WeighedSettings
from streamer.ranking.recall.neighbours import NeighbourChannel
from streamer.ranking.recall.registry import channels_on, registered, registered_for_now
from streamer.ranking.recall.union import Recall
from streamer.replay.funnel_model import funnel_config, funnel_keys
from streamer_models.factorization.mf import ImplicitMF
from tests import extended
from tests.imports import ROOT
from tests.scoring import RECALL, START_MS, Click, Shop, crowd, recalling, two_tastes

DOCS = ROOT / "docs"


def documented(path: str, name: str, changed: str, into: str) -> Any:
    """The class that the documentation writes to ``path``, with some of its text changed: so that
    there may be one as it is written, too."""
    source = extended.documented()[path]
    assert source.count(changed) == 1
    module = ModuleType(f"documented.{name}")
    sys.modules[module.__name__] = module  # where annotations are looked up
    exec(compile(source.replace(changed, into), path, "exec"), module.__dict__)
    return getattr(module, name)


@pytest.fixture
def newest() -> Iterator[type[Channel[Any]]]:
    path = "streamer/ranking/recall/newest.py"
    channel = documented(path, "NewestChannel", 'name = "newest"', 'name = "latest"')
    with registered_for_now(channel):
        yield channel


def test_partitions_share_the_length_of_neighbour_lists() -> None:
    flags = {"recall.similar.neighbours": 100, "recall.next.neighbours": 7}
    lengths = {}
    for n_partitions in (1, 2, 4, 8):
        config = load_config(env={}, flags={**flags, "topics.partitions": n_partitions})
        lengths[n_partitions] = [
            channel.model().lists.spec.width // 2
            for channel in channels_on(config)
            if isinstance(channel, NeighbourChannel)
        ]
    assert lengths == {1: [100, 7], 2: [100, 7], 4: [50, 4], 8: [25, 2]}


def test_a_channel_of_the_documentation_brings_candidates_with_its_columns_and_its_reason(
    newest: type[Channel[Any]],
) -> None:
    shop = Shop({**RECALL, "latest": newest.settings_type(candidates=20)})
    shop.click(*crowd("a", 5), *crowd("b", 4))
    shop.publish("met", created_ts=START_MS - 86_400_000)
    shop.publish("old", created_ts=START_MS - 2 * 86_400_000)
    shop.publish("new", created_ts=START_MS)
    shop.publish("gone", available=False)
    shop.click(Click("ann", "met"))
    slate = shop.ask("ann", k=4)
    assert set(slate.candidates) == {"a", "b", "old", "new"}
    of = {
        kind: dict(zip(slate.candidates, slate.features.column(f"latest_{kind}"), strict=True))
        for kind in ("score", "rank", "z")
    }
    assert of["score"] == {"a": 0, "b": 0, "old": -2, "new": 0}
    assert of["rank"] == pytest.approx({"a": 0, "b": 0, "new": 1, "old": 10 / 11})
    assert sum(of["z"].values()) == pytest.approx(0, abs=1e-6)
    reasons = dict(zip(slate.item_ids, slate.reasons, strict=True))
    assert (reasons["new"], reasons["old"]) == ("just in", "just in")
    assert "just in" not in (reasons["a"], reasons["b"])


@pytest.mark.usefixtures("newest")
def test_its_section_is_in_the_configuration_the_documentation_and_replay(tmp_path: Path) -> None:
    file = tmp_path / "streamer.toml"
    file.write_text("[recall.latest]\ncandidates = 7\n")
    env = {"STREAMER_RECALL__LATEST__WEIGHT": "0.5"}
    config = load_config(file, env=env)
    rows = {key: (value, origin) for key, value, origin in describe(config)}
    assert rows["recall.latest.candidates"] == ("7", str(file))
    assert rows["recall.latest.weight"] == ("0.5", "environment STREAMER_RECALL__LATEST__WEIGHT")
    assert known_keys()["recall.latest.candidates"].allowed == "an integer from 0 to 10,000"
    with pytest.raises(ConfigError, match=r"known one is 'recall\.latest\.candidates'"):
        load_config(file, env={}, flags={"recall.latest.candidate": 1})
    page = generated(DOCS)[DOCS / "configuration.md"]
    assert "### [recall.latest]" in page
    assert "recalled because they are new" in page
    assert "recall.latest.weight" in funnel_keys(config)
    replayed = funnel_config(config, {"recall.latest.candidates": "3"}, seed=0, n_partitions=1)
    (channel,) = (each for each in channels_on(replayed) if each.name == "latest")
    assert (channel.settings.candidates, channel.prior_weight("z")) == (3, 0.5)
    weights = dict(zip(feature_names(config), prior_mean(config).tolist(), strict=True))
    assert weights["latest_z"] == pytest.approx(0.5 * config.bandit.prior_reward)


def test_its_candidates_are_within_the_bound_of_a_decision(newest: type[Channel[Any]]) -> None:
    many = recalling() | {"latest": newest.settings_type(candidates=9_999)}
    complaint = r"recall\.mf\.candidates \+ .*recall\.latest\.candidates = 10029: a decision"
    with pytest.raises(ConfigError, match=complaint):
        Recall(Config(recall=many))


def test_without_the_line_nothing_is_left_of_it() -> None:
    assert not [key for key in known_keys() if key.startswith("recall.latest")]
    assert not [name for name in feature_names(Config()) if name.startswith("latest")]


def test_a_column_of_the_documentation_is_logged_and_weighs_in_the_prior() -> None:
    path, meaning = "streamer/ranking/columns/titled.py", '"1 for an item with a title"'
    weighed = f'"headed", {meaning}, prior_weight=0.5'
    family: type[Family] = documented(path, "TitledColumn", f'"titled", {meaning}', weighed)
    with columns.registered_for_now(family):
        shop = Shop()
        shop.publish("a", title="A")
        shop.publish("b")
        slate = shop.ask("ann")
        headed = dict(zip(slate.candidates, slate.features.column("headed"), strict=True))
        assert headed == {"a": 1.0, "b": 0.0}
        assert slate.item_ids == ["a", "b"]
        assert prior_mean(shop.config)[-1] == 0.5 * shop.config.bandit.prior_reward
        assert (
            "| `headed` | 1 for an item with a title |" in (generated(DOCS)[DOCS / "messages.md"])
        )


@pytest.mark.parametrize("table", list(REGISTRIES))
def test_a_registry_that_the_configuration_names_has_entries_with_sections(table: str) -> None:
    for each in import_module(REGISTRIES[table]).registered():
        assert each.settings_type.__doc__
        assert any(key.startswith(f"{table}.{each.name}.") for key in known_keys())


def test_a_weight_is_that_of_a_standardized_score() -> None:
    for each in registered():
        weighs = each.weighed in each.columns
        assert issubclass(each.settings_type, WeighedSettings) == weighs, each.name
        assert each.weighed == ("score" if each.name in ("fresh", "chosen") else "z")


def test_channels_that_the_blend_is_made_of_are_on_by_default_and_random_ones() -> None:
    on = {each.name for each in channels_on(Config())}
    assert on == {
        "similar",
        "next",
        "popular",
        "time_of_day",
        "session",
        "taste",
        "blend",
        "chosen",
        "fresh",
        "random",
    }
    assert {each.name for each in registered()} - on >= {
        "again",
        "content",
        "mf",
        "trending",
        "trending_feature",
    }


def test_a_channel_that_is_off_is_not_learned_and_has_no_columns() -> None:
    config = Config(recall=recalling(mf={"candidates": 0, "weight": 0.0}))
    assert not [each for each in build_models(config) if isinstance(each, ImplicitMF)]
    assert not [name for name in feature_names(config) if "mf" in name]
    scored = Config(recall=recalling(mf={"candidates": 0}))
    assert [each for each in build_models(scored) if isinstance(each, ImplicitMF)]
    assert "mf_score" in feature_names(scored)
    shop = Shop(config.recall)
    two_tastes(shop)
    assert set(shop.ask("u3", k=3).reasons) == {"trending"}


def test_a_channel_that_is_off_is_made_by_no_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = set[str]()
    begin = Channel.__init__

    def noted(channel: Channel[Any], config: Config) -> None:
        made.add(channel.name)
        begin(channel, config)

    monkeypatch.setattr(Channel, "__init__", noted)
    shop = Shop(recalling(fresh={"weight": 0.0}), slate=SlateConfig(fresh=("1 in 5",)))
    shop.click(*crowd("a", 3))
    shop.publish("b", created_ts=START_MS)
    slate = shop.ask("ann")
    assert (slate.item_ids, slate.n_new) == (["a", "b"], 1)
    assert made == {each.name for each in channels_on(shop.config)}


def test_with_every_channel_off_a_slate_is_filled_with_what_is_popular_and_then_new() -> None:
    off = {"candidates": 0, "weight": 0.0}
    shop = Shop(recalling(mf=off, trending=off))
    shop.click(*crowd("a", 3), *crowd("b", 1))
    shop.publish("c")
    slate = shop.ask("ann", k=3)
    assert slate.candidates[2] == "c"
    assert dict(zip(slate.item_ids, slate.reasons, strict=True)) == {
        "a": "trending",
        "b": "trending",
        "c": "new",
    }


# --- reasons -------------------------------------------------------------------------------------


def test_a_known_item_that_was_drawn_at_random_says_so() -> None:
    few = recalling(mf={"candidates": 1}, trending={"candidates": 1}, random={"candidates": 9})
    shop = Shop(few, bandit=BanditConfig(policy="epsilon-greedy", uniform_share=0.9))
    two_tastes(shop)
    shop.publish("unmet")
    for number in range(20):
        shop.publish(f"i{number}")
    found: dict[str, set[str]] = {}
    for n in range(60):
        slate = shop.ask("u3", k=3, request_id=f"r{n}")
        ranks = slate.features.column("mf_rank") + slate.features.column("trending_rank")
        by_channels = {
            item for item, rank in zip(slate.candidates, ranks.tolist(), strict=True) if rank
        }
        for item, reason in zip(slate.item_ids, slate.reasons, strict=True):
            found.setdefault(reason, set()).add(item)
            assert (reason == "at random") == (item not in by_channels and item != "unmet")
    assert set(found) == {"for you", "trending", "at random", "new"}
    assert found["new"] == {"unmet"}


def test_the_first_channel_counts_where_two_place_an_item_alike() -> None:
    shop = Shop(recalling(mf={"candidates": 5, "weight": 1.0}))
    two_tastes(shop)
    for user in ("u3", "u4"):
        slate = shop.ask(user, k=8)
        mf, trending = (slate.features.column(f"{name}_rank") for name in ("mf", "trending"))
        for item, reason in zip(slate.item_ids, slate.reasons, strict=True):
            at = slate.candidates.index(item)
            assert reason == ("for you" if mf[at] >= trending[at] else "trending")


# --- keys that have moved ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scorer.candidates_mf", "recall.mf.candidates"),
        ("scorer.weight_trending", "recall.trending.weight"),
        ("scorer.trending_feature", "recall.trending_feature.feature"),
    ],
)
def test_a_key_that_has_moved_is_refused_with_the_new_one(old: str, new: str) -> None:
    message = f"unknown key '{old}'; it is '{new}' now"
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config("/dev/null", env={}, flags={old: "1"})
    variable = f"STREAMER_{old.upper().replace('.', '__')}"
    with pytest.raises(ConfigError, match=re.escape(f"environment {variable}: {message}")):
        load_config("/dev/null", env={variable: "1"})
    assert new in known_keys()
