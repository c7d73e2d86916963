"""Which settings a store keeps of a configuration, and which of them make a model another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from streamer.config import load_config
from streamer.errors import LayoutMismatch, TopicMismatch
from streamer.model_set import build_models, recorded_config, store_layout
from streamer.protocols import Layout
from streamer.store.agreement import differences
from streamer.store.memory import MemoryStore
from streamer.store.of_models import StoreOfModels

TOML = """
[recall.mf]
candidates = 9
[windows]
default_features = false
[features.rate]
numerator = "click"
denominator = "impression"
half_life = "5m"
smoothing = 20
ranks = false
"""

LAST = """
[features.last]
numerator = "click"
measure = "recency"
ranks = false
"""


def layout(path: Path, *changes: tuple[str, str]) -> Layout:
    toml = TOML
    for before, after in changes:
        assert before in toml
        toml = toml.replace(before, after)
    path.write_text(toml, encoding="utf-8")
    config = load_config(path, env={})
    return store_layout(config, build_models(config))


@pytest.mark.parametrize(
    "change",
    [
        ('"5m"', '"6m"'),
        ('"click"', '"like"'),
        ('"impression"', '["impression", "skip"]'),
        ('numerator = "click"', 'numerator = "click"\nmeasure = "value"'),
        ("[features.rate]", LAST + "[features.rate]"),
        ("[features.rate]", LAST.replace("click", "like") + "[features.rate]"),
        ('numerator = "click"', 'numerator = "click"\nentity = "surface"'),
    ],
)
def test_what_is_counted_makes_it_another_model(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "streamer.toml"
    differing = differences(layout(path), layout(path, change))
    assert {each.key.partition(".")[0] for each in differing} == {"DecayedFeatures"}


@pytest.mark.parametrize(
    ("change", "models"),
    [
        ("[mf]\nfactors = 8", {"ImplicitMF"}),
        ("[mf]\nlearning_rate = 0.1", {"ImplicitMF"}),
        ("[mf]\nhistory = 32", {"UserHistory"}),
        (
            "[popularity]\nhalf_lives_s = [60.0, 86400.0]",
            {"Popularity", "Bandit", "ListwiseBlend", "AnsweredSlates"},
        ),
        ("[recall.similar]\nneighbours = 50", {"ItemNeighbours"}),
        ("[recall.next]\nwindow = 4", {"ItemTransitions"}),
        ("[recall.next]\ncandidates = 0", {"ItemTransitions", "ListwiseBlend", "AnsweredSlates"}),
        ("[recall.session]\nfactors = 8", {"SessionFactors"}),
        ("[recall.blend]\nwindow = 8", {"ListwiseBlend"}),
        ("[bandit]\nhalf_life_s = 3600.0", {"Bandit"}),
        ("[bandit]\ntime_features = true", {"Bandit"}),
        ('[bandit]\nform = "disjoint"', {"Bandit"}),
        ("[bandit]\nimpressions = 9", {"UserImpressions"}),
        ("[bandit]\nimpressions = 0", {"UserImpressions", "Bandit"}),
        ('[learner]\nmodel = "explicit"', {"ImplicitMF", "BiasedMF"}),
    ],
)
def test_a_setting_changes_the_models_that_it_is_of(
    tmp_path: Path, change: str, models: set[str]
) -> None:
    path = tmp_path / "streamer.toml"
    changed = layout(path, ("[windows]", f"{change}\n[windows]"))
    before, after = (each.generations[-1].models for each in (layout(path), changed))
    assert {name for name in {**before, **after} if before.get(name) != after.get(name)} == models


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ("[recall.session]\nfactors = 8", ["recall.session.factors"]),
        ("[recall.blend]\nwindow = 8", ["recall.blend.window"]),
        (
            "[recall.session]\nfactors = 8\n[mf]\nfactors = 8",
            ["recall.session.factors", "mf.factors"],
        ),
        ("[bandit]\nhalf_life_s = 3600.0", ["bandit.half_life_s"]),
        # No key is what a model says of it, from the same to the same.
        ('[bandit]\nform = "disjoint"', ["Bandit.per_arm", "Bandit.table arm_statistics"]),
    ],
)
def test_a_setting_is_said_once_by_the_key_that_a_user_knows(
    tmp_path: Path, change: str, keys: list[str]
) -> None:
    path = tmp_path / "streamer.toml"
    changed = layout(path, ("[windows]", f"{change}\n[windows]"))
    assert [each.key for each in differences(layout(path), changed)] == keys


def test_a_changed_setting_that_has_no_key_is_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    changed = layout(path, ("[windows]", "[popularity]\nhalf_lives_s = [60.0, 86400.0]\n[windows]"))
    said = {each.key for each in differences(layout(path), changed)}
    assert {"popularity.half_lives_s", "Bandit.features", "ListwiseBlend.columns"} <= said
    assert not {"Popularity.half_lives_ms", "Bandit.half_lives_ms"} & said


def test_a_setting_of_an_id_table_is_one_that_no_store_goes_on_without(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    changed = layout(path, ("[windows]", "[learner]\nfeature_rows_max = 77\n[windows]"))
    before = layout(path)
    assert changed.generations == before.generations
    assert changed.fixed == before.fixed | {"learner.feature_rows_max": 77}


def test_what_is_practised_on_is_told_beside_the_models(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    for change, key in (
        ("[recall.popular]\ncandidates = 77", "recall.popular.candidates"),
        ('[catalogue]\nfields = ["tags"]', "catalogue.fields"),
    ):
        changed = layout(path, ("[windows]", f"{change}\n[windows]"))
        assert [each.key for each in differences(layout(path), changed)] == [key]


@pytest.mark.parametrize(
    "change",
    [
        ("smoothing = 20", "smoothing = 5"),
        ("[windows]", "[mf]\n[learner]\nsync_interval_ms = 7\n[windows]"),
        ("[windows]", '[bandit]\npolicy = "greedy"\n[windows]'),
        ("[windows]", "[scorer]\nk_default = 3\n[join]\nahead_max_s = 3\n[windows]"),
        ("candidates = 9", "candidates = 77"),
        ("features.rate", "features.click_rate"),
        ("[windows]", "[bandit]\ndrift_rate_boost = 3\n[windows]"),  # recorded with each commit
    ],
)
def test_how_it_is_read_is_not(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "streamer.toml"
    before, changed = layout(path), layout(path, change)
    assert differences(before, changed) == []
    assert before.fixed == changed.fixed


@pytest.mark.parametrize(
    "change", ["", '[bandit]\nform = "disjoint"', '[learner]\nmodel = "explicit"']
)
def test_models_are_made_again_of_what_is_recorded(tmp_path: Path, change: str) -> None:
    recorded = layout(tmp_path / "streamer.toml", ("[windows]", f"{change}\n[windows]"))
    config = recorded_config(recorded, 0)
    assert store_layout(config, build_models(config)) == recorded


@pytest.mark.parametrize("learns", [True, False])
def test_a_store_emptied_under_a_process_keeps_its_settings(tmp_path: Path, learns: bool) -> None:
    path = tmp_path / "streamer.toml"
    first, asked = layout(path), layout(path, ('"5m"', '"6m"'))
    kept = MemoryStore()
    StoreOfModels(kept, first, learns=True)
    store = StoreOfModels(kept, asked, learns=True)
    before = kept.layout()
    reader = store if learns else StoreOfModels(kept, first, learns=False)
    kept.__init__()  # type: ignore[misc]
    reader.acquire(0, "a") if learns else reader.load(0)
    assert kept.layout() == before
    store.acquire(0, "a")
    kept.replace_layout(first, expected=before)
    with pytest.raises(LayoutMismatch, match=r"settings of before again.* Decayed"):
        store.acquire(0, "a")
    kept.replace_layout(layout(path, ('"5m"', '"7m"')), expected=first)
    with pytest.raises(LayoutMismatch, match="another learner has changed the settings"):
        store.acquire(0, "a")


def test_settings_that_were_changed_and_changed_back_end_a_learner(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    asked, other = layout(path), layout(path, ('"5m"', '"6m"'))
    kept = MemoryStore()
    store = StoreOfModels(kept, asked, learns=True)
    for settings in (other, asked):
        StoreOfModels(kept, settings, learns=True)
    with pytest.raises(LayoutMismatch, match=r"at generation 2 of them, this learner began with 0"):
        store.acquire(0, "a")


def test_a_learner_goes_on_where_a_scorer_began_the_store_and_writes_it_again(
    tmp_path: Path,
) -> None:
    """A scorer knows no ids of topics, and a store that was emptied may have its layout alone."""
    asked = layout(tmp_path / "streamer.toml")
    kept = MemoryStore()
    scorer = StoreOfModels(kept, asked, learns=False)
    learner = StoreOfModels(kept, replace(asked, topic_ids={"events": "a1"}), learns=True)
    for _ in range(2):
        kept.__init__()  # type: ignore[misc]
        scorer.load(0)
        learner.acquire(0, "a")
        assert kept.owner(0) == "a"
        stored = kept.layout()
        assert stored is not None
        assert stored.topic_ids == {"events": "a1"}


def test_a_learner_takes_ids_of_topics_that_others_know(tmp_path: Path) -> None:
    asked = layout(tmp_path / "streamer.toml")
    kept = MemoryStore()
    learner = StoreOfModels(kept, replace(asked, topic_ids={"events": "a1"}), learns=True)
    StoreOfModels(kept, replace(asked, topic_ids={"decisions": "b1"}), learns=True)
    learner.acquire(0, "a")
    stored = kept.layout()
    assert stored is not None
    assert stored.topic_ids == {"events": "a1", "decisions": "b1"}
    kept.replace_layout(replace(asked, topic_ids={"events": "a2"}), expected=stored)
    with pytest.raises(TopicMismatch, match="topic events was deleted and made anew"):
        learner.acquire(0, "a")


def test_what_another_version_recorded_is_not_made_again(tmp_path: Path) -> None:
    recorded = layout(tmp_path / "streamer.toml")
    (generation,) = recorded.generations
    for change, said in (
        ({"config": {**generation.config, "mf.gone": 1}}, "unknown key 'mf.gone'"),
        ({"config": {**generation.config, "mf.factors": 8}}, "model ImplicitMF can't be made"),
    ):
        other = replace(recorded, generations=(replace(generation, **change),))
        with pytest.raises(LayoutMismatch, match=f"another version of streamer: .*{said}"):
            recorded_config(other, 0)


def test_without_fading_features_nothing_is_kept_for_them(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    names = {spec.name for spec in layout(path, ('half_life = "5m"', 'window = "5m"')).tables}
    assert not [name for name in names if "decayed" in name or "feature" in name]
    last = ("[features.rate]", LAST + "[features.rate]")
    with_last = {
        spec.name for spec in layout(path, last, ('half_life = "5m"', "window = '5m'")).tables
    }
    assert with_last - names == {"last_item", "feature_item_meta", "feature_item_sightings"}
    kept = {spec.name for spec in layout(path).tables}
    assert kept - names == {
        "decayed_item", "decayed_global", "feature_item_meta", "feature_item_sightings",
    }  # fmt: skip
