"""What is kept of a user's message: packed into a row of a table, and read from it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.events.messages import User

PROFILE_WORDS: Final = 64
"""Of a row, 8 B each: 512 B a user."""
_WORD_BYTES: Final = 8
PROFILE_BYTES_MAX: Final = _WORD_BYTES * (PROFILE_WORDS - 1)
"""Beside the word that holds how many they are."""


class Profile(msgspec.Struct, frozen=True, array_like=True):
    """What a user said of themselves.

    Attributes
    ----------
    categories
        That the user chose, each once.
    """

    categories: tuple[str, ...] = ()
    attributes: dict[str, str | int | float | bool] = {}
    ts: int | None = None

    def message(self, user_id: str) -> User:
        """Return the message that says it."""
        return User(
            user_id=user_id,
            categories=list(self.categories) or None,
            attributes=self.attributes or None,
            ts=self.ts,
        )


NO_PROFILE: Final = Profile()
_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Profile)


def packed_profile(user: User) -> bytes:
    """Return what is kept of a message; at most ``PROFILE_BYTES_MAX`` bytes of one that was
    decoded."""
    chosen = tuple(dict.fromkeys(user.categories or ()))
    return _ENCODER.encode(Profile(chosen, user.attributes or {}, user.ts))


def profile_row(user: User) -> NDArray[np.uint64]:
    """``(PROFILE_WORDS,)`` row of a user's message."""
    packed = packed_profile(user)
    padded = len(packed).to_bytes(_WORD_BYTES, "little") + packed.ljust(PROFILE_BYTES_MAX, b"\0")
    return np.frombuffer(padded, dtype="<u8").astype(np.uint64)


def profile_of(row: NDArray[Any] | None) -> Profile:
    """Return what a row says; one that is absent, or was never written, says nothing."""
    n_bytes = 0 if row is None else int(row[0])
    if row is None or not n_bytes:
        return NO_PROFILE
    return _DECODER.decode(row[1:].astype("<u8", copy=False).tobytes()[:n_bytes])
