"""BLAKE2b-64 in a kernel: the keys of many ids at once.

The hash of RFC 7693 (Saarinen & Aumasson 2015) without a key and with a digest of 8 bytes, the
same as ``hashlib.blake2b(name, digest_size=8)``, which takes three times as long an id.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_bytes import Bytes, short_word, word_at
from streamer_models.state.table import Keys

_BLOCK = 128
_ROUNDS = 12
_START = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)
_PARAMETERS = np.uint64(0x01010008)  # no key, one leaf, a digest of 8 bytes
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    dtype=np.uint8,
)


@numba.njit(cache=True, nogil=True)
def _rotated(x: np.uint64, bits: int) -> np.uint64:
    return (x >> np.uint64(bits)) | (x << np.uint64(64 - bits))


@numba.njit(cache=True, nogil=True)
def _mixed(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The function G of RFC 7693; the letters are its own."""
    a += b + x
    d = _rotated(d ^ a, 32)
    c += d
    b = _rotated(b ^ c, 24)
    a += b + y
    d = _rotated(d ^ a, 16)
    c += d
    b = _rotated(b ^ c, 63)
    return a, b, c, d


@numba.njit(cache=True, nogil=True)
def _compress(h: NDArray[np.uint64], m: NDArray[np.uint64], n_bytes: int, last: bool) -> None:
    """The function F of RFC 7693: mix one block of 16 words into the state."""
    # Sixteen names, not an array: so the words stay in registers.
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _START[0], _START[1], _START[2], _START[3]
    v12, v13, v14, v15 = _START[4] ^ np.uint64(n_bytes), _START[5], _START[6], _START[7]
    if last:
        v14 = ~v14
    for r in range(_ROUNDS):
        s = _ORDER[r % 10]
        v0, v4, v8, v12 = _mixed(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mixed(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mixed(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mixed(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mixed(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mixed(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mixed(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mixed(v3, v4, v9, v14, m[s[14]], m[s[15]])
    h[0] ^= v0 ^ v8
    h[1] ^= v1 ^ v9
    h[2] ^= v2 ^ v10
    h[3] ^= v3 ^ v11
    h[4] ^= v4 ^ v12
    h[5] ^= v5 ^ v13
    h[6] ^= v6 ^ v14
    h[7] ^= v7 ^ v15


@numba.njit(cache=True, nogil=True)
def digests(data: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Keys:
    """Return ``(n,)`` digests of spans of bytes, each read as a little-endian number."""
    found = np.empty(len(starts), dtype=np.uint64)
    state = np.empty(8, dtype=np.uint64)
    message = np.empty(16, dtype=np.uint64)
    for i in range(len(starts)):
        for w in range(8):  # one by one, as in copy_bytes()
            state[w] = _START[w]
        state[0] ^= _PARAMETERS
        n = ends[i] - starts[i]
        done = 0
        while True:
            left = n - done
            for w in range(16):
                at = np.uint64(starts[i] + done + 8 * w)
                if left >= 8 * (w + 1):
                    message[w] = word_at(data, at)
                else:
                    message[w] = short_word(data, at, max(0, left - 8 * w))
            last = left <= _BLOCK
            done = n if last else done + _BLOCK
            _compress(state, message, done, last)
            if last:
                break
        found[i] = state[0]
    return found
