"""The frame of a report: one page without script, with nothing to fetch, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape, unescape
from typing import Annotated, Final, Literal

import msgspec

from streamer.reports.charts import N_COLOURS
from streamer.reports.palette import DARK, LIGHT

Kind = Literal["replay", "league", "replay sweep", "ope", "ope sweep"]
HEAD_BYTES_MAX: Final = 65_536
"""The head of a report is within its first bytes, the command that wrote it included."""
_YEAR_10_000_MS: Final = 253_402_300_799_999
_META: Final = "streamer-report"
_HEAD: Final = re.compile(f'<meta name="{_META}" content="([^"]*)">')
_STYLE: Final = (
    f":root {{ color-scheme: light dark; {LIGHT}\n"
    """
  --c0: #2f7d6d; --c1: #d9480f; --c2: #1f6feb; --c3: #9c36b5; --c4: #c92a2a;
  --c5: #5c8a1e; --c6: #a56600; --c7: #5f3dc4; --c8: #495057; --c9: #c2255c; }
@media (prefers-color-scheme: dark) { :root { """
    f"{DARK}\n"
    """
  --c0: #6cc3b0; --c1: #ff9248; --c2: #58a6ff; --c3: #d2a8ff; --c4: #ff7b72;
  --c5: #a3d65c; --c6: #e3b341; --c7: #a5a0ff; --c8: #adb5bd; --c9: #f783ac; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 58rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; } .soft, figcaption { color: var(--soft); }
code { overflow-wrap: anywhere; }
ul { margin: .5rem 0; padding-left: 1.25rem; } li { overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-top: .75rem; border-top: 1px solid var(--line);
  color: var(--soft); font-size: .88rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td small { color: var(--soft); }
td { vertical-align: top; } td.best { font-weight: 650; } td.best small { font-weight: 400; }
.settings td { text-align: left; }
figure { margin: 1rem 0 0; padding: 1rem; background: var(--card); border-radius: 8px;
  border: 1px solid var(--line); }
svg { width: 100%; display: block; } svg.plot { height: auto; min-width: 40rem; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.intervals { position: relative; margin-top: .5rem; font-size: .88rem; }
.intervals .row { position: relative; display: flex; flex-wrap: wrap; padding-top: .3rem;
  justify-content: space-between; column-gap: 1rem; overflow-wrap: anywhere; }
.intervals .row span { font-variant-numeric: tabular-nums; }
.intervals svg { position: relative; }
.intervals .behind { position: absolute; inset: 0; height: 100%; }
figure + .scroll { margin-top: 1rem; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); } .whisker { stroke: var(--ink); }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.range { stroke: var(--c0); stroke-width: 5; stroke-linecap: round; opacity: .45; }
.reference { stroke: var(--c1); stroke-dasharray: 4 3; }
.band { fill: var(--c1); opacity: .13; }
.key { margin-right: 1.1rem; white-space: nowrap; font-size: .88rem; }
.key i { display: inline-block; width: .75rem; height: .75rem; border-radius: 2px;
  margin-right: .35rem; }
.legend { margin: .35rem 0 .5rem; line-height: 1.8; }
"""
    + "".join(
        f".line.c{at} {{ stroke: var(--c{at}); }} .dot.c{at}, .bar.c{at} {{ fill: var(--c{at}); }}"
        f" i.c{at} {{ background: var(--c{at}); }}\n"
        for at in range(N_COLOURS)
    )
)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What made a report.

    Attributes
    ----------
    command
        As it was typed.
    at_ms
        When, in Unix time.
    """

    command: str
    at_ms: Annotated[int, msgspec.Meta(ge=0, le=_YEAR_10_000_MS)]


class ReportHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a report says of itself, for a list of reports: written in its head as JSON."""

    kind: Kind
    title: str
    origin: Origin


def page(head: ReportHead, summary: str, body: str) -> str:
    """Return one self-contained page; ``summary`` and ``body`` are HTML."""
    said, title = escape(msgspec.json.encode(head).decode()), escape(head.title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="{_META}" content="{said}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{summary}\n{body}\n{_footer(head.origin)}\n</body>\n</html>\n"
    )


def head_of(text: bytes) -> ReportHead | None:
    """Return what a report says of itself; None where streamer did not write it.

    Parameters
    ----------
    text
        Its first ``HEAD_BYTES_MAX`` bytes, or all of it.
    """
    found = _HEAD.search(text[:HEAD_BYTES_MAX].decode("utf-8", "replace"))
    if found is None:
        return None
    try:
        return msgspec.json.decode(unescape(found[1]), type=ReportHead)
    except msgspec.MsgspecError:
        return None


def sections(parts: Iterable[tuple[str, str]]) -> str:
    """Return headings, each with the HTML below it."""
    return "\n".join(f"<h2>{escape(heading)}</h2>\n{html}" for heading, html in parts)


def soft(lines: Iterable[str]) -> str:
    """Return sentences beside what they are about, a paragraph each."""
    return "".join(f'<p class="soft">{escape(line)}</p>' for line in lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells of ``rows`` are text."""
    cells = (["<td>" + escape(text) + "</td>" for text in row] for row in rows)
    return table_of_cells(columns, ("".join(row) for row in cells))


def table_of_cells(columns: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table; each of ``rows`` is the HTML of its cells."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def settings_table(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values; what is None is left out."""
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in rows
        if value is not None
    )
    return f'<div class="scroll"><table class="settings"><tbody>{body}</tbody></table></div>'


def _footer(origin: Origin) -> str:
    at = f"{datetime.fromtimestamp(origin.at_ms / 1_000, UTC):%Y-%m-%d %H:%M} UTC"
    return f"<footer>Written {at} by <code>{escape(origin.command)}</code></footer>"
