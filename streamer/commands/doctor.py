"""The command ``streamer doctor``."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from streamer.commands.options import BrokerOption, ConfigOption, StoreOption, configured
from streamer.commands.screen import errors, output

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@contextmanager
def _without_log() -> Iterator[None]:
    """Log nothing: what is waited for, and why, is a finding."""
    log = logging.getLogger("streamer")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
) -> None:
    """Check broker, topics, store, lag, scorer, feedback and dead letters, each with a remedy.

    Exit status: 0, nothing failed (there may be warnings); 1, something did.
    """
    import msgspec

    from streamer.application.doctor import examine

    settings = configured(config, bootstrap_servers, store)
    findings = []
    with _without_log(), errors.status("looking"):
        for each in examine(settings):
            findings.append(each)
            if json:
                continue
            style = _STYLES[each.state]
            output.print(f"[{style}]{each.state:<4}[/] [bold]{each.check}[/]: ", end="")
            output.print(each.said, highlight=False, markup=False, soft_wrap=True)
            if each.remedy:
                output.print(f"     → {each.remedy}", highlight=False, markup=False, soft_wrap=True)
    if json:
        typer.echo(msgspec.json.encode(findings))
    counts = Counter(each.state for each in findings)
    if not json:
        output.print(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    if counts["fail"]:
        raise typer.Exit(1)
