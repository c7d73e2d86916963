"""The whole system on this machine: a broker where none is named, a learner, a scorer."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from streamer.application.supervisor import Supervisor
from streamer.application.trial import STORE, Trial, trial_in
from streamer.client import Recommender
from streamer.config import Config, TopicRole, known_keys, masked
from streamer.config.keys import EVENTS, NAMED, OPTION_TABLES, value_of, variable_of
from streamer.config.masking import toml_text
from streamer.errors import ConfigError, RequestTimeout
from streamer.kafka.configured import configured_reader
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.fixed_port import LOOPBACK
from streamer.kafka.topics import create_topics

_SCRAPE_TIMEOUT_S = 1.0
_POLL_S = 0.02
_KILLED_END_S = 7.0  # 2 * GRACE_S of streamer.application.supervised, and a second
"""After which no process is left of an ``up`` that was killed."""
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
                    recommender.recommend("nobody", k=1, preview=True, timeout_s=1.0)
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
        samples = _scraped(self._ports["scorer"])
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
        return summed(each for port in self._ports.values() for each in _scraped(port))


def summed(samples: Iterable[tuple[str, Mapping[str, str], float]]) -> dict[str, float]:
    """Return samples by ``name{first label}``, or ``name`` without any; lags by their name alone.

    >>> rows = [("a_lag", {"topic": "t"}, 2.0), ("b", {"topic": "t", "partition": "0"}, 1.0)]
    >>> summed(rows)
    {'a_lag': 2.0, 'b{t}': 1.0}
    """
    found: dict[str, float] = {}
    for name, labels, value in samples:
        label = next(iter(labels.values()), "")
        key = f"{name}{{{label}}}" if label and not name.endswith("_lag") else name
        found[key] = found.get(key, 0.0) + value
    return found


def histogram_quantile(samples: Mapping[str, float], name: str, quantile: float) -> float:
    """A quantile of a histogram among samples, straight lines drawn within its buckets; 0 while it
    is empty, the last finite edge where it lies beyond.

    Examples
    --------
    >>> buckets = {"1.0": 10.0, "2.0": 30.0, "+Inf": 40.0}
    >>> samples = {f"wait_bucket{{{edge}}}": count for edge, count in buckets.items()}
    >>> [histogram_quantile(samples, "wait", q) for q in (0.25, 0.5, 0.9)]
    [1.0, 1.5, 2.0]
    """
    prefix = f"{name}_bucket{{"
    buckets = sorted(
        (float(key[len(prefix) : -1]), n) for key, n in samples.items() if key.startswith(prefix)
    )
    wanted = quantile * buckets[-1][1] if buckets else 0.0
    below, n_below = 0.0, 0.0
    for edge, n in buckets:
        if n >= wanted > 0:
            width = 0.0 if math.isinf(edge) else edge - below
            return below + width * (wanted - n_below) / (n - n_below)
        below, n_below = edge, n
    return 0.0


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
        ports = _metrics_ports(config)
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


def _metrics_ports(config: Config) -> dict[str, int]:
    """Process → where it serves metrics: ``metrics.port`` and the next one, else any."""
    first = config.metrics.port
    return {
        name: first + place if first else _free_port()
        for place, name in enumerate(("learner", "scorer"))
    }


_ALL_ADDRESSES: Final = {"", "0.0.0.0", "::", "localhost"}
"""Hosts under which other addresses are reached too, one of them at least."""


def _check_ports(config: Config) -> None:
    """Raise ConfigError where a port that a process will serve on is wanted twice, or can't be
    opened: the process itself finds out once it is ready, which may be minutes later.

    Waits for the processes of an ``up`` that was killed a moment ago, which have their ports yet.
    """
    deadline = time.monotonic() + _KILLED_END_S
    wanted = {}
    if config.metrics.port:
        for place, (name, port) in enumerate(_metrics_ports(config).items()):
            key = f"metrics.port + {place}" if place else "metrics.port"
            wanted[f"the {name}'s metrics ({key})"] = config.metrics.host, port
    if serves_http(config):
        wanted["HTTP (http.port)"] = config.http.host, config.http.port
    of_broker = {}
    if not config.kafka.bootstrap_servers and config.kafka.embedded_port:
        name = "the embedded broker (kafka.embedded_port, --broker-port)"
        of_broker[name] = LOOPBACK, config.kafka.embedded_port
    for (first, at), (second, other) in combinations((wanted | of_broker).items(), 2):
        if at[1] == other[1] and (at[0] == other[0] or {at[0], other[0]} & _ALL_ADDRESSES):
            raise ConfigError(
                f"port {at[1]} is wanted twice: for {first} and for {second}: give one of them"
                " another"
            )
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


def run_up(
    config: Config, config_path: Path | None, console: Console, *, data: Path | None = None
) -> None:
    """Run until SIGINT or SIGTERM, having said how to reach it; a trial goes on in ``data``.

    Raises
    ------
    ConfigError
        Where the settings contradict each other.
    StreamerError
        When a process has ended, or topics can't be kept.
    """
    servers, origins = config.kafka.bootstrap_servers, config.origins
    embedded = not servers
    if servers and origins["kafka.embedded_port"] == "flag":
        raise ConfigError(
            f"--broker-port is of the embedded broker, and Kafka at {servers} is named by"
            f" {origins['kafka.bootstrap_servers']}: leave out one of them"
        )
    if embedded and data is None and origins["store.url"] != "default":
        raise ConfigError(
            f"store.url = {masked('store.url', config.store.url)} (set by {origins['store.url']})"
            " lasts, and the embedded broker does not: at the next start the store's offsets would"
            " be of other messages. --data FOLDER keeps both, in place of store.url; or leave it"
            " out, for a temporary store, or name the Kafka that the store goes with"
            " (kafka.bootstrap_servers)"
        )
    _check_ports(config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        forgets, its_store, trial = "", "", None
        keeps = " (embedded, forgets everything at the end: --data FOLDER keeps it)"
        if data is not None:
            trial = stack.enter_context(trial_in(data, config))
            config = trial.config
            keeps = f" (embedded, keeps everything in {data})"
            its_store = f"  export STREAMER_STORE__URL=sqlite:{data.resolve() / STORE}\n"
            _say_what_is_there(trial, data, console)
        elif embedded:
            # A store goes with the topics it was learned from, and these end with their broker.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="streamer-up-"))
            store = msgspec.structs.replace(config.store, url=f"sqlite:{folder}/streamer.db")
            config = msgspec.structs.replace(config, store=store)
            forgets, its_store = " (temporary)", f"  export STREAMER_STORE__URL={store.url}\n"
        system = stack.enter_context(local_system(config, config_path=config_path, trial=trial))
        broker = system.config.kafka.bootstrap_servers
        streamer = console_script()
        console.print(
            f"broker  {broker}{keeps if embedded else ''}\n"
            f"store   {masked('store.url', config.store.url)}{forgets}\n"
            f"{_metrics_line(config)}"
            f"{_http_line(config)}"
            "In another terminal:\n"
            f"  export STREAMER_KAFKA__BOOTSTRAP_SERVERS={broker}\n"
            f"{its_store}"
            f"  {streamer} publish FILE        # or any Kafka client, topic"
            f" {system.config.topics.topic('events')}\n"
            f"  {streamer} request USER\n"
            "Ctrl-C ends it. It gets ready now; the first time on a machine it compiles for two"
            " minutes or so.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        begun_s, ready = time.monotonic(), False
        while not stop.wait(0.2):
            system.check()
            if not ready and system.is_ready():
                ready = True
                console.print(f"ready after {time.monotonic() - begun_s:.0f} s")
        console.print("stopping …")


def _say_what_is_there(trial: Trial, folder: Path, console: Console) -> None:
    if trial.n_kept:
        said = f"{trial.n_kept:,} messages are brought back from {folder}"
        console.print(said, markup=False, soft_wrap=True)
    if trial.n_unkept:
        console.print(
            f"The last run was killed: {trial.n_unkept:,} messages that it had learned were not"
            " kept yet, and are lost. What was kept is learned again."
        )


def _metrics_line(config: Config) -> str:
    if not config.metrics.port:
        return ""
    ports = _metrics_ports(config)
    host = config.metrics.host
    return f"metrics http://{host}:{ports['learner']} (learner), :{ports['scorer']} (scorer)\n"


def _http_line(config: Config) -> str:
    if not serves_http(config):
        return ""
    url = f"http://{config.http.host}:{config.http.port}"
    page = f"page    {url}/ui\n" if has_page(config) else ""
    return f"HTTP    {url} (what there is: /docs)\n{page}"


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


def _scraped(port: int) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """(name, labels, value) of each sample; none while nobody listens yet."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_TIMEOUT_S
        ) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
