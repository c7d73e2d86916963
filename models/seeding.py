"""Random numbers that are functions of (seed, partition, offset) or of an id, in any process."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from models.table import FIXED_POINT_BITS, Keys

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


@numba.njit(cache=True, nogil=True)
def mix(z: np.uint64) -> np.uint64:
    """The output function of splitmix64 (Steele, Lea & Flood 2014): a bijection of 64 bits."""
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@numba.njit(cache=True, nogil=True)
def stream(seed: np.uint64, partition: np.uint64, offset: np.uint64) -> np.uint64:
    """Start of the random stream of one event."""
    return mix(mix(mix(seed + _GOLDEN) + partition) + offset)


@numba.njit(cache=True, nogil=True)
def random_bits(start: np.uint64, i: np.uint64) -> np.uint64:
    """64 random bits: number ``i`` of the splitmix64 sequence that begins at ``start``."""
    return mix(start + (i + np.uint64(1)) * _GOLDEN)


@numba.njit(cache=True, nogil=True)
def scaled_below(bits: np.uint64, n: int) -> int:
    """The upper 32 of ``bits`` as a number below ``n`` (``n < 2^32``; bias below ``n / 2^32``)."""
    return int(np.int64(((bits >> _S32) * np.uint64(n)) >> _S32))


def initial_factors(keys: Keys, n_factors: int, *, seed: int, scale: float) -> NDArray[np.int32]:
    """Small random factors that every process derives alike from an id's key.

    Parameters
    ----------
    keys
        ``(n,)`` keys of ids.
    n_factors
        Factors a row.
    seed
        Any int.
    scale
        Standard deviation; the values are uniform.

    Returns
    -------
    ``(n, n_factors)`` int32 in units of 2^-24.

    Examples
    --------
    >>> factors = initial_factors(np.array([7], np.uint64), 3, seed=0, scale=0.1) * 2.0**-24
    >>> bool(abs(factors).max() < 0.1 * 3**0.5)
    True
    """
    steps = (np.arange(n_factors, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
    start = _mix(keys ^ _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64)))
    bits = _mix(start[:, None] + steps)
    # The upper 24 bits, centred: uniform on (-1, 1), whose standard deviation is 3^-1/2.
    uniform = ((bits >> np.uint64(40)).astype(np.int64) * 2 + 1 - (1 << 24)) / (1 << 24)
    factors: NDArray[np.int32] = np.rint(
        uniform * (scale * 3.0**0.5 * (1 << FIXED_POINT_BITS))
    ).astype(np.int32)
    return factors


def initial_rows(keys: Keys, n_factors: int, *, seed: int, scale: float) -> NDArray[np.int32]:
    """``(n, n_factors + 1)`` rows: :func:`initial_factors` and a bias of zero."""
    rows = np.zeros((len(keys), n_factors + 1), dtype=np.int32)
    rows[:, :-1] = initial_factors(keys, n_factors, seed=seed, scale=scale)
    return rows


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """:func:`mix` over an array, without a kernel to compile."""
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)
