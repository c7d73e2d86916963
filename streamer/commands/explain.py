"""The command ``streamer explain``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
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

_SHOWN = 8


def explain(
    user: Annotated[str, typer.Argument(help="For whom.")],
    item: Annotated[str, typer.Argument(help="The id of the item.")],
    k: Annotated[
        int | None, typer.Option("--k", min=1, max=500, help="Slots; default: configured.")
    ] = None,
    context: ContextOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
) -> None:
    """Say where an item stands in a user's ranking now, and which columns put it there."""
    from streamer.application.explaining import explain_configured

    found = explain_configured(
        configured(config, bootstrap_servers, store),
        user,
        item,
        k,
        **request_context(context or ()),
    )
    if json:
        sys.stdout.write(msgspec.json.encode(asdict(found)).decode() + "\n")
        return
    output.print(_summary(found), highlight=False, soft_wrap=True)
    for title, parts in (
        ("what adds to the logit of the blend, against the mean candidate", found.blend),
        ("what adds to the expected reward, against the mean candidate", found.bandit),
    ):
        if parts:
            output.print(_table(title, parts))


def _summary(found: Explanation) -> str:
    who = f"[bold]{escape(found.item_id)}[/] for {escape(found.user_id)}"
    where = f"place {found.place:,} of {found.n_candidates:,} candidates"
    brought = ", ".join(f"{name} at place {place}" for name, place in found.places.items())
    lines = [
        f"{who}: {where}, expected reward {found.expected:.4f}",
        f"brought by {brought}" if brought else "no channel brings it",
    ]
    lines += [f"moved by {name} = {amount:+g}" for name, amount in found.boosts.items()]
    if found.barred is not None:
        lines.append(f"not recommended: {found.barred}")
    elif found.place > found.k:
        lacks = found.expected_of_last - found.expected
        lines.append(
            f"the last of {found.k} slots has {found.expected_of_last:.4f}: it lacks {lacks:.4f}"
        )
    return "\n".join(lines)


def _table(title: str, parts: Sequence[ColumnPart]) -> Table:
    table = Table("column", "value", "mean", "weight", "adds", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for part in parts[:_SHOWN]:
        cells = (f"{value:.3f}" for value in (part.value, part.mean, part.weight))
        table.add_row(escape(part.column), *cells, f"{part.adds:+.4f}")
    rest = sum(part.adds for part in parts[_SHOWN:])
    if len(parts) > _SHOWN:
        table.add_row(f"{len(parts) - _SHOWN} more", "", "", "", f"{rest:+.4f}", style="dim")
    table.add_row("in all", "", "", "", f"{sum(part.adds for part in parts):+.4f}", style="bold")
    return table
