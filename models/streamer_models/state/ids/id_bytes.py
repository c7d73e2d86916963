"""Bytes of ids inside kernels: words of eight bytes, equality and a hash."""

from __future__ import annotations

import itertools

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.kernel_ints import ZERO

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]

HASH_SEED = np.uint64(hash(b"ids") & 0xFFFFFFFFFFFFFFFF)
"""Of this process alone, as the hash of a Python string is: senders of ids cannot aim at a bucket.
Nothing that is stored, learned or drawn depends on a hash. Kernels are given it as an argument: a
global would be compiled into their cache."""

_MULTIPLE = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_MULTIPLE_LOW, _MULTIPLE_HIGH = _MULTIPLE & _LOW, _MULTIPLE >> np.uint64(32)
_S32 = np.uint64(32)
_WORD = np.uint64(8)


@numba.njit(cache=True, nogil=True)
def word_at(data: Bytes, at: np.uint64) -> np.uint64:
    """Return bytes ``[at, at + 8)`` as one little-endian number."""
    word = np.uint64(0)
    for i in range(8):  # the compiler makes it one load
        word |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
    return word


@numba.njit(cache=True, nogil=True)
def short_word(data: Bytes, at: np.uint64, n: int) -> np.uint64:
    """Return ``n`` bytes, at most 8, as one little-endian number; those missing are zero."""
    word = np.uint64(0)
    for i in range(n):
        word |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
    return word


@numba.njit(cache=True, nogil=True)
def _folded(x: np.uint64) -> np.uint64:
    """Return the low half of the 128-bit ``x * _MULTIPLE`` xor its high half."""
    low, high = x & _LOW, x >> _S32
    low_high, high_low = low * _MULTIPLE_HIGH, high * _MULTIPLE_LOW
    middle = ((low * _MULTIPLE_LOW) >> _S32) + (low_high & _LOW) + (high_low & _LOW)
    upper = high * _MULTIPLE_HIGH + (low_high >> _S32) + (high_low >> _S32) + (middle >> _S32)
    return np.uint64((x * _MULTIPLE) ^ upper)


@numba.njit(cache=True, nogil=True)
def hash_of(data: Bytes, start: int, end: int, seed: np.uint64) -> np.uint64:
    """Return the hash of bytes ``[start, end)``: a folded multiplication a word, as in aHash."""
    n, at, stop = end - start, np.uint64(start), np.uint64(end)
    hashed = seed ^ (np.uint64(n) * _MULTIPLE)
    if n < 8:
        return _folded(_folded(hashed ^ short_word(data, at, n)))
    last = stop - _WORD
    while at < last:
        hashed = _folded(hashed ^ word_at(data, at))
        at += _WORD
    return _folded(_folded(hashed ^ word_at(data, last)))  # the last words may overlap


@numba.njit(cache=True, nogil=True)
def same_bytes(a: Bytes, a_start: int, b: Bytes, b_start: int, n: int) -> bool:
    """Tell whether ``n`` bytes at two places are the same."""
    at_a, at_b = np.uint64(a_start), np.uint64(b_start)
    if n < 8:
        return bool(short_word(a, at_a, n) == short_word(b, at_b, n))
    left = n
    while left > 8:
        if word_at(a, at_a) != word_at(b, at_b):
            return False
        at_a += _WORD
        at_b += _WORD
        left -= 8
    back = np.uint64(8 - left)
    return bool(word_at(a, at_a - back) == word_at(b, at_b - back))


@numba.njit(cache=True, nogil=True)
def copy_bytes(source: Bytes, start: int, n: int, target: Bytes, to: int) -> None:
    """Copy ``n`` bytes from one array to another.

    A slice assigned to a slice does the same, and with it the text of its error for unlike lengths
    is compiled: 4 of the 45 s that all kernels of a learner take.
    """
    first, at = np.uint64(start), np.uint64(to)
    for i in range(np.uint64(n)):
        target[at + i] = source[first + i]


@numba.njit(cache=True, nogil=True)
def hashes_of(
    data: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], seed: np.uint64
) -> Hashes:
    """Return the ``(n,)`` hashes of spans of bytes."""
    hashes = np.empty(len(starts), dtype=np.uint64)
    for i in range(len(starts)):
        hashes[i] = hash_of(data, starts[i], ends[i], seed)
    return hashes


def texts_of(data: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[bytes]:
    """Return ``n`` spans of bytes as Python objects."""
    joined, bounds = packed(data, starts, ends), [0, *np.cumsum(ends - starts).tolist()]
    return [joined[start:end] for start, end in itertools.pairwise(bounds)]


def packed(data: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bytes:
    """Return ``n`` spans of bytes one after the other."""
    to = np.empty(int((ends - starts).sum()), dtype=np.uint8)
    _pack(data, starts, ends, to)
    return to.tobytes()


@numba.njit(cache=True, nogil=True)
def _pack(data: Bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], to: Bytes) -> None:
    at = ZERO
    for i in range(len(starts)):
        n = ends[i] - starts[i]
        copy_bytes(data, starts[i], n, to, at)
        at += n


def read_only(data: bytes) -> Bytes:
    """Return bytes as an array, which cannot be written to."""
    return np.frombuffer(data, dtype=np.uint8)
