"""Ports that a system on this machine serves on: which they are, and whether it can have them."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import socket
import time
from collections.abc import Mapping
from itertools import combinations
from typing import Final

from streamer.config import Config
from streamer.errors import ConfigError
from streamer.kafka.fixed_port import LOOPBACK

_POLL_S: Final = 0.02
_KILLED_END_S = 7.0  # 2 * GRACE_S of streamer.application.local.supervised, and a second
"""After which no process is left of an ``up`` that was killed."""
_ALL_ADDRESSES: Final = {"", "0.0.0.0", "::", "localhost"}
"""Hosts under which other addresses are reached too, one of them at least."""

Ports = Mapping[str, tuple[str, int]]
"""What serves, in words → host and port."""


def has_page(config: Config) -> bool:
    """Whether a system that serves HTTP serves a page too; where it is asked for and not
    installed, the process that serves it says so."""
    if config.http.page == "auto":
        return importlib.util.find_spec("nicegui") is not None
    return config.http.page == "on"


def serves_http(config: Config) -> bool:
    """Whether a system on this machine is asked over HTTP too: where its port is given, or its
    page, or reports on it, are asked for."""
    asked = config.http.page == "on" or config.http.reports != ""
    return asked or config.origins.get("http.port", "default") != "default"


def metrics_ports(config: Config) -> dict[str, int]:
    """Process → where it serves metrics: ``metrics.port`` and the next one, else any."""
    first = config.metrics.port
    return {
        name: first + place if first else _free_port()
        for place, name in enumerate(("learner", "scorer"))
    }


def check_ports(config: Config) -> None:
    """Raise ConfigError where a port that a process will serve on is wanted twice, or can't be
    opened: the process itself finds out once it is ready, which may be minutes later.

    Waits for the processes of an ``up`` that was killed a moment ago, which have their ports yet.
    """
    of_processes = _ports_of_processes(config)
    _check_different({**of_processes, **_port_of_broker(config)})
    _check_free(of_processes)


def _ports_of_processes(config: Config) -> Ports:
    wanted = {}
    if config.metrics.port:
        for place, (name, port) in enumerate(metrics_ports(config).items()):
            key = f"metrics.port + {place}" if place else "metrics.port"
            wanted[f"the {name}'s metrics ({key})"] = config.metrics.host, port
    if serves_http(config):
        wanted["HTTP (http.port)"] = config.http.host, config.http.port
    return wanted


def _port_of_broker(config: Config) -> Ports:
    """That of the embedded broker, which says itself, and at once, where it is taken."""
    if config.kafka.bootstrap_servers or not config.kafka.embedded_port:
        return {}
    name = "the embedded broker (kafka.embedded_port, --broker-port)"
    return {name: (LOOPBACK, config.kafka.embedded_port)}


def _check_different(wanted: Ports) -> None:
    for (first, at), (second, other) in combinations(wanted.items(), 2):
        if at[1] == other[1] and (at[0] == other[0] or {at[0], other[0]} & _ALL_ADDRESSES):
            raise ConfigError(
                f"port {at[1]} is wanted twice: for {first} and for {second}: give one of them"
                " another"
            )


def _check_free(wanted: Ports) -> None:
    deadline = time.monotonic() + _KILLED_END_S
    with contextlib.ExitStack() as opened:
        for name, (host, port) in wanted.items():
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                opened.enter_context(_opened(host, port, family, deadline))
            except socket.gaierror:
                continue  # a name without an address of this family; the process knows better
            except (OSError, OverflowError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                raise ConfigError(
                    f"port {port} for {name} can't be opened on {host} ({why}): choose a free one,"
                    " or end what is there"
                ) from error


def _opened(host: str, port: int, family: int, deadline: float) -> socket.socket:
    """Return a socket that listens there, once nothing else does; raises OSError at a deadline."""
    while True:
        try:
            return socket.create_server((host, port), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
