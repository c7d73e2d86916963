"""Which partition a key lands on: murmur2, as Java's default partitioner and every client here."""

from __future__ import annotations

from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def partition_of(key: bytes, n_partitions: int) -> int:
    """Partition of a message with ``key``.

    >>> partition_of(b"ann", 4)
    2
    """
    return (murmur2(key) & 0x7FFFFFFF) % n_partitions


def murmur2(data: bytes) -> int:
    """Kafka's variant of MurmurHash2 (Appleby), unsigned 32 bit."""
    h = _SEED ^ len(data)
    n_whole = len(data) & ~3
    for at in range(0, n_whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if rest := data[n_whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)
