"""Ids in paths: any text, also one with slashes and line breaks."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Match
from starlette.types import Scope


class AnyId(Convertor[str]):
    """``{item_id:id}`` in the path of a route; Starlette's own ``path`` knows no line breaks."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class WordBehindId(APIRoute):
    """A route such as ``/items/{item_id:id}/related``, which is not that of the item ``x/related``.

    Who means the item writes the slash of its id as ``%2F``, which a decoded path does not show any
    more; so the last part is looked at as it came.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        before, _, word = self.path.rpartition("}/")
        came = scope.get("raw_path")
        if before and came is not None:
            last = unquote_to_bytes(came.rpartition(b"/")[2])
            if last != word.encode():
                return Match.NONE, {}
        return super().matches(scope)


def register() -> None:
    """Have routes know ``id``."""
    register_url_convertor("id", AnyId())
