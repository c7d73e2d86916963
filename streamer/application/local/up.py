"""``streamer up``: a system on this machine until it is asked to end, and how to reach it."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from pathlib import Path

import msgspec
from rich.console import Console

from streamer.application.local.ports import check_ports, has_page, metrics_ports, serves_http
from streamer.application.local.system import console_script, local_system
from streamer.application.local.trial import STORE, Trial, trial_in
from streamer.application.services.signals import stops_handled_by
from streamer.config import Config, masked
from streamer.errors import ConfigError
from streamer.masking import without_secrets


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
    _check_settings(config, keeps_data=data is not None)
    check_ports(config)
    stop = threading.Event()
    embedded = not config.kafka.bootstrap_servers
    with contextlib.ExitStack() as stack:
        stack.enter_context(stops_handled_by(lambda *_: stop.set()))
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
        kept = (keeps if embedded else "", forgets, its_store)
        console.print(
            _how_to_reach(system.config, *kept), highlight=False, markup=False, soft_wrap=True
        )
        begun_s, ready = time.monotonic(), False
        while not stop.wait(0.2):
            system.check()
            if not ready and system.is_ready():
                ready = True
                console.print(f"ready after {time.monotonic() - begun_s:.0f} s")
        console.print("stopping …")


def _check_settings(config: Config, *, keeps_data: bool) -> None:
    servers, origins = config.kafka.bootstrap_servers, config.origins
    if servers and origins["kafka.embedded_port"] == "flag":
        raise ConfigError(
            f"--broker-port is of the embedded broker, and Kafka at {servers} is named by"
            f" {origins['kafka.bootstrap_servers']}: leave out one of them"
        )
    if not servers and not keeps_data and origins["store.url"] != "default":
        raise ConfigError(
            f"store.url = {masked('store.url', config.store.url)} (set by {origins['store.url']})"
            " lasts, and the embedded broker does not: at the next start the store's offsets would"
            " be of other messages. --data FOLDER keeps both, in place of store.url; or leave it"
            " out, for a temporary store, or name the Kafka that the store goes with"
            " (kafka.bootstrap_servers)"
        )


def _how_to_reach(config: Config, topics_kept: str, store_kept: str, its_store: str) -> str:
    """What is said of a system that gets ready: where it is, and what to do in another terminal."""
    broker, streamer = without_secrets(config.kafka.bootstrap_servers), console_script()
    return (
        f"broker  {broker}{topics_kept}\n"
        f"store   {masked('store.url', config.store.url)}{store_kept}\n"
        f"{_metrics_line(config)}"
        f"{_http_line(config)}"
        "In another terminal:\n"
        f"  export STREAMER_KAFKA__BOOTSTRAP_SERVERS={broker}\n"
        f"{its_store}"
        f"  {streamer} publish FILE        # or any Kafka client, topic"
        f" {config.topics.topic('events')}\n"
        f"  {streamer} request USER\n"
        "Ctrl-C ends it. It gets ready now; the first time on a machine it compiles for two"
        " minutes or so."
    )


def _say_what_is_there(trial: Trial, folder: Path, console: Console) -> None:
    if trial.n_kept:
        said = f"{trial.n_kept:,} messages are brought back from {folder}"
        console.print(said, markup=False, soft_wrap=True)
    if trial.n_unkept:
        console.print(
            f"The last run was killed: {trial.n_unkept:,} messages that it had learned were not"
            " kept yet, and are lost. What was kept is learned again; the store of before is in"
            f" {trial.set_aside}, and may be deleted.",
            markup=False,
            soft_wrap=True,
        )


def _metrics_line(config: Config) -> str:
    if not config.metrics.port:
        return ""
    ports = metrics_ports(config)
    host = config.metrics.host
    return f"metrics http://{host}:{ports['learner']} (learner), :{ports['scorer']} (scorer)\n"


def _http_line(config: Config) -> str:
    if not serves_http(config):
        return ""
    url = f"http://{config.http.host}:{config.http.port}"
    page = f"page    {url}/ui\n" if has_page(config) else ""
    return f"HTTP    {url} (what there is: /docs)\n{page}"
