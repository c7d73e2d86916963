"""The command ``streamer experiments``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import BrokerOption, ConfigOption, StrictOption, configured
from streamer.commands.screen import counted_progress, errors, output, write_file
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.ope.experiment_report import ExperimentReport


def experiments(
    name: Annotated[str, typer.Argument(help="Of the table experiments.NAME.")],
    log: Annotated[
        Path | None,
        typer.Argument(
            help="Folder with decisions.jsonl and events.jsonl, or of `streamer up --data`;"
            " by default the topics."
        ),
    ] = None,
    window: Annotated[
        str,
        typer.Option(
            "--window",
            help="What counts of a user: so long from the first slate on, once it is over.",
        ),
    ] = "1d",
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha",
            min=1e-9,
            max=0.5,
            help="Chance that an interval ever misses, however often you look.",
        ),
    ] = 0.05,
    planned: Annotated[
        int,
        typer.Option(
            "--planned",
            min=100,
            max=1_000_000_000,
            help="Users of two variants that intervals are narrowest around; choose it once.",
        ),
    ] = 10_000,
    promote: Annotated[
        str | None,
        typer.Option("--promote", help="Write this variant's settings as TOML, and read no log."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="File that --promote writes; by default the screen.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    strict: StrictOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Say what each variant of an experiment is worth so far, and write the winner's settings."""
    settings = configured(config, bootstrap_servers)
    if promote is not None:
        _promote(settings, name, promote, to)
        return
    if to is not None:
        raise ConfigError("--to goes with --promote: what to write is a variant's settings")
    from streamer.application.experiments import reported

    with counted_progress("reading", None):
        found = reported(settings, name, log, window, alpha=alpha, n_planned=planned, strict=strict)
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    _show(found, window)


# --- the table --------------------------------------------------------------------------------


def _show(found: ExperimentReport, window: str) -> None:
    output.print(_counts(found))
    output.print(_means(found, window))
    if found.shadows:
        output.print(_shadows(found))
        if any(each.objectives for each in found.shadows):
            output.print(_shadow_objectives(found))
    for line in found.verdicts():
        output.print(line, highlight=False, markup=False, soft_wrap=True)
    for remark in found.remarks:
        errors.print(f"  {remark}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    style = "red" if found.split_is_wrong else None
    output.print(found.split_said(), style=style, highlight=False, markup=False, soft_wrap=True)


def _counts(found: ExperimentReport) -> Table:
    table = Table(title=escape(f"experiment {found.experiment}"))
    for head in ("variant", "share", "users", "whose time is over", "slates"):
        table.add_column(head, justify="left" if head == "variant" else "right")
    for each in found.variants:
        counts = (f"{n:,}" for n in (each.users, each.complete, each.slates))
        table.add_row(escape(each.name), f"{each.share:.3g}", *counts)
    return table


def _means(found: ExperimentReport, window: str) -> Table:
    table = Table(title=f"a user, in the first {escape(window)}")
    for head in ("", "variant"):
        table.add_column(head, overflow="fold")  # objectives may have long names
    for head in ("mean", f"less {escape(found.control)}", "interval"):
        table.add_column(head, justify="right", no_wrap=True)
    for metric in found.variants[0].means:
        table.add_section()
        for n, each in enumerate(found.variants):
            mean = each.means[metric]
            table.add_row(
                "" if n else escape(metric),
                escape(each.name),
                "–" if mean is None else f"{mean:.4f}",
                *each.cells(metric),
            )
    return table


def _shadows(found: ExperimentReport) -> Table:
    from streamer.ope.shadow_report import HEADS, TITLE

    return _narrow(TITLE, HEADS, (each.cells() for each in found.shadows), n_words=2)


def _shadow_objectives(found: ExperimentReport) -> Table:
    from streamer.ope.shadow_report import OBJECTIVES_HEADS, OBJECTIVES_TITLE

    rows = (cells for each in found.shadows for cells in each.objective_cells())
    return _narrow(OBJECTIVES_TITLE, OBJECTIVES_HEADS, rows, n_words=3)


def _narrow(
    title: str, heads: Iterable[str], rows: Iterable[Iterable[str]], *, n_words: int
) -> Table:
    """Return a table of many columns for a screen of 80 places: names fold, numbers do not."""
    table = Table(title=title)
    for n, head in enumerate(heads):
        lines = head.replace(" ", "\n")
        if n < n_words:
            table.add_column(lines, overflow="fold")
        else:
            table.add_column(lines, justify="right", no_wrap=True)
    for cells in rows:
        table.add_row(*map(escape, cells))
    return table


# --- promotion --------------------------------------------------------------------------------


def _promote(settings: Config, name: str, variant: str, to: Path | None) -> None:
    if name not in settings.experiments:
        known = ", ".join(settings.experiments) or "none"
        raise ConfigError(f"experiment {name!r} is not in the configuration (there are: {known})")
    variants = settings.experiments[name].variants
    if variant not in variants:
        raise ConfigError(
            f"--promote {variant!r} is no variant of {name}; they are {', '.join(variants)}"
        )
    changed = variants[variant].settings
    if not changed:
        errors.print(
            f"{variant} changes nothing: remove [experiments.{name}] and its variants",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        return
    text = settings_toml(changed)
    if to is None:
        sys.stdout.write(text)
    else:
        if to.exists():
            raise ConfigError(f"--to {to} is there already; name a new file, or merge by hand")
        write_file(to, text.encode())
    where = "the above" if to is None else str(to)
    errors.print(
        f"put {where} into streamer.toml in place of what it has of these keys, remove"
        f" [experiments.{name}] and its variants, and restart the scorers",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def settings_toml(changed: dict[str, Any]) -> str:
    """Return settings by dotted key as TOML.

    >>> print(settings_toml({"slate.caps": ("brand<=1",), "slate.diversity": 0.3}), end="")
    [slate]
    caps = ["brand<=1"]
    diversity = 0.3
    """
    from streamer.config.masking import toml_text

    tables = []
    for table, keys in groupby(sorted(changed), key=lambda key: key.rpartition(".")[0]):
        lines = [f"{key.rpartition('.')[2]} = {toml_text(changed[key])}" for key in keys]
        tables.append("\n".join([f"[{table}]", *lines]) + "\n")
    return "\n".join(tables)
