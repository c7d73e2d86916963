"""A store is not continued with settings under which its past would have been learned otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import load_config
from streamer.model_set import build_models, store_layout
from streamer.protocols import Layout

TOML = """
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
        ("[windows]", "[learner]\nfeature_rows_max = 77\n[windows]"),
    ],
)
def test_what_is_counted_is_part_of_it(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "streamer.toml"
    assert layout(path, change) != layout(path)


@pytest.mark.parametrize(
    "change",
    [
        ("smoothing = 20", "smoothing = 5"),
        ("features.rate", "features.click_rate"),
        ("[windows]", "[bandit]\ndrift_rate_boost = 3\n[windows]"),  # recorded with each commit
    ],
)
def test_how_it_is_read_is_not(tmp_path: Path, change: tuple[str, str]) -> None:
    path = tmp_path / "streamer.toml"
    assert layout(path, change) == layout(path)


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
