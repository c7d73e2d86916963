"""The command ``streamer bridge``."""

from __future__ import annotations

from typing import Annotated

import typer

from streamer.commands.options import BrokerOption, ConfigOption, MetricsOption, configured
from streamer.logs import log_to_stderr


def bridge(
    names: Annotated[
        list[str] | None, typer.Argument(help="Of the tables bridges.NAME; by default all.")
    ] = None,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    metrics_port: MetricsOption = None,
) -> None:
    """Publish messages of your own topics as events and items, until SIGTERM."""
    from streamer.application.services.bridging import run_bridges

    settings = configured(config, bootstrap_servers, metrics_port=metrics_port)
    log_to_stderr(settings.logs.format)
    run_bridges(settings, names or [])
