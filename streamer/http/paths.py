"""Ids in paths: any text, also one with slashes and line breaks."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class AnyId(Convertor[str]):
    """``{item_id:id}`` in the path of a route; Starlette's own ``path`` knows no line breaks."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register() -> None:
    """Have routes know ``id``."""
    register_url_convertor("id", AnyId())
