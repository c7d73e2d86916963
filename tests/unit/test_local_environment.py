"""A process that is started here arrives at the configuration it was started with."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from streamer.application.local import environment_of
from streamer.config import Config, describe, load_config

FLAGS = {
    "mf.factors": 7,
    "topics.prefix": "eu.",
    "popularity.half_lives_s": (60.0, 86_400.0),
    "recall.mf.candidates": 33,
    "events.save.weight": 2.5,
    "events.click.value_range": (0.0, 3.0),
}


def settings_of(config: Config) -> dict[str, str]:
    """Everything but the default features, which are not passed on."""
    return {key: value for key, value, _ in describe(config)}


@pytest.mark.parametrize("flags", [{}, FLAGS])
def test_the_variables_say_what_is_in_effect(
    flags: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMER_MF__FACTORS", "99")  # a flag has won over it, or it is not read
    config = load_config(os.devnull, env={}, flags=flags)
    variables = {
        name: value
        for name, value in environment_of(config).items()
        if name.startswith("STREAMER_") and "__" in name
    }
    again = load_config(os.devnull, env=variables)
    assert settings_of(again) == settings_of(config)
    assert replace(again, origins={}) == replace(config, origins={})
