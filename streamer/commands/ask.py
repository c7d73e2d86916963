"""The commands ``streamer request`` and ``streamer subscribe``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import (
    BrokerOption,
    ConfigOption,
    ContextOption,
    configured,
    request_context,
)
from streamer.commands.screen import output

if TYPE_CHECKING:
    from streamer.events import Pin, Recommendation, RecommendedRow, RequestRow


def request(
    user: Annotated[str, typer.Argument(help="Who asks.")],
    k: Annotated[
        int | None, typer.Option("--k", min=1, max=500, help="How many items; default: configured.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.01, help="How long to wait, in seconds.")
    ] = 5.0,
    seed_items: Annotated[
        list[str] | None,
        typer.Option(
            "--like", help="What goes with this item, not with what the user met; may be repeated."
        ),
    ] = None,
    list_name: Annotated[
        str | None,
        typer.Option(
            "--list",
            help="What is `popular`, `trending` or `latest`, the same for whoever asks.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="Items alone for which this is true, in CEL, such as \"'news' in"
            ' item.categories".',
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row",
            help="One of several lists without an item twice, as JSON:"
            """ '{"name": "new", "list_name": "latest"}'; may be repeated.""",
        ),
    ] = None,
    pins: Annotated[
        list[str] | None,
        typer.Option("--pin", help="POSITION=ITEM: the item stands there; may be repeated."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            "--after", help="A page of a longer list: '' for the first one, then what each says."
        ),
    ] = None,
    context: ContextOption = None,
    decide: Annotated[
        bool,
        typer.Option("--decide", help="Log a decision: the user will be shown these items."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Ask for recommendations and print the answer: a preview, unless you --decide."""
    from streamer.client import Recommender
    from streamer.events import encode

    asked = {"rows": _rows(rows), "pinned": _pins(pins), **request_context(context or ())}
    with Recommender(config=configured(config, bootstrap_servers)) as recommender:
        answer = recommender.recommend(
            user,
            k=k,
            timeout_s=timeout_s,
            seed_items=seed_items,
            list_name=list_name,  # type: ignore[arg-type]
            filter=only,
            after=after,
            preview=not decide,
            **asked,
        )
    if json:
        sys.stdout.write(encode(answer).decode() + "\n")
        return
    for row in answer.rows or ():
        _show(row, user, row.name)
    if answer.rows is None:
        _show(answer, user)
    if answer.next is not None:
        output.print(f"next page: --after {answer.next}", soft_wrap=True)


def _rows(given: Sequence[str] | None) -> list[RequestRow] | None:
    from streamer.events import RequestRow

    found = []
    for each in given or ():
        try:
            fields = msgspec.json.decode(each, type=dict)
            if unknown := sorted({*fields} - {*RequestRow.__struct_fields__}):
                raise msgspec.ValidationError(f"a row has no field {', '.join(unknown)}")
            found.append(msgspec.convert(fields, RequestRow))
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise typer.BadParameter(
                f"""{each!r}: {error}; give a row as '{{"name": "for you", "k": 5}}'""",
                param_hint="--row",
            ) from error
    return found or None


def _pins(given: Sequence[str] | None) -> list[Pin] | None:
    from streamer.events import Pin

    found = []
    for each in given or ():
        position, _, item_id = each.partition("=")
        if not (position.isdecimal() and item_id):
            raise typer.BadParameter(
                f"{each!r} is not POSITION=ITEM, such as 0=tea", param_hint="--pin"
            )
        found.append(Pin(position=int(position), item_id=item_id))
    return found or None


def _show(answer: Recommendation | RecommendedRow, user: str, row: str = "") -> None:
    if not answer.items:
        where = f" in {row}" if row else ""
        why = "yet" if answer.why_empty is None else f"now: {answer.why_empty}"
        output.print(escape(f"nothing to recommend to {user}{where} {why}"))
        _note(answer)
        return
    is_dated = answer.list_name == "latest"
    title = f"{row}, for {user}" if row else f"for {user}"
    table = Table("rank", "item", "created" if is_dated else "score", "reason", title=escape(title))
    for item in answer.items:
        score = _time(item.score) if is_dated else f"{item.score:.3f}"
        table.add_row(str(item.rank), escape(item.item_id), score, escape(item.reason))
    output.print(table)
    _note(answer)


def _note(answer: Recommendation | RecommendedRow) -> None:
    if answer.note is not None:
        output.print(escape(f"note: {answer.note}"), soft_wrap=True)


def _time(ms: float) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms else ""


def subscribe(
    user: Annotated[
        str | None, typer.Option("--user", help="Only this user's recommendations.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="`latest`: from now on; `earliest`: all that are kept.")
    ] = "latest",
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Print recommendations as they are made, one JSON object a line, until Ctrl-C."""
    from streamer.application.services.signals import stopped_by_signals
    from streamer.client import Subscriber
    from streamer.events import encode

    if start not in ("latest", "earliest"):
        raise typer.BadParameter(f"{start!r} is neither latest nor earliest", param_hint="--from")
    settings = configured(config, bootstrap_servers)
    with (
        Subscriber(config=settings, user_id=user, start=start) as subscriber,  # type: ignore[arg-type]
        stopped_by_signals(subscriber.stop),
    ):
        for recommendation in subscriber:
            sys.stdout.write(encode(recommendation).decode() + "\n")
            sys.stdout.flush()
