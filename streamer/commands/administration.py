"""The commands ``streamer config``, ``topics create``, ``store verify``, ``store rebuild``, ``store
export``, ``store import``, and ``--version``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import BrokerOption, ConfigOption, StoreOption, configured
from streamer.commands.screen import counted_progress, errors, output, show_lines
from streamer.errors import (
    ConfigError,
    KafkaError,
    LayoutMismatch,
    NotChecked,
    StoreUnavailable,
    StreamerError,
)

if TYPE_CHECKING:
    from streamer.verify.decisions import SlatesVerification
    from streamer.verify.parameters import Verification

_OTHERS_STAY: Final = (
    "the other partitions keep what they learned from its former contributions: of what they have"
    " committed up to now, `streamer store verify` can execute nothing again (--from-checkpoint"
    " begins after it)"
)


def print_version(asked: bool) -> None:
    """Print the version and end, where that is asked."""
    if asked:
        output.print(f"streamer {version('streamer')}", highlight=False)
        raise typer.Exit


def show_config(
    config: ConfigOption = None, bootstrap_servers: BrokerOption = None, store: StoreOption = None
) -> None:
    """Print every setting that is in effect and where its value came from."""
    from streamer.application.starting import check_store
    from streamer.config import describe

    settings = configured(config, bootstrap_servers, store)
    check_store(settings)
    table = Table("key", "value", "from")
    for key, value, origin in describe(settings):
        style = "dim" if origin == "default" else ""
        table.add_row(key, escape(value), escape(origin), style=style)
    output.print(table)


def topics_create(config: ConfigOption = None, bootstrap_servers: BrokerOption = None) -> None:
    """Make the topics; refuse a cluster whose partition counts differ."""
    from streamer.application.starting import await_broker
    from streamer.kafka.topics import create_topics

    settings = configured(config, bootstrap_servers)
    await_broker(settings)
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
    from_checkpoint: Annotated[
        bool,
        typer.Option(
            "--from-checkpoint",
            help="Take the last checkpoints as given, and execute what was committed since: for"
            " topics whose start was deleted.",
        ),
    ] = False,
) -> None:
    """Execute the recorded schedule again over the topics and compare the store bit for bit.

    Exit status: 0, it is the same; 1, it differs, or the store is damaged; 3, it could not be
    checked, or not all of it.
    """
    if decisions and from_checkpoint:
        raise typer.BadParameter(
            "--decisions needs every commit from the first on, so not --from-checkpoint"
        )
    try:
        result, slates = _verified(config, bootstrap_servers, store, decisions, from_checkpoint)
    except (ConfigError, KafkaError, StoreUnavailable, LayoutMismatch) as error:
        raise NotChecked(str(error)) from error
    output.print(f"{result.n_entries:,} commits, {result.n_messages:,} messages executed again")
    if slates is not None:
        output.print(
            f"{slates.n_same:,} slates made again alike, {slates.n_different:,} otherwise;"
            f" {slates.n_without_request:,} without their request,"
            f" {slates.n_without_version:,} without their commits,"
            f" {slates.n_other_settings:,} made under other settings"
        )
        if slates.n_shadows:
            output.print(
                f"{slates.n_shadows_same:,} shadow variants of them alike,"
                f" {slates.n_shadows_different:,} otherwise; {slates.n_shadows_unknown:,} not made"
                " again: of their candidates the features topic's values are not kept, or their"
                " settings can't be set now"
            )
    show_lines(errors, result.remarks)
    show_lines(errors, result.unchecked, style="yellow")
    show_lines(
        errors, (*result.problems, *(slates.problems if slates is not None else ())), style="red"
    )
    if result.refused is not None:
        raise StreamerError(result.refused)
    if result.problems or (slates is not None and slates.n_different and not result.unchecked):
        raise StreamerError(
            "the store, or a slate, is not what the record says: was it written by another version,"
            " or with other settings? `streamer config` shows those in effect"
        )
    if result.unchecked:
        remedy = (
            "what is left to be said is above"
            if from_checkpoint
            else "`streamer store verify --from-checkpoint` checks what was committed since the"
            " last checkpoints, with what the topics still have"
        )
        raise NotChecked(f"not all of the store could be checked: {remedy}")
    if from_checkpoint:
        said = "since its checkpoints, the store is what its schedule says, bit for bit"
    else:
        said = "the store is what its schedule says, bit for bit"
    output.print(said, style="green")


def store_rebuild(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
    partition: Annotated[
        int | None, typer.Option("--partition", help="Forget this one alone; by default all.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this, only say what would be forgotten.")
    ] = False,
) -> None:
    """Forget what was learned, damaged or not, so that a learner learns it again from the topics.

    A learner that runs is fenced off, and learns again with its next event.
    """
    from streamer.application.rebuild import rebuild, to_forget

    settings = configured(config, bootstrap_servers, store)
    show_lines(errors, [str(each) for each in to_forget(settings, partition)])
    if partition is not None and settings.topics.partitions > 1:
        show_lines(errors, [_OTHERS_STAY], style="yellow")
    if not yes:
        raise StreamerError("nothing was changed: say --yes to forget this")
    rebuild(settings, partition)
    output.print(
        "forgotten: `streamer learn` learns it again (one that runs, with its next event)",
        style="green",
    )


def store_export(
    file: Annotated[Path, typer.Argument(help="A SQLite store to make; it must not be there yet.")],
    config: ConfigOption = None,
    store: StoreOption = None,
) -> None:
    """Copy the store to a file, as a backup or to take it elsewhere; refused where a learner
    commits meanwhile."""
    from streamer.application.copied_store import export_store

    _show_copied(export_store(configured(config, store=store), file))


def store_import(
    file: Annotated[Path, typer.Argument(help="A SQLite store, as `export` and learners write.")],
    config: ConfigOption = None,
    store: StoreOption = None,
) -> None:
    """Copy a file to the store of the configuration, which must be empty."""
    from streamer.application.copied_store import import_store

    if not file.is_file():
        raise ConfigError(f"{file} is no file; name the SQLite store to copy from")
    _show_copied(import_store(configured(config, store=store), file))


def _show_copied(versions: Mapping[int, int]) -> None:
    for partition, n_commits in sorted(versions.items()):
        output.print(f"partition {partition}: {n_commits:,} commits", highlight=False)
    output.print("copied; learners go on from there, at the same offsets", style="green")


def _verified(
    path: Path | None,
    bootstrap_servers: str | None,
    store: str | None,
    decisions: bool,
    from_checkpoint: bool,
) -> tuple[Verification, SlatesVerification | None]:
    """Execute what was asked for under a progress bar."""
    from streamer.application.recorded import verify_run
    from streamer.application.services.processes import verify_configured

    settings = configured(path, bootstrap_servers, store)
    with counted_progress("executing again", None) as (bar, task):

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if decisions:
            return verify_run(settings, progress=progress)
        result = verify_configured(settings, progress=progress, from_checkpoints=from_checkpoint)
        return result, None
