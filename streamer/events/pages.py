"""Where the next page of a slate goes on: keys of all that the pages before show."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events.rejection import reason

PAGED_MAX: Final = 500
"""Items that pages of one slate show at most."""
_KEY: Final = np.dtype("<u8")

Keys = NDArray[np.uint64]


def packed_keys(keys: Keys) -> str:
    """Return ``after`` of the next page: 11 characters an item, or a little less.

    >>> packed_keys(np.array([1, 2], dtype=np.uint64))
    'AQAAAAAAAAACAAAAAAAAAA'
    """
    return base64.urlsafe_b64encode(keys.astype(_KEY).tobytes()).decode().rstrip("=")


def unpacked_keys(after: str) -> Keys:
    """Return the keys of :func:`packed_keys`.

    Raises
    ------
    BadMessage
        When it is no such text.

    >>> unpacked_keys("AQAAAAAAAAACAAAAAAAAAA").tolist()
    [1, 2]
    """
    try:
        packed = base64.b64decode(after + "=" * (-len(after) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        packed = b"?"
    if len(packed) % _KEY.itemsize:
        problem = "is not the `next` of an answer; send that, or empty text for the first page"
        raise BadMessage(reason("after", after, problem))
    return np.frombuffer(packed, dtype=_KEY).astype(np.uint64)
