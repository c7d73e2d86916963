"""A message of another system → the record in it, and what became of that record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from streamer.errors import BadMessage

Fate = Literal["made", "changed", "deleted"]

_MAGIC: Final = b"\x00"
"""Before what a serializer with a schema registry writes, and the four bytes of a schema's id."""
_HEADER_BYTES: Final = 5
_FATES: Final[dict[object, Fate]] = {"c": "made", "r": "made", "u": "changed", "d": "deleted"}
"""Of Debezium's ``op``: create, read (of a snapshot), update, delete."""


@dataclass(frozen=True, slots=True)
class ForeignRecord:
    """Fields of a record.

    Attributes
    ----------
    fate
        Whether it was made, changed or deleted; a message of no change-data capture makes one.
    """

    fields: dict[str, Any]
    fate: Fate


def read_record(value: bytes) -> ForeignRecord | None:
    """Read JSON, also of a serializer with a schema registry, and Debezium's envelope of a change,
    with its schema or without; None: a change of no record, as where a table is emptied.

    Raises
    ------
    BadMessage
        When it is no JSON object, or its envelope holds no record.
    """
    if value.startswith(_MAGIC):
        value = value[_HEADER_BYTES:]
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadMessage(
            f"not JSON ({error}): a bridge reads JSON, also with the prefix of a schema registry;"
            " let a converter write it, as Kafka Connect's JsonConverter"
        ) from error
    if not isinstance(found, dict):
        raise BadMessage(f"a JSON {type(found).__name__}, and records are objects")
    change = found.get("payload", found)
    if not (isinstance(change, dict) and "op" in change and {"before", "after"} & change.keys()):
        return ForeignRecord(found, "made")
    fate = _FATES.get(change["op"])
    if fate is None:
        return None
    fields = change.get("before" if fate == "deleted" else "after")
    if not isinstance(fields, dict):
        raise BadMessage(
            f"a change with op {change['op']!r} holds no record"
            f" {'before' if fate == 'deleted' else 'after'} it; let the connector send it (REPLICA"
            " IDENTITY FULL, or the key's columns)"
        )
    return ForeignRecord(fields, fate)
