"""The payload of another system → the fields of its record: what all formats share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from streamer.errors import BadMessage
from streamer.protocols import RegisteredSchema

Schemas = Callable[[int], RegisteredSchema]
"""The schema of an id; raises BadMessage where there is none."""

SCHEMAS_MAX: Final = 1_000
"""Schemas that a bridge keeps, ready to use: the oldest is asked for again."""

_MAGIC: Final = b"\x00"
"""Before what a serializer with a schema registry writes, and the four bytes of a schema's id."""
_HEADER_BYTES: Final = 5
_SHOWN_BYTES: Final = 8


class Decoder(Protocol):
    """What reads a format."""

    def record(self, payload: bytes) -> dict[str, Any]:
        """Return the fields of a message: text, numbers, truths, None, lists and dicts of them.

        Raises
        ------
        BadMessage
            When it can't be read.
        RegistryError
            When its schema can't be had, which is not the message's fault.
        """

    def key(self, payload: bytes) -> str | None:
        """Return the id that the key of a message is; None: it is an object, with fields.

        Raises
        ------
        BadMessage, RegistryError
            As :meth:`record`.
        """


class JsonDecoder:
    """Reads JSON, also behind the prefix of a serializer with a schema registry."""

    def record(self, payload: bytes) -> dict[str, Any]:
        if payload.startswith(_MAGIC):
            payload = payload[_HEADER_BYTES:]
        try:
            found = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadMessage(
                f'not JSON ({error}); a bridge of Avro says so with format = "avro"'
            ) from error
        if not isinstance(found, dict):
            raise BadMessage(f"a JSON {type(found).__name__}, and records are objects")
        return found

    def key(self, payload: bytes) -> str | None:
        if payload.startswith((b"{", _MAGIC)):
            return None
        return text_key(payload)


def text_key(key: bytes) -> str:
    """Return a key that is the text of an id.

    Raises
    ------
    BadMessage
        When it is no UTF-8.
    """
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise BadMessage(f"its key is no text: {key[:_SHOWN_BYTES].hex(' ')!r}") from error


def is_framed(payload: bytes) -> bool:
    """Whether a payload begins as a serializer with a schema registry writes it."""
    return payload.startswith(_MAGIC)


def framed(payload: bytes) -> tuple[int, bytes]:
    """Return the id of a payload's schema, and what stands behind it.

    Raises
    ------
    BadMessage
        When it does not begin with a zero byte and the four bytes of an id.
    """
    if not is_framed(payload) or len(payload) < _HEADER_BYTES:
        raise BadMessage(
            "it does not begin as a serializer with a schema registry writes, with a zero byte and"
            f" the four bytes of a schema's id, but with {payload[:_SHOWN_BYTES].hex(' ')!r}"
        )
    return int.from_bytes(payload[1:_HEADER_BYTES], "big"), payload[_HEADER_BYTES:]


def check_kind(schema: RegisteredSchema, schema_id: int, kind: str) -> None:
    """Raise BadMessage where a schema is of another kind than a bridge's format."""
    if schema.kind != kind:
        raise BadMessage(
            f"schema {schema_id} is of {schema.kind}, and this is a bridge of {kind}; correct its"
            " format"
        )


def text_of(value: bytes) -> str:
    """Return bytes as text: UTF-8, or hexadecimal digits where they are none.

    >>> text_of(b"tea"), text_of(b"\\xff\\x01")
    ('tea', 'ff01')
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
