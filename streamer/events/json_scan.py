"""Tokens of plain JSON inside kernels; each function returns, last, what is behind a token.

Plain is ASCII text without escapes, and numbers without exponents and of at most 15 digits. A place
of -1 says that there is no such token, or one that is not plain.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_bytes import Bytes, same_bytes, word_at
from streamer_models.state.ids.kernel_ints import ZERO

DIGITS_MAX = 15
"""Any integer of so many digits, and any 10^k up to 10^22, is a float exactly. So one division
rounds once and gives the float that is nearest to the text, as every right parser does."""
_POWERS_OF_TEN = 10.0 ** np.arange(DIGITS_MAX + 1)

QUOTE, COMMA, COLON, OPEN, CLOSE = (ord(c) for c in '",:{}')
_BACKSLASH, _ZERO, _NINE, _MINUS, _POINT = (ord(c) for c in "\\09-.")
_SPACE, _TAB, _NEWLINE, _RETURN = (ord(c) for c in " \t\n\r")

_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES = _ONES * np.uint64(QUOTE), _ONES * np.uint64(_BACKSLASH)
_SPACES = _ONES * np.uint64(_SPACE)


@numba.njit(cache=True, nogil=True)
def after_space(data: Bytes, at: int, end: int) -> int:
    """Return where the next token begins, at most ``end``."""
    while at < end and (
        data[at] == _SPACE or data[at] == _NEWLINE or data[at] == _RETURN or data[at] == _TAB
    ):
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def after_text(data: Bytes, at: int, end: int) -> int:
    """Return what is behind a text, whose first quote is at ``at``."""
    if at >= end or data[at] != QUOTE:
        return -1
    at += 1
    # Eight bytes at a time while none of them stops the text: a quote, a backslash, a control
    # character or a byte of a character beyond ASCII. A byte x is zero where (x - 1) & ~x has its
    # high bit. What is behind such a byte may be told wrong: the loop below looks at each again.
    while at + 8 <= end:
        word = word_at(data, np.uint64(at))
        quote, slash = word ^ _QUOTES, word ^ _BACKSLASHES
        stops = ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | (word - _SPACES) | word
        if stops & _HIGHS:
            break
        at += 8
    while at < end:
        byte = data[at]
        if byte == QUOTE:
            return at + 1
        if byte < _SPACE or byte == _BACKSLASH or byte > 127:
            return -1
        at += 1
    return -1


@numba.njit(cache=True, nogil=True)
def word_of(
    data: Bytes, at: int, end: int, words: Bytes, ends: NDArray[np.int64], likely: int
) -> tuple[int, int]:
    """Return which of some words stands behind the quote at ``at``, and what is behind the quote
    that ends it; -1 where it is none of them. The ``likely`` one is tried first."""
    at += 1
    for k in range(-1, len(ends)):
        word = likely if k < 0 else k
        start = ends[word - 1] if word else 0
        n = ends[word] - start
        if at + n < end and data[at + n] == QUOTE and same_bytes(data, at, words, start, n):
            return word, at + n + 1
    return -1, -1


@numba.njit(cache=True, nogil=True)
def is_at(word: Bytes, data: Bytes, at: int, end: int) -> bool:
    """Tell whether a word stands at a place."""
    return at + len(word) <= end and same_bytes(data, at, word, ZERO, len(word))


@numba.njit(cache=True, nogil=True)
def natural(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Return an integer from 0 on, and what is behind it."""
    start, digits = at, 0
    while at < end and _ZERO <= data[at] <= _NINE and at - start <= DIGITS_MAX:
        digits = 10 * digits + int(data[at]) - _ZERO
        at += 1
    n = at - start
    if n == 0 or n > DIGITS_MAX or (n > 1 and data[start] == _ZERO):
        return 0, -1
    return digits, at


@numba.njit(cache=True, nogil=True)
def number(data: Bytes, at: int, end: int) -> tuple[float, int]:
    """Return the float that is nearest to a number, and what is behind it."""
    negative = at < end and data[at] == _MINUS
    start = at + 1 if negative else at
    digits, at = natural(data, start, end)
    if at < 0:
        return 0.0, -1
    n_whole, n_fraction = at - start, 0
    if at < end and data[at] == _POINT:
        at += 1
        first = at
        while at < end and _ZERO <= data[at] <= _NINE and n_whole + at - first <= DIGITS_MAX:
            digits = 10 * digits + int(data[at]) - _ZERO
            at += 1
        n_fraction = at - first
        if n_fraction == 0 or n_whole + n_fraction > DIGITS_MAX:
            return 0.0, -1
    if negative and digits == 0:  # -0.0 is for the decoder to tell
        return 0.0, -1
    value = digits / _POWERS_OF_TEN[n_fraction]
    return (-value if negative else value), at
