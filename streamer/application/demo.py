"""``streamer demo``: everything at work on one machine, in one live table, for a minute."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from producers.datasets import open_log
from streamer.application.audience import Audience, LogAudience, SimulatedAudience
from streamer.application.local import LocalSystem, console_script, local_system
from streamer.client import Publisher, Recommender
from streamer.config import Config, load_config
from streamer.errors import StreamerError

_START_TIMEOUT_S = 120.0
_DRAIN_TIMEOUT_S = 15.0
_TABLE_EVERY_S = 0.25
_WIDTH = 60
_POLICIES = ("streamer", "popularity", "random")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says; see ``streamer demo --help``."""

    seconds: float
    json_path: Path | None
    dataset: str | None
    bootstrap_servers: str | None
    store: str | None
    seed: int


@dataclass(slots=True)
class DemoResult:
    """What came of it; written as JSON with ``--json``.

    Attributes
    ----------
    events, events_per_s
        Events published and acknowledged.
    freshness_ms
        From an event's publication to served parameters that have learned it: p50 and p99.
    click_rate
        By policy: clicks an item shown (simulated users), or how often the next item taken was
        among those shown (a real log); ``measure`` says which.
    dead_letters
        Messages refused, each with its reason on the dead-letter topic.
    lost
        Events published that the learner has not taken at the end.
    """

    events: int
    events_per_s: float
    freshness_ms: dict[str, float]
    click_rate: dict[str, float]
    measure: str
    dead_letters: int
    lost: int
    lag: int
    seconds: float
    start_s: float
    seed: int


def run_demo(options: DemoOptions, console: Console) -> DemoResult:
    """Run it, print what came of it, and write it where the options say.

    Raises
    ------
    StreamerError
        When a part of the system ended, or an event was lost.
    """
    began_s = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamer-demo-")))
        config = _config(options, folder)
        starting = "starting a broker, a learner and a scorer (the first time: compiling)"
        status = stack.enter_context(console.status(starting))
        system = stack.enter_context(
            local_system(config, config_path=Path(os.devnull), log_dir=folder)
        )
        audience = _audience(options)
        publisher = stack.enter_context(Publisher(config=system.config))
        recommender = stack.enter_context(Recommender(config=system.config))
        audience.publish_items(publisher)
        system.wait_until_ready(recommender, timeout_s=_START_TIMEOUT_S)
        start_s = time.monotonic() - began_s
        status.stop()
        result = _play(options, audience, system, publisher, recommender, start_s, console)
    _print_summary(result, options, console)
    if options.bootstrap_servers or options.store:
        left = f"left on your servers: what begins with {config.kafka.group}"
        console.print(left, highlight=False, soft_wrap=True)
    if options.json_path is not None:
        options.json_path.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
        console.print(f"written to {options.json_path}", highlight=False, soft_wrap=True)
    if result.lost:
        raise StreamerError(f"{result.lost} events were published and never learned")
    return result


def _config(options: DemoOptions, folder: Path) -> Config:
    """Defaults but for what the command line says: a demo is the same everywhere."""
    flags: dict[str, Any] = {
        "kafka.bootstrap_servers": options.bootstrap_servers or "",
        "store.url": options.store or f"sqlite:{folder / 'streamer.db'}",
    }
    if options.dataset is None:
        # Minutes count here: what is popular now is what was clicked in the last ones.
        flags["popularity.half_lives_s"] = [60.0, 600.0, 86_400.0]
        flags["scorer.trending_half_life_s"] = 600.0
    # Topics, group and keys of its own: what others left would be learned first.
    own = f"streamer-demo-{time.time_ns() // 1_000_000}"
    flags |= {"topics.prefix": f"{own}-", "kafka.group": own, "store.key_prefix": own}
    return load_config(os.devnull, env={}, flags=flags)


def _audience(options: DemoOptions) -> SimulatedAudience | LogAudience:
    if options.dataset is not None:
        return LogAudience(open_log(options.dataset), seed=options.seed)
    return SimulatedAudience(seed=options.seed)


def _play(
    options: DemoOptions,
    audience: Audience,
    system: LocalSystem,
    publisher: Publisher,
    recommender: Recommender,
    start_s: float,
    console: Console,
) -> DemoResult:
    began_s = time.monotonic()

    def measured(*, lost: int = 0) -> DemoResult:
        return _measure(
            audience,
            system.metrics(),
            lost=lost,
            seconds=time.monotonic() - began_s,
            start_s=start_s,
            seed=options.seed,
        )

    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        _stopped_by_signals() as stop,
    ):
        _act(options.seconds, audience, system, publisher, recommender, live, measured, stop)
        seconds = time.monotonic() - began_s
        publisher.flush()
        lost = system.wait_until_taken(audience.n_events, timeout_s=_DRAIN_TIMEOUT_S)
    if stop.is_set():
        console.print("stopped early")
    result = measured(lost=lost)
    result.seconds = round(seconds, 2)
    result.events_per_s = round(result.events / max(seconds, 1e-9), 1)
    return result


def _act(
    seconds: float,
    audience: Audience,
    system: LocalSystem,
    publisher: Publisher,
    recommender: Recommender,
    live: Live,
    measured: Callable[[], DemoResult],
    stop: threading.Event,
) -> None:
    began_s = shown_s = time.monotonic()
    while time.monotonic() - began_s < seconds and not stop.is_set():
        if not audience.round(publisher, recommender):
            return
        if time.monotonic() - shown_s > _TABLE_EVERY_S:
            shown_s = time.monotonic()
            system.check()
            live.update(_table(measured(), seconds), refresh=True)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set by Ctrl-C or SIGTERM, after which the round in hand is counted; a second one ends all."""
    stop = threading.Event()

    def on_signal(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {each: signal.signal(each, on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _measure(
    audience: Audience,
    samples: dict[str, float],
    *,
    lost: int,
    seconds: float,
    start_s: float,
    seed: int,
) -> DemoResult:
    def freshness(quantile: str) -> float:
        value = samples.get(f"streamer_scorer_freshness_ms{{{quantile}}}", 0.0)
        return 0.0 if value != value else round(value, 1)

    dead = ("streamer_learner_dead_letters_total", "streamer_scorer_dead_letters_total")
    return DemoResult(
        events=audience.n_events,
        events_per_s=audience.n_events / max(seconds, 1e-9),
        freshness_ms={"p50": freshness("0.5"), "p99": freshness("0.99")},
        click_rate={policy: round(audience.tally.rate(policy), 4) for policy in _POLICIES},
        measure=audience.measure,
        dead_letters=int(sum(samples.get(name, 0) for name in dead)),
        lost=lost,
        lag=int(samples.get("streamer_learner_lag", 0)),
        seconds=seconds,
        start_s=round(start_s, 2),
        seed=seed,
    )


def _table(result: DemoResult, seconds: float) -> Table:
    table = Table(
        title=f"streamer demo, {result.seconds:.0f} of {seconds:.0f} s",
        caption=f"{result.measure}, the same users for all",
        show_header=False,
        min_width=_WIDTH,
    )
    table.add_column(ratio=1)
    table.add_column(justify="right")
    table.add_row("events published", f"{result.events:,}")
    table.add_row("events/s", f"{result.events_per_s:,.0f}")
    table.add_row("lag, events not yet learned", f"{result.lag:,}")
    table.add_row("dead letters", f"{result.dead_letters:,}")
    table.add_section()
    for quantile, value in result.freshness_ms.items():
        table.add_row(f"event → served, {quantile}", f"{value:,.0f} ms")
    table.add_section()
    rate_name = result.measure.partition(":")[0]
    best = max(result.click_rate.values())
    for policy, rate in result.click_rate.items():
        style = "bold green" if rate == best > 0 else ""
        table.add_row(f"{rate_name}, {policy}", f"{rate:.3f}", style=style)
    return table


def _print_summary(result: DemoResult, options: DemoOptions, console: Console) -> None:
    table = _table(result, result.seconds)
    table.title = f"streamer demo: {result.seconds:.0f} s, ready after {result.start_s:.1f} s"
    table.add_section()
    table.add_row("events lost", f"{result.lost:,}", style="bold red" if result.lost else "")
    console.print(table)
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
        soft_wrap=True,
    )
