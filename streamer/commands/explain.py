"""The command ``streamer explain``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import (
    BrokerOption,
    ConfigOption,
    ContextOption,
    StoreOption,
    configured,
    request_context,
)
from streamer.commands.screen import output

if TYPE_CHECKING:
    from streamer.scorer.explanation import ColumnPart, Explanation
    from streamer.scorer.slate_change import ShownSlate, SlateChange

_SHOWN = 8


def explain(
    user: Annotated[str, typer.Argument(help="For whom.")],
    item: Annotated[
        str | None, typer.Argument(help="The id of the item; none: the slate, with --set.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("--k", min=1, max=500, help="Slots; default: configured.")
    ] = None,
    context: ContextOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="KEY=VALUE of the configuration, of what an experiment may change, such as"
            " slate.diversity=0.3; repeatable. Nothing is changed for anybody.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
) -> None:
    """Say where an item stands in a user's ranking now, and which columns put it there; or what
    other settings would make of the user's slate."""
    from streamer.application.explaining import change_configured, explain_configured
    from streamer.config.sources import from_lines

    if item is None and not settings:
        raise typer.BadParameter("name an ITEM, or settings to try with --set", param_hint="ITEM")
    asked = configured(config, bootstrap_servers, store)
    tried, context_of = from_lines(settings or ()), request_context(context or ())
    if item is None:
        change = change_configured(asked, user, k, tried, **context_of)
        if json:
            sys.stdout.write(msgspec.json.encode(change).decode() + "\n")
        else:
            _show_change(change)
        return
    found = explain_configured(asked, user, item, k, settings=tried, **context_of)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    who = f"[bold]{escape(found.item_id)}[/] for {escape(found.user_id)}"
    where = f"place {found.place:,} of {found.n_candidates:,} candidates"
    said = f"{who}: {where}, expected reward {found.expected:.4f}"
    output.print(said, highlight=False, soft_wrap=True)
    for line in _lines(found):
        output.print(line, highlight=False, markup=False, soft_wrap=True)
    for title, parts in (
        ("what adds to the logit of the blend, against the mean candidate", found.blend),
        ("what adds to the expected reward, against the mean candidate", found.bandit),
    ):
        if parts:
            output.print(_table(title, parts))


def _lines(found: Explanation) -> list[str]:
    """Return what is said of an item below its place."""
    lines = []
    if not found.is_known:
        lines.append(
            f"nothing is known of {found.item_id}: neither the catalogue has it, nor was anything"
            " learned of it; check how it is spelled"
        )
    brought = ", ".join(f"{name} at place {place}" for name, place in found.places.items())
    lines.append(f"brought by {brought}" if brought else "no channel brings it")
    if found.objectives:
        each = ", ".join(f"{name} {value:.4f}" for name, value in found.objectives.items())
        lines.append(f"expected by objective: {each}")
    lines += [f"moved by {name} = {amount:+g}" for name, amount in found.boosts.items()]
    if found.boosts:
        lines.append(f"to rank by, boosts add {found.boost:+.4f} to the expected reward")
    if found.barred is not None:
        lines.append(f"not recommended: {found.barred}")
    elif found.place > found.k:
        of_last = f"the last of {found.k} slots has {found.expected_of_last:.4f}"
        if found.boost or found.boost_of_last:
            of_last += f" and {found.boost_of_last:+.4f} by boosts"
        lines.append(f"{of_last}: it lacks {found.lacks:.4f}")
    return lines


def _show_change(change: SlateChange) -> None:
    lines = [f"{key}: {before} → {after}" for key, before, after in change.changes()]
    lines.append(f"{change.said()} (for {change.user_id}, as of {change.model_version})")
    for line in lines:
        output.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in change.unread:
        output.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    table = Table("place", "as it is", "expected", "with the settings", "expected", "was at")
    for column in (0, 2, 4, 5):
        table.columns[column].justify = "right"
    n = max(len(change.now.items), len(change.then.items))
    for place in range(n):
        now, then = (_cells(slate, place) for slate in (change.now, change.then))
        was = change.was(change.then.items[place].item_id) if place < len(change.then.items) else ""
        table.add_row(f"{place + 1}", *now, *then, was)
    means = (each.expected for each in (change.now, change.then))
    now_mean, then_mean = ("" if mean is None else f"{mean:.4f}" for mean in means)
    table.add_row("mean", "", now_mean, "", then_mean, "", style="bold")
    output.print(table)
    for name, slate in (("as it is", change.now), ("with the settings", change.then)):
        if not slate.items:
            why = "" if slate.why_empty is None else f": {escape(slate.why_empty)}"
            output.print(f"{name}, the slate is empty{why}", highlight=False, soft_wrap=True)


def _cells(slate: ShownSlate, place: int) -> tuple[str, str]:
    if place >= len(slate.items):
        return "", ""
    item = slate.items[place]
    return escape(item.item_id), f"{item.score:.4f}"


def _table(title: str, parts: Sequence[ColumnPart]) -> Table:
    table = Table("column", "value", "mean", "weight", "adds", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for part in parts[:_SHOWN]:
        cells = (f"{value:z.3f}" for value in (part.value, part.mean, part.weight))
        table.add_row(escape(part.column), *cells, f"{part.adds:+z.4f}")
    rest = sum(part.adds for part in parts[_SHOWN:])
    if len(parts) > _SHOWN:
        table.add_row(f"{len(parts) - _SHOWN} more", "", "", "", f"{rest:+z.4f}", style="dim")
    table.add_row("in all", "", "", "", f"{sum(part.adds for part in parts):+z.4f}", style="bold")
    return table
