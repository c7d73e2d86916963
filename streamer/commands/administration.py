"""The commands ``streamer config``, ``topics create`` and ``store verify``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import BrokerOption, ConfigOption, StoreOption, configured
from streamer.commands.screen import counted_progress, errors, output
from streamer.errors import StreamerError


def show_config(
    config: ConfigOption = None, bootstrap_servers: BrokerOption = None, store: StoreOption = None
) -> None:
    """Print every setting that is in effect and where its value came from."""
    from streamer.config import describe

    table = Table("key", "value", "from")
    for key, value, origin in describe(configured(config, bootstrap_servers, store)):
        style = "dim" if origin == "default" else ""
        table.add_row(key, escape(value), escape(origin), style=style)
    output.print(table)


def topics_create(config: ConfigOption = None, bootstrap_servers: BrokerOption = None) -> None:
    """Make the topics; refuse a cluster whose partition counts differ."""
    from streamer.application.processes import require_broker
    from streamer.kafka.topics import create_topics

    settings = configured(config, bootstrap_servers)
    require_broker(settings)
    reports = create_topics(
        settings.kafka.bootstrap_servers,
        settings.topics,
        client_options=settings.kafka.client,
        timeout_s=settings.kafka.request_timeout_s,
    )
    table = Table("topic", "partitions", "")
    for report in reports:
        state = "created" if report.created else "was there"
        table.add_row(report.name, str(report.n_partitions), state)
    output.print(table)


def store_verify(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    decisions: Annotated[
        bool,
        typer.Option("--decisions", help="Make every logged slate again too, from the parameters."),
    ] = False,
) -> None:
    """Execute the recorded schedule again over the topics and compare the store bit for bit."""
    from streamer.application.processes import verify_configured
    from streamer.application.recorded import verify_run

    settings = configured(config, bootstrap_servers, store)
    with counted_progress("executing again", None) as (bar, task):

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if decisions:
            result, slates = verify_run(settings, progress=progress)
        else:
            result, slates = verify_configured(settings, progress=progress), None
    output.print(f"{result.n_entries:,} commits, {result.n_messages:,} messages executed again")
    if slates is not None:
        output.print(
            f"{slates.n_same:,} slates made again alike, {slates.n_different:,} otherwise;"
            f" {slates.n_without_request:,} without their request,"
            f" {slates.n_without_version:,} without their commits,"
            f" {slates.n_other_settings:,} made under other settings"
        )
    for problem in (*result.problems, *(slates.problems if slates is not None else ())):
        errors.print(f"  {problem}", style="red", highlight=False, markup=False)
    if result.problems or (slates is not None and slates.n_different):
        raise StreamerError(
            "the store, or a slate, is not what the record says: was it written by another version,"
            " or with other settings? `streamer config` shows those in effect"
        )
    output.print("the store is what its schedule says, bit for bit", style="green")
