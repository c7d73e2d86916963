"""Buckets of hashes that name numbers: open addressing with linear probing, as kernels.

Lower half of a bucket: a number (a slot, a place in a queue), all ones where it is free. The upper
half is that of the hash, so that other ids are told apart without a look at their bytes. There are
``2^n`` buckets, some of them free; a hash begins at its lowest n bits.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from streamer_models.state.ids.id_bytes import Hashes

Buckets = NDArray[np.uint64]

NUMBER = np.uint64(0xFFFFFFFF)
"""The bits of a bucket that are the number."""
FREE = NUMBER
"""A bucket that names none."""
_ONE = np.uint64(1)


@numba.njit(cache=True, nogil=True, inline="always")
def put(buckets: Buckets, hashed: np.uint64, number: int) -> None:
    """Have the first free bucket of a hash name a number."""
    mask = np.uint64(len(buckets) - 1)
    at = hashed & mask
    while (buckets[at] & NUMBER) != FREE:
        at = (at + _ONE) & mask
    buckets[at] = (hashed & ~NUMBER) | np.uint64(number)


@numba.njit(cache=True, nogil=True, inline="always")
def free(buckets: Buckets, hashes: Hashes, hole: np.uint64) -> None:
    """Have a bucket name none any more; ``hashes`` has the hash of each number.

    Backward-shift deletion: what follows in a run moves up, so no tombstones are needed.
    """
    mask = np.uint64(len(buckets) - 1)
    probe = (hole + _ONE) & mask
    while (buckets[probe] & NUMBER) != FREE:
        home = hashes[np.int64(buckets[probe] & NUMBER)] & mask
        # What is at `probe` may fill the hole if its home does not lie between the two.
        if ((probe - home) & mask) >= ((probe - hole) & mask):
            buckets[hole] = buckets[probe]
            hole = probe
        probe = (probe + _ONE) & mask
    buckets[hole] = FREE
