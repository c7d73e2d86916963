"""The command line: every command of :mod:`streamer.commands` under its name."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from typer.core import TyperGroup

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
from streamer.errors import StreamerError, is_interruption
from streamer.logs import show_warnings
from streamer.masking import without_secrets

_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
"""What keeps the output from being written."""
_UNUSABLE: Final = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EACCES,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EROFS,
)
"""What is wrong with a file that was named."""


class _Commands(TyperGroup):
    """All commands; what is said of a use that is none has no secrets of what was typed."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _masked():
            return super().make_context(*args, **options)

    def invoke(self, *args: Any, **options: Any) -> Any:
        with _masked():
            return super().invoke(*args, **options)


@contextlib.contextmanager
def _masked() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = vars(error).get("message")  # its errors have one base, of another name by version
        if isinstance(said, str):
            vars(error)["message"] = without_secrets(said)
        raise


app = typer.Typer(
    cls=_Commands,
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
        return _status()
    except OSError as error:
        if error.errno in _UNUSABLE and error.filename is not None:
            _say_error(_unusable(error))
            return 1
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        if error.errno != errno.EPIPE:  # whoever reads no more has what was wanted
            with contextlib.suppress(OSError):  # where errors go may be full, too
                _say_error(f"the output can't be written ({error.strerror}); send it elsewhere")
        return 1


def _status() -> int:
    try:
        app()
    except StreamerError as error:
        _say_error(str(error))
        return error.exit_status
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interruption(error):
            raise
        return 130
    finally:
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()  # here, where it may fail; Python would do it at the very end
    return 0


def _unusable(error: OSError) -> str:
    """Return what is said of a file that can't be used, without the secrets of its name."""
    named = without_secrets(os.fsdecode(error.filename))
    return f"{named} can't be used ({error.strerror}); see its name, and who may read or write it"


def _say_error(said: str) -> None:
    errors.print(f"[red]error:[/] {escape(said)}", highlight=False, soft_wrap=True)


def _drop_output() -> None:
    """Send what is still to be written to nowhere, since Python tries again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for each in (sys.stdout, sys.stderr):
        try:
            each.flush()
        except OSError:
            os.dup2(nowhere, each.fileno())
    os.close(nowhere)
