"""The commands ``streamer learn``, ``score``, ``serve``, ``up`` and ``demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import (
    AloneOption,
    BrokerOption,
    ConfigOption,
    HttpOption,
    MetricsOption,
    PageOption,
    ReportsOption,
    StoreOption,
    config_file,
    configured,
)
from streamer.commands.screen import output
from streamer.logs import log_to_stderr


def learn(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    metrics_port: MetricsOption = None,
    alone: AloneOption = False,
) -> None:
    """Run a learner: events in, parameters out, until SIGTERM."""
    from streamer.application.services.processes import run_learner

    settings = configured(config, bootstrap_servers, store, metrics_port)
    log_to_stderr(settings.logs.format)
    run_learner(settings, alone=alone)


def score(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    metrics_port: MetricsOption = None,
    alone: AloneOption = False,
) -> None:
    """Run a scorer: requests in, recommendations and decisions out, until SIGTERM."""
    from streamer.application.services.scoring import run_scorer

    settings = configured(config, bootstrap_servers, store, metrics_port)
    log_to_stderr(settings.logs.format)
    run_scorer(settings, alone=alone)


def serve(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    http_port: HttpOption = None,
    metrics_port: MetricsOption = None,
    alone: AloneOption = False,
    page: PageOption = False,
    reports: ReportsOption = None,
) -> None:
    """Run a scorer that is asked over HTTP too, until SIGTERM.

    Where the packages of the extra `ui` are installed, `/ui` is a page to look at.
    """
    from streamer.application.services.serving import run_http
    from streamer.page.wanted import wanted_page

    settings = configured(
        config, bootstrap_servers, store, metrics_port, http_port, page, reports=reports
    )
    log_to_stderr(settings.logs.format)
    run_http(settings, alone=alone, page=wanted_page(settings))


def up(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    http_port: HttpOption = None,
    page: PageOption = False,
    reports: ReportsOption = None,
    metrics_port: MetricsOption = None,
    broker_port: Annotated[
        int | None,
        typer.Option("--broker-port", help="Start the broker on this port; default: any."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Keep topics and store in this folder, for the next start."),
    ] = None,
) -> None:
    """Run learner and scorer on this machine, and a broker where none is configured.

    Where an HTTP port is given, the scorer is asked over HTTP too. The scorer's metrics are on the
    port behind the learner's.
    """
    from streamer.application.local.up import run_up

    settings = configured(
        config, bootstrap_servers, store, metrics_port, http_port, page, broker_port, reports
    )
    run_up(settings, config, output, data=data)


def demo(
    seconds: Annotated[
        float, typer.Option("--seconds", min=5.0, help="How long users act, after the start.")
    ] = 60.0,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the summary here as JSON.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Stream a real log (a path or a name) in place of users."),
    ] = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the simulated users.")] = 0,
) -> None:
    """Watch the whole system at work: simulated users, broker, learner, scorer."""
    from streamer.commands.written import Written
    from streamer.demo.demo import DemoOptions, run_demo

    Written(json, None, opened=False, inputs=(dataset, config_file(None)))
    options = DemoOptions(
        seconds=seconds,
        json_path=json,
        dataset=dataset,
        bootstrap_servers=bootstrap_servers,
        store=store,
        seed=seed,
    )
    run_demo(options, output)
