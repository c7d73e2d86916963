"""Random numbers that are functions of (seed, partition, offset) or of an id, in any process."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import FIXED_POINT_BITS, Keys

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32, _S40 = (np.uint64(bits) for bits in (27, 30, 31, 32, 40))


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


def initial_rows(keys: Keys, n_factors: int, *, seed: int, scale: float) -> NDArray[np.int32]:
    """Rows of small random factors that every process derives alike from an id's key.

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
    ``(n, n_factors + 1)`` int32: factors in units of 2^-24, and a bias of zero.

    Examples
    --------
    >>> rows = initial_rows(np.array([7], np.uint64), 3, seed=0, scale=0.1) * 2.0**-24
    >>> bool(abs(rows).max() < 0.1 * 3**0.5), float(rows[0, -1])
    (True, 0.0)
    """
    # Uniform on (-1, 1), whose standard deviation is 3^-1/2.
    width = scale * 3.0**0.5 * (1 << FIXED_POINT_BITS)
    rows = np.zeros((len(keys), n_factors + 1), dtype=np.int32)
    _fill_factors(rows, keys, np.uint64(seed & 0xFFFFFFFFFFFFFFFF), width)
    return rows


@numba.njit(cache=True, nogil=True)
def _fill_factors(rows: NDArray[np.int32], keys: Keys, seed: np.uint64, width: float) -> None:
    for i in range(len(keys)):
        start = mix(keys[i] ^ mix(seed))
        for f in range(rows.shape[1] - 1):
            upper = np.int64(random_bits(start, np.uint64(f)) >> _S40)  # 24 bits, to be centred
            rows[i, f] = np.int32(np.rint((upper * 2 + 1 - (1 << 24)) / (1 << 24) * width))
