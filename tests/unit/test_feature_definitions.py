"""Features as the configuration defines them: what they mean, and what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import (
    Config,
    FeatureDefinition,
    describe,
    feature_definitions,
    known_keys,
    load_config,
    value_of,
)
from streamer.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streamer.toml"


def load(path: Path, toml: str = "", env: dict[str, str] | None = None) -> Config:
    path.write_text(toml, encoding="utf-8")
    return load_config(path, env=env or {})


def feature(path: Path, toml: str, name: str = "mine") -> FeatureDefinition:
    by_name = {each.name: each for each in feature_definitions(load(path, toml))}
    return by_name[name]


def refusal(path: Path, toml: str = "", env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        load(path, toml, env)
    return str(refused.value)


def test_the_default_set_serves_without_configuration(path: Path) -> None:
    names = [each.name for each in feature_definitions(load(path))]
    assert "item_ctr_1h" in names
    assert "global_ctr_1h" in names
    assert load(path).features == Config().features


def test_a_definition_in_milliseconds(path: Path) -> None:
    found = feature(
        path,
        """
        [windows]
        lateness_s = 7
        [features.mine]
        entity = "user_category"
        numerator = ["click", "watch"]
        denominator = "impression"
        window = "1h"
        hop = "90s"
        smoothing = 20
        """,
    )
    assert (found.entity, found.parent, found.smoothing) == ("user_category", "category", 20.0)
    assert (found.numerator, found.denominator) == (("click", "watch"), ("impression",))
    assert (found.window_ms, found.hop_ms, found.lateness_ms) == (3_600_000, 90_000, 7_000)
    assert found.stale_after_ms == 3_600_000


@pytest.mark.parametrize(
    ("forgets", "window_ms", "hop_ms", "half_life_ms", "gap_ms", "stale_ms"),
    [
        ('window = "2d"', 172_800_000, 172_800_000, 0, 0, 172_800_000),
        ('window = "10m"\nhop = "500ms"', 600_000, 500, 0, 0, 600_000),
        ('half_life = "8m"', 0, 0, 480_000, 0, 480_000),
        ('entity = "category"\nhalf_life = "8m"', 0, 60_000, 480_000, 0, 480_000),
        (
            'entity = "category"\nhalf_life = "8m"\nhop = "10s"\nstale_after = "1d"',
            *(0, 10_000, 480_000, 0, 86_400_000),
        ),
        ('session_gap = "30m"', 0, 0, 0, 1_800_000, 86_400_000),
    ],
)
def test_how_a_feature_forgets(
    path: Path,
    forgets: str,
    window_ms: int,
    hop_ms: int,
    half_life_ms: int,
    gap_ms: int,
    stale_ms: int,
) -> None:
    found = feature(path, f'[features.mine]\nnumerator = "click"\n{forgets}')
    assert (found.window_ms, found.hop_ms) == (window_ms, hop_ms)
    assert (found.half_life_ms, found.session_gap_ms) == (half_life_ms, gap_ms)
    assert found.stale_after_ms == stale_ms


@pytest.mark.parametrize("entity", ["user", "item", "surface", "global"])
def test_what_fades_is_held_by_the_learner_where_it_needs_no_catalogue(
    path: Path, entity: str
) -> None:
    of_entity = f'[features.mine]\nnumerator = "click"\nentity = "{entity}"\n'
    assert feature(path, f'{of_entity}half_life = "8m"').held_by == "learner"
    assert feature(path, f'{of_entity}window = "8m"').held_by == "windows"
    of_category = of_entity.replace(entity, "category")
    assert feature(path, f'{of_category}half_life = "8m"').held_by == "windows"


@pytest.mark.parametrize("entity", ["user", "item", "surface", "global"])
def test_the_time_since_the_last_event_needs_no_window(path: Path, entity: str) -> None:
    found = feature(
        path,
        f'[features.mine]\nnumerator = "click"\nentity = "{entity}"\nmeasure = "recency"',
    )
    assert found.held_by == "learner"
    assert (found.window_ms, found.hop_ms, found.half_life_ms, found.session_gap_ms) == (0,) * 4


def test_a_counted_default_becomes_a_recency_where_what_it_had_is_taken_back(path: Path) -> None:
    toml = '[features.item_ctr_5m]\nmeasure = "recency"\n'
    for field, nothing in (("denominator", "[]"), ("half_life", '""'), ("smoothing", "0")):
        assert f"leave {field} out, or give {nothing} for one that" in refusal(path, toml)
        toml += f"{field} = {nothing}\n"
    assert feature(path, toml, "item_ctr_5m").measure == "recency"


def test_one_of_the_default_set_is_changed_key_by_key(path: Path) -> None:
    variable = "STREAMER_FEATURES__ITEM_CTR_1H__SMOOTHING"
    config = load(path, '[features.item_ctr_1h]\nwindow = "2h"\n', {variable: "5"})
    changed = config.features["item_ctr_1h"]
    assert (changed.window, changed.hop, changed.smoothing) == ("2h", "5m", 5.0)
    rows = describe(config)
    assert ("features.item_ctr_1h.window", '"2h"', str(path)) in rows
    assert ("features.item_ctr_1h.smoothing", "5.0", f"environment {variable}") in rows
    assert ("features.item_ctr_1h.hop", '"5m"', "default") in rows


def test_a_new_feature_is_described_and_the_default_set_can_be_left_out(path: Path) -> None:
    toml = """
    [windows]
    default_features = false
    [features.mine]
    numerator = "click"
    session_gap = "5m"
    """
    config = load(path, toml)
    assert list(config.features) == ["mine"]
    found = [row for row in describe(config) if row[0].startswith("features.")]
    assert found == [
        ("features.mine.numerator", '"click"', str(path)),
        ("features.mine.session_gap", '"5m"', str(path)),
    ]


def test_trending_by_a_feature_needs_one_of_items(path: Path) -> None:
    asked = '[recall.trending_feature]\nfeature = "{}"\n'
    config = load(path, asked.format("item_users_1h"))
    assert value_of(config, "recall.trending_feature.feature") == "item_users_1h"
    message = refusal(path, asked.format("user_session_clicks"))
    assert (
        "choose one of item_clicks_10m, item_ctr_1h, item_ctr_5m, item_recency, item_users_1h"
        in message
    )


def test_types_come_from_the_environment_too(path: Path) -> None:
    env = {
        "STREAMER_FEATURES__MINE__NUMERATOR": '["click", "watch"]',
        "STREAMER_FEATURES__MINE__DENOMINATOR": "impression",
        "STREAMER_FEATURES__MINE__WINDOW": "1h",
    }
    mine = load(path, env=env).features["mine"]
    assert (mine.numerator, mine.denominator) == (("click", "watch"), "impression")


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("numerator = 'clik'\nwindow = '1h'", '"clik" is no event type: add [events.clik]'),
        ("numerator = 'click'\nwindow = '1 hour'", 'a text such as "500ms"'),
        ("numerator = 'click'\nwindow = 3600", 'a text such as "500ms"'),
        ("numerator = 'click'\nwindow = '0s'", 'a text such as "500ms"'),
        ("numerator = 'click'\nwindow = '1h'\nentity = 'artist'", '"surface" or "user"'),
        ("numerator = 'click'\nwindow = '1h'\nsmoothing = -1", "from 0"),
        ("numerator = 'click'\nwindow = '1h'\nmeasure = 'mean'", '"recency" or "users" or "value"'),
        ("numerator = 'click'\nwindow = '1h'\nlatenes = 3", "'features.mine.lateness'"),
        ("window = '1h'", "names no event type"),
        ("numerator = 'click'", "exactly one of window, half_life and session_gap"),
        ("numerator = 'click'\nwindow = '1h'\nhalf_life = '1h'", "exactly one"),
        ("numerator = 'click'\nwindow = '1h'\nhop = '7m'", "must divide the window"),
        ("numerator = 'click'\nwindow = '1h'\nhop = '1s'", "1 to 2000 parts"),
        (
            "entity = 'category'\nnumerator = 'click'\nhalf_life = '1h'\nhop = '2h'",
            "over the half-life",
        ),
        ("numerator = 'click'\nhalf_life = '1h'\nhop = '1m'", "is known at every moment"),
        ("numerator = 'click'\nhalf_life = '1h'\nlateness = '1m'", "as if it had come in time"),
        ("numerator = 'click'\nhalf_life = '1h'\nstale_after = '1d'", "it fades by itself"),
        ("numerator = 'click'\nsession_gap = '1h'\nhop = '1m'", "sessions do not hop"),
        ("numerator = 'click'\nmeasure = 'users'\nhalf_life = '1h'", "need a window"),
        ("measure = 'recency'", "names no event type"),
        ("numerator = 'click'\nmeasure = 'recency'\nhalf_life = '10s'", "leave half_life out"),
        ("numerator = 'click'\nmeasure = 'recency'\nwindow = '1h'", "leave window out"),
        ("numerator = 'click'\nmeasure = 'recency'\nsession_gap = '1h'", "leave session_gap out"),
        ("numerator = 'click'\nmeasure = 'recency'\nhop = '1h'", "leave hop out"),
        ("numerator = 'click'\nmeasure = 'recency'\nlateness = '1h'", "leave lateness out"),
        ("numerator = 'click'\nmeasure = 'recency'\nstale_after = '1h'", "leave stale_after out"),
        ("numerator = 'click'\nmeasure = 'recency'\nsmoothing = 3", "leave smoothing out"),
        ("numerator = 'click'\nmeasure = 'recency'\ndenominator = 'like'", "leave denominator out"),
        (
            "numerator = 'click'\nmeasure = 'recency'\nentity = 'category'",
            "known of a user, an item, a surface and the whole",
        ),
        ("numerator = 'click'\nwindow = '1h'\nsmoothing = 3", "only a ratio is smoothed"),
        (
            "entity = 'global'\nnumerator = 'click'\ndenominator='like'\nwindow='1h'\nsmoothing=3",
            "no parent",
        ),
        (
            "numerator = 'click'\ndenominator = 'impression'\nmeasure = 'users'\nwindow = '1h'",
            "not divided",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(path: Path, toml: str, said: str) -> None:
    message = refusal(path, f"[features.mine]\n{toml}\n")
    assert message.startswith(f"{path}: ")
    assert "features.mine" in message
    assert said in message


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[features.Mine]\nnumerator = 'click'", "the name of a feature matches"),
        ("[features.mine]", "is a table; give it an entity"),
        ("[features]\nmine = 3", "is a table; give it an entity"),
        ("features = 3", "unknown key 'features'"),
    ],
)
def test_a_table_that_is_none_is_refused(path: Path, toml: str, said: str) -> None:
    assert said in refusal(path, toml)


def test_a_default_that_a_change_breaks_names_where_the_change_came_from(path: Path) -> None:
    message = refusal(path, '[features.item_ctr_1h]\nhalf_life = "1h"\n')
    assert message.startswith(f"{path}: features.item_ctr_1h.window and ")


def test_every_key_of_the_default_set_is_known() -> None:
    assert known_keys()["features.item_ctr_1h.window"].default == "1h"
