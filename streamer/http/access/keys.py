"""Keys that callers send, and the place of one among those of the configuration."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection

_AZURE: Final = "ocp-apim-subscription-key"  # what clients of Azure Personalizer send
_BEARER: Final = "bearer "
HOW: Final = "send one of http.api_keys, as `Authorization: Bearer KEY` or `X-API-Key: KEY`"


def key_of(connection: HTTPConnection) -> str:
    """Return the key in the head of a request; empty where there is none."""
    given = connection.headers.get("authorization", "")
    if given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    return connection.headers.get("x-api-key") or connection.headers.get(_AZURE, "")


def place_of(key: str, keys: Sequence[bytes]) -> int:
    """Return the place of a key, -1 where it is none; in the same time whichever it is."""
    given, found = key.encode("latin-1", "replace"), -1
    for place, each in enumerate(keys):
        if hmac.compare_digest(given, each):
            found = place
    return found
