"""The whole system on this machine: a broker where none is named, a learner, a scorer."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from streamer.config import Config, masked
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.topics import create_topics
from streamer.supervisor import Supervisor

_SCRAPE_TIMEOUT_S = 1.0


class LocalSystem:
    """Learner and scorer as processes of this machine; made by :func:`local_system`.

    Attributes
    ----------
    config
        That of the system, its broker named.
    """

    def __init__(self, config: Config, supervisor: Supervisor, ports: dict[str, int]) -> None:
        self.config = config
        self._supervisor = supervisor
        self._ports = ports

    def check(self) -> None:
        """Raise StreamerError when a process has ended."""
        self._supervisor.check()

    def metrics(self) -> dict[str, float]:
        """Every sample both processes serve now, as ``name`` or ``name{label}``; lags summed."""
        samples: dict[str, float] = {}
        for port in self._ports.values():
            for name, label, value in _scraped(port):
                key = f"{name}{{{label}}}" if label and not name.endswith("_lag") else name
                samples[key] = samples.get(key, 0.0) + value
        return samples


@contextlib.contextmanager
def local_system(
    config: Config, *, config_path: Path | None = None, log_dir: Path | None = None
) -> Iterator[LocalSystem]:
    """Start everything, and stop it in order at the end.

    Parameters
    ----------
    config
        Where it names no broker, one is started inside this process.
    config_path
        The file the configuration came from, for the processes to read too.
    log_dir
        Where the processes log to; by default the terminal.
    """
    with contextlib.ExitStack() as stack:
        embedded = not config.kafka.bootstrap_servers
        if embedded:
            broker = stack.enter_context(EmbeddedBroker())
            kafka = msgspec.structs.replace(
                config.kafka, bootstrap_servers=broker.bootstrap_servers
            )
            config = msgspec.structs.replace(config, kafka=kafka)
        create_topics(
            config.kafka.bootstrap_servers, config.topics, client_options=config.kafka.client
        )
        environment = {
            "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
            "STREAMER_STORE__URL": config.store.url,
        }
        supervisor = stack.enter_context(Supervisor(environment))
        ports = {}
        for name, command in (("learner", "learn"), ("scorer", "score")):
            ports[name] = _free_port()
            arguments = [command, "--metrics-port", str(ports[name])]
            arguments += ["--config", str(config_path)] if config_path else []
            # A group's first member waits 3 s for others on the embedded broker; here is only one.
            arguments += ["--alone"] if embedded else []
            log_path = log_dir / f"{name}.log" if log_dir else None
            supervisor.start(name, arguments, log_path=log_path)
        yield LocalSystem(config, supervisor, ports)


def run_up(config: Config, config_path: Path | None, console: Console) -> None:
    """Run until SIGINT or SIGTERM, having said how to reach it."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    embedded = not config.kafka.bootstrap_servers
    with local_system(config, config_path=config_path) as system:
        broker = system.config.kafka.bootstrap_servers
        kind = "embedded: for trying out, forgets everything at the end" if embedded else "yours"
        console.print(f"broker  {broker} ({kind})", highlight=False)
        console.print(f"store   {masked('store.url', config.store.url)}", highlight=False)
        console.print("In another terminal:", highlight=False)
        console.print(
            f"  export STREAMER_KAFKA__BOOTSTRAP_SERVERS={broker}\n"
            "  streamer publish FILE        # or any Kafka client, topic events\n"
            "  streamer request USER\n"
            "Ctrl-C ends it.",
            highlight=False,
        )
        while not stop.wait(0.2):
            system.check()
        console.print("stopping …")


def _scraped(port: int) -> Iterator[tuple[str, str, float]]:
    """(name, first label's value, value) of each sample; none while nobody listens yet."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_TIMEOUT_S
        ) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, next(iter(sample.labels.values()), ""), sample.value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
