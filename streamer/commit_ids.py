"""Ids of commits: two commits with one id have the same commits before them.

A version counts the commits of a partition. A store that went back to an older copy counts the same
versions again for other commits; their ids differ.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from streamer.protocols import Schedule

UNKNOWN: Final = 0
"""Id of a commit by a release that gave none; it is taken for any other."""
_ENCODER: Final = msgspec.msgpack.Encoder()


def commit_id(parent_id: int, schedule: Schedule, committed_ms: int) -> int:
    """Return the id of a commit: a digest of the one before, of the messages it took, and when.

    64 bits, a function of the arguments alone; 1 us. Stores and followers compare ids and compute
    none, so releases may differ in how they do.
    """
    return _digest((parent_id, schedule.version, schedule.offsets, committed_ms))


def id_of_empty(version: int) -> int:
    """Return the id of a partition that was forgotten: empty at a version is empty, whatever was
    before."""
    return _digest(version)


def differ(one_id: int, other_id: int) -> bool:
    """Return whether two ids are known, and not of one commit."""
    return one_id != other_id and UNKNOWN not in (one_id, other_id)


def _digest(value: object) -> int:
    digest = blake2b(_ENCODER.encode(value), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1
