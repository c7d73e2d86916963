"""A broker where none is named, a learner and a scorer, as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from streamer.application.local.ports import metrics_ports, serves_http
from streamer.application.local.supervisor import Supervisor
from streamer.application.local.trial import Trial
from streamer.application.scraped import scraped, summed
from streamer.client import Recommender
from streamer.config import Config, TopicRole, known_keys
from streamer.config.keys import EVENTS, NAMED, OPTION_TABLES, value_of, variable_of
from streamer.config.masking import toml_text
from streamer.errors import RequestTimeout
from streamer.kafka.configured import configured_reader
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.topics import create_topics

_POLL_S = 0.02
_PROBE_S = 15.0  # what is answered later is a dead letter, so a busy machine is given time
_LAG = "streamer_learner_lag"  # shown from the first round on
_READY = "streamer_scorer_ready"
_POSITION = "streamer_scorer_position"
_SCORER_READS: Mapping[str, Sequence[TopicRole]] = {
    "scorer": ["requests"],
    "letters": ["items", "features"],
}
"""Service → topics of which the broker keeps how far it got."""


class LocalSystem:
    """Learner and scorer as processes of this machine; made by :func:`local_system`.

    Attributes
    ----------
    config
        That of the system, its broker named.
    """

    def __init__(
        self,
        config: Config,
        supervisor: Supervisor,
        ports: dict[str, int],
        trial: Trial | None = None,
    ) -> None:
        self.config = config
        self._supervisor = supervisor
        self._ports = ports
        self._trial = trial

    def check(self) -> None:
        """Raise StreamerError when a process has ended, or topics can't be kept."""
        self._supervisor.check()
        if self._trial is not None:
            self._trial.check()

    def wait_until_ready(self, recommender: Recommender, *, timeout_s: float) -> None:
        """Return when a request has been answered and the learner takes events.

        Raises
        ------
        RequestTimeout
            When nothing was answered within ``timeout_s``.
        StreamerError
            When a process has ended.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.check()
            # What is asked before would be a dead letter by the time that somebody looks at it.
            if self.is_ready() or time.monotonic() > deadline:
                try:
                    recommender.recommend("nobody", k=1, preview=True, timeout_s=_PROBE_S)
                    return
                except RequestTimeout:
                    if time.monotonic() > deadline:
                        raise
            time.sleep(_POLL_S)

    def is_ready(self) -> bool:
        """Whether the learner takes events and the scorer answers requests by now."""
        samples = self.metrics()
        return bool(samples.get(_READY)) and _LAG in samples

    def n_served(self) -> int:
        """Messages of the events topic, from its start, that what is served now has learned."""
        topic = self.config.topics.topic("events")
        samples = scraped(self._ports["scorer"])
        return int(
            sum(
                value
                for name, labels, value in samples
                if name == _POSITION and labels["topic"] == topic
            )
        )

    def wait_until_served(self, n_events: int, *, timeout_s: float) -> int:
        """Wait until what is served has learned so many messages of the events topic; how many it
        lacks once no more were for ``timeout_s``.

        Raises StreamerError when a process has ended.
        """
        n_most, deadline = -1, 0.0
        while True:
            n_served = self.n_served()
            if n_served >= n_events:
                return 0
            if n_served > n_most:
                n_most, deadline = n_served, time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                return n_events - n_served
            self.check()
            time.sleep(_POLL_S)

    def metrics(self) -> dict[str, float]:
        """Every sample both processes serve now, as ``name`` or ``name{label}``; lags summed."""
        return summed(each for port in self._ports.values() for each in scraped(port))


@contextlib.contextmanager
def local_system(
    config: Config,
    *,
    config_path: Path | None = None,
    log_dir: Path | None = None,
    trial: Trial | None = None,
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
    trial
        Brought back first, and kept; its configuration is ``config``.
    """
    with contextlib.ExitStack() as stack:
        embedded = not config.kafka.bootstrap_servers
        if embedded:
            broker = stack.enter_context(EmbeddedBroker(port=config.kafka.embedded_port))
            kafka = msgspec.structs.replace(
                config.kafka, bootstrap_servers=broker.bootstrap_servers
            )
            config = msgspec.structs.replace(config, kafka=kafka)
        create_topics(
            config.kafka.bootstrap_servers, config.topics, client_options=config.kafka.client
        )
        if trial is not None:
            stack.callback(trial.close)
            trial.bring_back(config)
            _answered_until_now(config)
        supervisor = stack.enter_context(Supervisor(environment_of(config)))
        ports = metrics_ports(config)
        scorer = "serve" if serves_http(config) else "score"
        for name, command in (("learner", "learn"), ("scorer", scorer)):
            if trial is not None and name == "scorer":
                trial.go_on(config)
            arguments = [command, "--metrics-port", str(ports[name])]
            arguments += ["--config", str(config_path)] if config_path else []
            # A group's first member waits 3 s for others on the embedded broker; here is only one.
            arguments += ["--alone"] if embedded else []
            log_path = log_dir / f"{name}.log" if log_dir else None
            supervisor.start(name, arguments, log_path=log_path)
        yield LocalSystem(config, supervisor, ports, trial)


def _answered_until_now(config: Config) -> None:
    """Let the scorer begin with the requests, and with the bad items, that come from now on."""
    for service, roles in _SCORER_READS.items():
        topics = [config.topics.topic(role) for role in roles]
        with contextlib.closing(configured_reader(config, service=service)) as reader:
            reader.commit(reader.end_offsets(reader.partitions(*topics)), wait=True)


def console_script() -> str:
    """How to call ``streamer`` from here: by its name where the shell finds it, else its path."""
    script = Path(sys.executable).with_name("streamer")
    if shutil.which("streamer") or not script.exists():
        return "streamer"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def environment_of(config: Config) -> dict[str, str]:
    """Variables under which a process arrives at this configuration, whoever set what here.

    Options of clients, definitions of features and rules stay where they came from: the
    variables, which are passed on, or the file, which is read again.
    """
    origins = set(config.origins.values())
    environment = {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("STREAMER_") and "__" in name) or f"environment {name}" in origins
    }
    for name, key in known_keys().items():
        if name not in OPTION_TABLES and name.partition(".")[0] not in NAMED:
            value = value_of(config, name)
            environment[key.variable] = str(value) if key.takes_text else toml_text(value)
    for name, value in NAMED[EVENTS].shown(config.events).items():
        environment[variable_of(name)] = toml_text(value)
    return environment
