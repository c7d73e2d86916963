"""A message of another system → the record in it, and what became of that record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from streamer.bridge.decoder import Decoder
from streamer.errors import BadMessage

Fate = Literal["made", "changed", "deleted"]

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


def read_record(value: bytes, decoder: Decoder) -> ForeignRecord | None:
    """Read a record, and Debezium's envelope of a change, with its schema or without; None: a
    change of no record, as where a table is emptied.

    Raises
    ------
    BadMessage
        When it can't be decoded, or its envelope holds no record.
    RegistryError
        When its schema can't be had.
    """
    found = decoder.record(value)
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
