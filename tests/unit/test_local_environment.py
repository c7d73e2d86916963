"""A process that is started here arrives at the configuration it was started with."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from streamer.application.local import ports
from streamer.application.local.ports import check_ports, serves_http
from streamer.application.local.supervised import GRACE_S
from streamer.application.local.system import environment_of
from streamer.application.local.up import run_up
from streamer.commands.screen import output
from streamer.config import Config, describe, load_config
from streamer.demo.demo import DemoOptions, run_demo
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


@pytest.mark.parametrize("url", ["sqlite:named.db", "redis://:secret@localhost:6379"])
def test_a_store_that_lasts_beside_a_broker_that_does_not_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(os.devnull, env={}, flags={"store.url": url})
    with pytest.raises(ConfigError, match=r"lasts, and the embedded broker.*--data FOLDER") as said:
        run_up(config, None, output)
    assert "set by flag" in str(said.value)
    assert "secret" not in str(said.value)
    assert not list(tmp_path.iterdir())


def test_one_file_is_refused_where_the_demo_has_two_systems_learn() -> None:
    options = DemoOptions(5.0, None, None, None, "sqlite:demo.db", 0)
    with pytest.raises(ConfigError, match=r"--store .*sqlite:demo.db.* holds one .*redis://"):
        run_demo(options, output)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            {"metrics.port": 18791, "kafka.embedded_port": 18792},
            ("port 18792", "metrics.port + 1", "--broker-port"),
        ),
        (
            {"metrics.port": 18791, "kafka.embedded_port": 18791},
            ("port 18791", "(metrics.port)", "--broker-port"),
        ),
        ({"http.port": 18791, "metrics.port": 18790}, ("http.port", "metrics.port + 1")),
        ({"http.port": 18791, "kafka.embedded_port": 18791}, ("http.port", "--broker-port")),
        (
            {"http.port": 18791, "http.host": "0.0.0.0", "metrics.port": 18791},
            ("http.port", "(metrics.port)"),
        ),
    ],
)
def test_two_of_its_ports_that_are_one_are_said_before_anything_starts(
    given: dict[str, object], named: tuple[str, ...], tmp_path: Path
) -> None:
    config = load_config(os.devnull, env={}, flags=given)
    with pytest.raises(ConfigError, match="wanted twice") as refused:
        run_up(config, None, output, data=tmp_path / "trial")
    for words in named:
        assert words in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_one_port_at_two_addresses_is_two() -> None:
    flags = {"http.port": 18791, "http.host": "127.0.0.2", "kafka.embedded_port": 18791}
    check_ports(load_config(os.devnull, env={}, flags=flags))


@contextlib.contextmanager
def taken_port(*, below: int) -> Iterator[int]:
    """Yield a port that is listened on, so many ports above one that is free."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port: int = taken.getsockname()[1]
            try:
                if below:
                    socket.create_server(("127.0.0.1", port - below)).close()
            except OSError:
                continue
            yield port
            return


@pytest.mark.parametrize(
    ("flag", "beside", "said"),
    [
        ("http.port", 0, "HTTP"),
        ("metrics.port", 0, "the learner's metrics"),
        ("metrics.port", 1, "the scorer's metrics"),
    ],
)
def test_a_port_that_another_program_has_is_said_before_anything_starts(
    flag: str, beside: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_KILLED_END_S", 0.1)
    with taken_port(below=beside) as port:
        config = load_config(os.devnull, env={}, flags={flag: port - beside})
        with pytest.raises(ConfigError, match=f"port {port} for {said} .*choose a free one"):
            run_up(config, None, output, data=tmp_path / "trial")
    assert not list(tmp_path.iterdir())


def test_a_port_of_a_system_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    assert ports._KILLED_END_S > 2 * GRACE_S
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = {"http.port": taken.getsockname()[1], "store.url": "sqlite:mine.db"}
        config = load_config(os.devnull, env={}, flags=flags)
        ending = threading.Timer(0.3, taken.close)
        ending.start()
        # What is looked at behind the ports.
        with pytest.raises(ConfigError, match="has a store of its own"):
            run_up(config, None, output, data=tmp_path / "trial")
        ending.join()


@pytest.mark.parametrize(
    ("flags", "asked"),
    [({}, False), ({"http.port": 8080}, True), ({"http.reports": "reports"}, True)],
)
def test_a_system_is_asked_over_http_where_a_port_or_the_page_is_wanted(
    flags: dict[str, object], asked: bool
) -> None:
    assert serves_http(load_config(os.devnull, env={}, flags=flags)) is asked
