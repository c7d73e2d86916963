"""``streamer demo``: everything at work on one machine, in one live table, for a minute."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.live import Live

from streamer.application.local.system import LocalSystem, console_script, local_system
from streamer.application.services.signals import stops_handled_by
from streamer.client import Publisher, Recommender
from streamer.config import Config, load_config, masked
from streamer.demo.audience import (
    GREEDY,
    STREAMER,
    Audience,
    LogAudience,
    SimulatedAudience,
    Site,
)
from streamer.demo.result import DemoResult, measured, n_dead_letters, tables
from streamer.errors import ConfigError, StreamerError
from streamer_producers.datasets import open_log

_START_TIMEOUT_S = 600.0  # the first time kernels are compiled, by two systems at once
_DRAIN_TIMEOUT_S = 60.0
"""Without one more event served; a busy machine may take longer for all that wait."""
_TABLE_EVERY_S = 0.25
_YEAR_S = 31_536_000.0

_SIMULATED: Final[dict[str, Any]] = {
    # Minutes count here: what is popular now is what was clicked in the last ones.
    "popularity.half_lives_s": [60.0, 600.0, 86_400.0],
    "recall.trending.half_life_s": 600.0,
    # These users react at once.
    "join.window_s": 2.0,
    # A minute is too short for drift, and loading the watch for it takes seconds of it.
    "bandit.drift_delta": 0.0,
}
_REAL_LOG: Final[dict[str, Any]] = {
    # Nobody reacts to the slates, which says nothing about them: no outcome is ever learned, the
    # ranking stays the blend, and exploration would be for nothing.
    "bandit.policy": "greedy",
    "join.window_s": _YEAR_S,
    "join.horizon_s": _YEAR_S,
}


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says; see ``streamer demo --help``."""

    seconds: float
    json_path: Path | None
    dataset: str | None
    bootstrap_servers: str | None
    store: str | None
    seed: int


@dataclass(frozen=True, slots=True)
class _Running:
    """A system, and its users' side of it."""

    system: LocalSystem
    site: Site


def run_demo(options: DemoOptions, console: Console) -> DemoResult:
    """Run it, print what came of it, and write it where the options say.

    Simulated users visit two systems, which differ in their policy alone: one explores, one is
    greedy. Each learns from the clicks on its own slates.

    Raises
    ------
    ConfigError
        Where the store can't hold them.
    StreamerError
        When a part of a system ended, or an event was lost.
    """
    if options.store is not None and not options.store.startswith("redis"):
        raise ConfigError(
            f"--store {masked('store.url', options.store)}: such a store holds one system, and"
            " every demo has new ones, mostly two: name a Redis (redis://HOST:PORT), or leave it"
            " out, for temporary stores"
        )
    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamer-demo-")))
        own = f"streamer-demo-{time.time_ns() // 1_000_000}"
        starting = "starting learners and scorers (the first time: compiling for a minute or two)"
        status = stack.enter_context(console.status(starting))
        audience = _audience(options)
        running = _start(options, own, folder, stack)
        audience.publish_items([each.site for each in running])
        for each in running:
            each.system.wait_until_ready(each.site.recommender, timeout_s=_START_TIMEOUT_S)
        start_s = time.monotonic() - began_s
        status.stop()
        result = _play(options, audience, running, start_s, console)
    _print_summary(result, console)
    if options.bootstrap_servers or options.store:
        left = f"left on your servers: what begins with {own}"
        console.print(left, highlight=False, markup=False, soft_wrap=True)
    if options.json_path is not None:
        try:
            options.json_path.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        except OSError as error:
            raise ConfigError(f"{options.json_path} can't be written ({error.strerror})") from error
        written = f"written to {options.json_path}"
        console.print(written, highlight=False, markup=False, soft_wrap=True)
    if result.lost:
        raise StreamerError(f"{result.lost} events were published and never learned")
    return result


def _audience(options: DemoOptions) -> SimulatedAudience | LogAudience:
    if options.dataset is not None:
        return LogAudience(open_log(options.dataset), seed=options.seed)
    return SimulatedAudience(seed=options.seed)


def _start(options: DemoOptions, own: str, folder: Path, stack: ExitStack) -> list[_Running]:
    """Start all systems at once; the one that the figures are about first."""
    flags = {STREAMER: _REAL_LOG}
    if options.dataset is None:
        flags = {STREAMER: _SIMULATED, GREEDY: _SIMULATED | {"bandit.policy": "greedy"}}
    systems = {}
    for policy, given in flags.items():
        log_dir = folder / policy
        log_dir.mkdir()
        name = own if policy == STREAMER else f"{own}-{policy}"
        config = _config(options, name, log_dir, given)
        system = local_system(config, config_path=Path(os.devnull), log_dir=log_dir)
        systems[policy] = stack.enter_context(system)
    running = []
    for policy, each in systems.items():
        publisher = stack.enter_context(Publisher(config=each.config))
        recommender = stack.enter_context(Recommender(config=each.config))
        running.append(_Running(each, Site(policy, publisher, recommender)))
    return running


def _config(options: DemoOptions, own: str, folder: Path, flags: dict[str, Any]) -> Config:
    """Defaults but for what the demo needs and the command line says: it is the same everywhere."""
    return load_config(
        os.devnull,
        env={},
        flags={
            **flags,
            "kafka.bootstrap_servers": options.bootstrap_servers or "",
            "store.url": options.store or f"sqlite:{folder / 'streamer.db'}",
            # Topics, group and keys of its own: what others left would be learned first.
            "topics.prefix": f"{own}-",
            "kafka.group": own,
            "store.key_prefix": own,
        },
    )


def _play(
    options: DemoOptions,
    audience: Audience,
    running: Sequence[_Running],
    start_s: float,
    console: Console,
) -> DemoResult:
    began_s = time.monotonic()

    def result(*, seconds: float, lost: int = 0) -> DemoResult:
        samples = [each.system.metrics() for each in running]
        return measured(
            audience,
            samples[0],
            n_events=running[0].site.n_events,
            dead_letters=sum(map(n_dead_letters, samples)),
            lost=lost,
            seconds=seconds,
            start_s=start_s,
            seed=options.seed,
        )

    def update(live: Live) -> None:
        seconds = time.monotonic() - began_s
        title = f"streamer demo, {seconds:.0f} of {options.seconds:.0f} s"
        live.update(tables(result(seconds=seconds), title), refresh=True)

    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        _stopped_by_signals() as stop,
    ):
        _act(options.seconds, audience, running, lambda: update(live), stop)
        seconds = time.monotonic() - began_s
        lost = sum(map(_lost, running))
    if stop.is_set():
        console.print("stopped early")
    return result(seconds=seconds, lost=lost)


def _act(
    seconds: float,
    audience: Audience,
    running: Sequence[_Running],
    update: Callable[[], None],
    stop: threading.Event,
) -> None:
    sites = [each.site for each in running]
    began_s = shown_s = time.monotonic()
    while time.monotonic() - began_s < seconds and not stop.is_set():
        if not audience.round(sites):
            return
        if time.monotonic() - shown_s > _TABLE_EVERY_S:
            shown_s = time.monotonic()
            for each in running:
                each.system.check()
            update()


def _lost(running: _Running) -> int:
    """Events that its scorer does not know of, though no more come to be known."""
    running.site.publisher.flush()
    return running.system.wait_until_served(running.site.n_events, timeout_s=_DRAIN_TIMEOUT_S)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM, after which the round in hand is counted; a second one ends all."""
    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    with stops_handled_by(on_signal):
        yield stop


def _print_summary(result: DemoResult, console: Console) -> None:
    title = f"streamer demo: {result.seconds:.0f} s, ready after {result.start_s:.1f} s"
    console.print(tables(result, title, at_the_end=True))
    streamer = console_script()
    nexts = {
        f"{streamer} up": "run it for events of your own",
        f"{streamer} demo --dataset PATH": "play a real log, a MovieLens folder",
        f"{streamer} config": "see all settings",
    }
    width = max(map(len, nexts))
    lines = [f"  {command:{width}}  {what}" for command, what in nexts.items()]
    console.print(
        "\n".join(["What next:", *lines]),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
