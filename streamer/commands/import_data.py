"""The command ``streamer import``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import (
    BrokerOption,
    ConfigOption,
    DelimiterOption,
    EncodingOption,
    FormatOption,
    MapOption,
    TypeOption,
    configured,
)
from streamer.commands.screen import counted_progress, output, show_lines
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.events import Message
    from streamer_producers.common_ids import CommonIds
    from streamer_producers.import_plan import Plan
    from streamer_producers.import_survey import FileSurvey
    from streamer_producers.planned_file import PlannedFile
    from streamer_producers.publishing import Published


def import_data(
    paths: Annotated[
        list[str],
        typer.Argument(help="Folders, or files: JSON, CSV, TSV, Parquet, RecBole, MovieLens …"),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before writing it down.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be read; publish and write nothing.")
    ] = False,
    only_settings: Annotated[
        bool,
        typer.Option(
            "--only-settings", help="Write how files are read, and publish nothing: no broker yet."
        ),
    ] = False,
    mapping: MapOption = None,
    items_mapping: Annotated[
        str | None,
        typer.Option("--items-map", help="Names of the catalogue's fields: item_id=sku …"),
    ] = None,
    event_type: TypeOption = None,
    file_format: FormatOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Publish data of your own: find out how to read it, show that, ask, and keep it.

    How files are read is written to the configuration, where `publish` and `replay` find it too.
    """
    from streamer.client.connection import client_config
    from streamer.config.writing import add_tables
    from streamer_producers.common_ids import CommonIds
    from streamer_producers.import_plan import plan_import
    from streamer_producers.import_survey import survey_file
    from streamer_producers.planned_file import ReadingFlags

    settings = configured(config, bootstrap_servers)
    if not (dry_run or only_settings):
        client_config(None, settings)  # whoever names no broker need not answer first
    asked = ReadingFlags(mapping, items_mapping, event_type, file_format, delimiter, encoding)
    with counted_progress("looking", None) as (bar, task):
        plan = plan_import(
            paths,
            settings,
            asked,
            reading=lambda name: bar.update(task, description=f"looking at {name}"),
        )
        planned = plan.configured(settings)
        surveys, ids = [], CommonIds()
        for file in plan.files:
            bar.update(task, description=f"reading {file.path.name}", completed=0)
            surveys.append(
                survey_file(
                    file.open(planned),
                    planned,
                    ids,
                    progress=lambda n: bar.update(task, completed=n),
                )
            )
    for file, survey in zip(plan.files, surveys, strict=True):
        _show_file(file, survey)
    _show_order(plan.files)
    _show_common(ids)
    _show_left_out(plan)
    _show_tables(plan, config)
    _require_rows(plan, surveys)
    if dry_run:
        output.print("nothing was published or written: that was --dry-run")
        return
    if not (yes or _agreed("Write this?" if only_settings else "Publish this?")):
        raise ConfigError(
            "nothing was published or written; say what is to be read otherwise with --map,"
            " --items-map or --type"
        )
    if plan.tables:
        add_tables(config, plan.tables)
        settings = configured(config, bootstrap_servers)
    if only_settings:
        output.print("nothing was published: that was --only-settings; `streamer publish` is next")
        return
    _publish(plan.files, surveys, settings)


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort as error:
        # One exception for two things: Ctrl-C has an exit status of its own, as it has elsewhere.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise ConfigError(
            "nothing was published or written, since there was no answer; --yes answers for you"
        ) from error


def _show_file(file: PlannedFile, survey: FileSurvey) -> None:
    """Print how a file is read, and its first rows so."""
    first: Sequence[Message] = survey.events or survey.items or survey.users
    numbers = ((survey.n_events, "event"), (survey.n_items, "item"), (survey.n_users, "user"))
    rows = " and ".join(f"{n:,} {what}{'s' * (n != 1)}" for n, what in numbers if n)
    if survey.first_ts is not None and survey.last_ts is not None and not file.timeless:
        rows += f" from {_day(survey.first_ts)} to {_day(survey.last_ts)}"
    table = Table()
    table.add_column("field", no_wrap=True)
    table.add_column("column")
    for index in range(len(first)):
        table.add_column(("first", "second", "third")[index] + " row", overflow="fold")
    columns = dict(file.columns)
    if first and file.holds == "events" and "type" not in columns:
        columns["type"] = "–"
    for name, column in columns.items():
        table.add_row(name, escape(column), *(escape(_shown(each, name)) for each in first))
    output.print(f"\n{file.path.name}: {rows or 'nothing'}", highlight=False, markup=False)
    if first:
        output.print(table)
    if file.known_as:
        _say([f"read as [files.{file.known_as}] says"])
    _say(file.remarks)
    _say(survey.remarks, style="yellow")
    if file.unused:
        _say([f"not used: {', '.join(file.unused)}"])
    if file.types:
        _show_types(file)
    if not survey.in_order:
        _say(["its events are published in the order of their times"])
    _say([*survey.repeats, *map(str, survey.clipped)], style="yellow")
    if survey.n_left_out:
        _say([f"rows left out: {survey.n_left_out:,}"], style="yellow")
    _say(
        (
            f"  {n:,}: {each.kind}, first in line {each.line}: {each.reason}"
            for n, each in survey.faults
        ),
        style="yellow",
    )
    if survey.n_future:
        said = f"  {survey.n_future:,}: more than a day ahead; name the unit of the times"
        _say([f"{said} with --map ts=COLUMN:UNIT"], style="yellow")


def _say(lines: Iterable[str], style: str | None = None) -> None:
    show_lines(output, lines, style)


def _show_types(file: PlannedFile) -> None:
    table = Table("type in the file", "rows", "becomes")
    table.columns[1].justify = "right"
    for written, n, meant in file.types[:20]:
        table.add_row(escape(written), f"{n:,}", escape(meant) or "– (left out)")
    output.print(table)
    if len(file.types) > 20:
        _say([f"and {len(file.types) - 20:,} more types"])


def _show_order(files: Sequence[PlannedFile]) -> None:
    timed = [each for each in files if each.holds == "events" and not each.timeless]
    if len(timed) > 1:
        said = f"the events of {len(timed)} files are published as one log, by their times"
        output.print(f"\n{said}", highlight=False)


def _show_common(ids: CommonIds) -> None:
    """Print how far the files speak of the same."""
    faults = list(ids.faults())
    for each in ids.counts():
        if not any(fault.said.startswith(each) for fault in faults):
            output.print(f"\n{each}", highlight=False, markup=False)
    if faults:
        output.print()
    _say(map(str, faults), style="yellow")


def _show_left_out(plan: Plan) -> None:
    if plan.left_out:
        output.print("\nfiles that are not used:", style="yellow")
    _say((f"{name}: {why}" for name, why in plan.left_out), "yellow")


def _show_tables(plan: Plan, config: Path | None) -> None:
    """Print what would be added to the configuration."""
    from streamer.config import EventConfig
    from streamer.config.sources import DEFAULT_FILE
    from streamer.config.writing import tables_text

    if not plan.tables:
        return
    output.print(f"\nto be added to {config or DEFAULT_FILE}:\n", highlight=False, markup=False)
    output.print(tables_text(plan.tables), highlight=False, markup=False, soft_wrap=True)
    output.print()
    weights = {
        name.partition(".")[2]: table.weight
        for name, table in plan.tables.items()
        if isinstance(table, EventConfig)
    }
    if silent := [name for name, weight in weights.items() if not weight]:
        _say([f"weight 0: nothing is learned from {', '.join(silent)} until you give it one"])
    if weights:
        said = "learners and scorers that run must be started again to know"
        then = "until then, they send such events to the dead letters"
        _say([f"{said} {', '.join(weights)}: {then}"], style="yellow")


def _require_rows(plan: Plan, surveys: Sequence[FileSurvey]) -> None:
    if not sum(e.n_events + e.n_items + e.n_users for e in surveys):
        names = ", ".join(each.path.name for each in plan.files)
        n = sum(each.n_left_out for each in surveys)
        raise ConfigError(
            f"{names}: no row can be used; {n:,} are left out, for the reasons above; see --map"
        )


def _publish(files: Sequence[PlannedFile], surveys: Sequence[FileSurvey], settings: Config) -> None:
    """Publish what was shown, and say what became of every row."""
    from streamer.client import Publisher
    from streamer_producers.import_survey import are_in_order
    from streamer_producers.publishing import publish_logs

    kinds = ["events", "items", *(["users"] if any(f.holds == "users" for f in files) else [])]
    table = Table("file", "rows", *(f"{kind} published" for kind in kinds), "left out")
    # What has no times gets those of its publication: later ones than all that has.
    timed = [n for n, file in enumerate(files) if not file.timeless]
    timeless = [n for n, file in enumerate(files) if file.timeless]
    done: dict[int, Published] = {}
    with (
        Publisher(config=settings) as publisher,
        counted_progress("publishing", sum(each.n_events for each in surveys)) as (bar, task),
    ):

        def progress(sent: Sequence[Published]) -> None:
            bar.update(task, completed=sum(each.n_events for each in (*done.values(), *sent)))

        for chosen in filter(None, (timed, timeless)):
            found = publish_logs(
                [files[n].open(settings) for n in chosen],
                publisher,
                sort=not are_in_order([surveys[n] for n in chosen]),
                rebase=chosen is timeless,
                on_progress=progress,
            )
            done |= zip(chosen, found, strict=True)
    for n, file in enumerate(files):
        n_left_out = done[n].n_malformed + done[n].n_refused
        used = (done[n].n_events, done[n].n_items, done[n].n_users)
        numbers = (sum(used) + n_left_out, *used[: len(kinds)], n_left_out)
        table.add_row(escape(file.path.name), *(f"{each:,}" for each in numbers))
    for column in table.columns[1:]:
        column.justify = "right"
    output.print(table)
    if not any(each.n_events + each.n_items + each.n_users for each in done.values()):
        raise ConfigError("no row was published, for the reasons above")


def _day(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d}"


def _shown(message: Message, name: str) -> str:
    """A field of a message, as it was read."""
    field, _, inner = name.partition(".")
    value = getattr(message, field, None)
    if inner:
        value = (value or {}).get(inner)
    if value is None:
        return ""
    if field in ("ts", "created_ts", "expires_ts"):
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
