"""The command line: every command of :mod:`streamer.commands` under its name."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from streamer.commands.administration import (
    print_version,
    show_config,
    store_export,
    store_import,
    store_rebuild,
    store_verify,
    topics_create,
)
from streamer.commands.ask import request, subscribe
from streamer.commands.bridge import bridge
from streamer.commands.compare import compare
from streamer.commands.doctor import doctor
from streamer.commands.experiments import experiments
from streamer.commands.explain import explain
from streamer.commands.features import features_run, features_show
from streamer.commands.forget import forget_item, forget_user
from streamer.commands.import_data import import_data
from streamer.commands.move import move
from streamer.commands.ope import ope
from streamer.commands.publish import publish
from streamer.commands.record import record
from streamer.commands.replay import replay
from streamer.commands.screen import errors
from streamer.commands.services import demo, learn, score, serve, up
from streamer.errors import StreamerError
from streamer.logs import show_warnings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
store_app = typer.Typer(help="The parameter store.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(store_app, name="store")
features_app = typer.Typer(help="Features that move with time.", no_args_is_help=True)
app.add_typer(features_app, name="features")
forget_app = typer.Typer(help="Erase what is known.", no_args_is_help=True)
app.add_typer(forget_app, name="forget")


@app.callback()
def _streamer(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """A real-time streaming recommender that learns from every event as it happens."""


app.command("config")(show_config)
for command in (
    learn, score, serve, up, demo, publish, subscribe, request, explain, replay, compare, record,
    ope, doctor, experiments, move, bridge,
):  # fmt: skip
    app.command()(command)
app.command("import")(import_data)
features_app.command("run")(features_run)
features_app.command("show")(features_show)
topics_app.command("create")(topics_create)
store_app.command("verify")(store_verify)
store_app.command("rebuild")(store_rebuild)
store_app.command("export")(store_export)
store_app.command("import")(store_import)
forget_app.command("user")(forget_user)
forget_app.command("item")(forget_item)


def main() -> int:
    """Run the command line; an error of ours is one sentence and its exit status."""
    show_warnings()
    try:
        app()
    except StreamerError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0
