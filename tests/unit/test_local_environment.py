"""A process that is started here arrives at the configuration it was started with."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from streamer.application.local import environment_of, run_up, serves_http
from streamer.commands.screen import output
from streamer.config import Config, describe, load_config
from streamer.errors import ConfigError

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


def test_a_port_for_the_embedded_broker_beside_another_broker_is_refused() -> None:
    flags = {"kafka.embedded_port": 9092}
    env = {"STREAMER_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092"}
    config = load_config(os.devnull, env=env, flags=flags)
    named_by = "Kafka at kafka:9092 is named by environment STREAMER_KAFKA__BOOTSTRAP_SERVERS"
    with pytest.raises(ConfigError, match=f"--broker-port .*{named_by}"):
        run_up(config, None, output)


@pytest.mark.parametrize(
    ("flags", "asked"),
    [({}, False), ({"http.port": 8080}, True), ({"http.reports": "reports"}, True)],
)
def test_a_system_is_asked_over_http_where_a_port_or_the_page_is_wanted(
    flags: dict[str, object], asked: bool
) -> None:
    assert serves_http(load_config(os.devnull, env={}, flags=flags)) is asked
