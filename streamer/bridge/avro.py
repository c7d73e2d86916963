"""Avro with the schemas of a registry → fields."""

from __future__ import annotations

import datetime as dt
import functools
import io
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import fastavro
from fastavro.types import Schema

from streamer.bridge.decoder import (
    SCHEMAS_MAX,
    Schemas,
    check_kind,
    framed,
    is_framed,
    text_key,
    text_of,
)
from streamer.errors import BadMessage
from streamer.protocols import RegisteredSchema
from streamer_producers.times import Instant

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MS: Final = dt.timedelta(milliseconds=1)


class AvroDecoder:
    """Reads records as they were written: with the schema that their prefix names.

    Timestamps become ms since 1970, dates and times of day text in ISO 8601, decimals numbers
    (without a scale whole ones, of any size), UUIDs, enumerations and bytes text, and a union is
    what it holds.

    Parameters
    ----------
    schemas
        Asked once for each id, while the last ``SCHEMAS_MAX`` of them are in use.
    """

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._parsed = functools.lru_cache(SCHEMAS_MAX)(self._parse)

    def record(self, payload: bytes) -> dict[str, Any]:
        found = self._value(payload)
        if not isinstance(found, dict):
            raise BadMessage(f"an Avro {type(found).__name__}, and records have fields")
        return found

    def key(self, payload: bytes) -> str | None:
        if not is_framed(payload):
            return text_key(payload)
        found = self._value(payload)
        return str(found) if isinstance(found, str | int) else None

    def _value(self, payload: bytes) -> object:
        schema_id, body = framed(payload)
        schema = self._parsed(schema_id)
        stream = io.BytesIO(body)
        try:
            found = _plain(fastavro.schemaless_reader(stream, schema, None))
        except Exception as error:  # the codec has no errors of its own
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise BadMessage(f"not a record of schema {schema_id} ({reason})") from error
        if stream.tell() < len(body):
            raise BadMessage(
                f"not a record of schema {schema_id}: {len(body) - stream.tell()} bytes are left"
                " behind it"
            )
        return found

    def _parse(self, schema_id: int) -> Schema:
        schema = self._schemas(schema_id)
        check_kind(schema, schema_id, "AVRO")
        try:
            return _parsed(schema)
        except (ValueError, TypeError, KeyError, fastavro.schema.SchemaParseException) as error:
            raise BadMessage(f"schema {schema_id} can't be read: {error!r}") from error


def _parsed(schema: RegisteredSchema) -> Schema:
    known: dict[str, Any] = {}
    for text in schema.imports.values():
        fastavro.parse_schema(json.loads(text), named_schemas=known)
    return fastavro.parse_schema(json.loads(schema.text), named_schemas=known)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    kind = type(value)
    if kind is dict:
        return {name: _plain(each) for name, each in value.items()}
    if kind is list:
        return [_plain(each) for each in value]
    convert = _TO_PLAIN.get(kind)
    return value if convert is None else convert(value)


def _ms(time: dt.datetime) -> Instant:
    """Milliseconds since 1970; of a local time as if it were UTC, since its zone is not said."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=dt.UTC)
    return Instant((time - _EPOCH) // _MS)


def _number(value: Decimal) -> int | float:
    """A number that counts is whole, and may be an id beyond 2^53."""
    return int(value) if value.as_tuple().exponent == 0 else float(value)


_TO_PLAIN: Final[Mapping[type, Callable[[Any], Any]]] = {
    dt.datetime: _ms,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
    Decimal: _number,
    UUID: str,
    bytes: text_of,
}
