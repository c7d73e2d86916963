"""What the places of a slate ask of each other: caps, variety, calibration; struct and settings.

At each place a composition says which candidates are possible and what each costs, given those
placed before; the policy draws among them. So a propensity stays the probability of an item given
the places before it. The kernels are in :mod:`streamer_models.bandits.composition_kernels`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.policies.settings import SLOTS_MAX, Value

CATEGORIES: Final = "categories"
"""The field that likeness and shares are taken from."""
CAP: Final = re.compile(r"([^<>=;]{1,100}?) *<= *([1-9]\d{0,2})(?: +in +([1-9]\d{0,2}))?")
"""``FIELD<=MOST in DEPTH``; without ``in``, of the whole slate."""
NOT_NEW: Final = "not new"
"""The field of caps that has one group: what is not new."""
FRESH: Final = re.compile(r"([1-9]\d{0,2}) +in +([1-9]\d{0,2})")
"""``LEAST in DEPTH`` places for what is new."""
GROUPS_MAX: Final = 1 << 16
"""Groups of one field that are told apart in a request; decisions log 2 B for each."""
WANTED_MAX: Final = 512
"""Shares that a user's calibration is held against, the largest ones."""

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]
_SHARE: Final = np.dtype([("group", "<u2"), ("share", "<f4")])


@dataclass(frozen=True, slots=True)
class Cap:
    """A bound on how many of the first places have items of one group.

    Attributes
    ----------
    field
        What an item's groups are taken from: ``categories``, ``tags`` or the name of an attribute,
        or ``NOT_NEW``.
    most
        Items of each group.
    depth
        Places that count, the first ones.
    """

    field: str
    most: int
    depth: int = SLOTS_MAX

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Return the cap that a text says.

        Raises
        ------
        ValueError
            Where it says none.

        Examples
        --------
        >>> Cap.parsed("categories<=2 in 5")
        Cap(field='categories', most=2, depth=5)
        """
        found = CAP.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no cap; write FIELD<=MOST in DEPTH, categories<=2 in 5")
        return cls(found[1], int(found[2]), int(found[3] or SLOTS_MAX))

    @classmethod
    def for_new(cls, text: str) -> Self:
        """Return the cap that keeps so many of the first places for what is new: the others have
        what is left.

        Raises
        ------
        ValueError
            Where the text says none, or leaves no place to the others.

        Examples
        --------
        >>> str(Cap.for_new("1 in 5"))
        'not new<=4 in 5'
        """
        found = FRESH.fullmatch(text.strip())
        if found is None or int(found[1]) >= int(found[2]):
            raise ValueError(f"{text!r} is no LEAST in DEPTH with fewer than all; write 1 in 5")
        return cls(NOT_NEW, int(found[2]) - int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.field}<={self.most} in {self.depth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionSettings:
    """Settings of a composition.

    Attributes
    ----------
    diversity
        1 - λ of maximal marginal relevance (Carbonell & Goldstein 1998), in [0, 1): the share that
        an item's likeness to those above it has, against its score.
    calibration
        λ of calibrated recommendations (Steck 2018), in [0, 1): the share that the divergence of
        the slate's categories from the user's own has.
    """

    diversity: float = 0.0
    calibration: float = 0.0
    caps: tuple[Cap, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that groups are taken from, ``categories`` first; none: nothing is composed."""
        capped = dict.fromkeys(cap.field for cap in self.caps)
        first = self.diversity > 0 or self.calibration > 0 or CATEGORIES in capped
        others = [field for field in capped if field != CATEGORIES]
        return ((CATEGORIES,) if first else ()) + tuple(others)

    def parameters(self) -> dict[str, Value]:
        """Return what a decision logs; nothing where nothing is composed."""
        if not self.fields:
            return {}
        caps = {"slate_caps": "; ".join(map(str, self.caps))} if self.caps else {}
        return {
            "slate_diversity": self.diversity,
            "slate_calibration": self.calibration,
            **caps,
        }

    @classmethod
    def logged(cls, parameters: Mapping[str, Value]) -> Self:
        """Return the settings that :meth:`parameters` gave.

        Raises
        ------
        ValueError
            Where a cap can't be read, or a number.
        """
        caps = str(parameters.get("slate_caps", ""))
        return cls(
            diversity=float(parameters.get("slate_diversity", 0.0)),
            calibration=float(parameters.get("slate_calibration", 0.0)),
            caps=tuple(Cap.parsed(each) for each in caps.split(";") if each.strip()),
        )


class Composition(NamedTuple):
    """Groups of n candidates and what places ask of them; a struct that kernels take.

    Attributes
    ----------
    on
        Whether anything is composed.
    starts, groups
        ``(n_fields, n + 1)`` where in ``groups`` those of each candidate begin; no group is of two
        fields. Likeness and shares are by the first field.
    wanted
        ``(n_groups,)`` shares of the user; 0 outside of the first field.
    caps
        ``(n_caps, 3)`` field, most and depth.
    known
        ``(n,)`` costs that don't depend on other places, in deviations of the scores; or ``(0,)``.
    diversity, calibration
        Deviations of the scores that full likeness, and a nat of divergence, costs.
    """

    on: bool
    starts: Integers
    groups: Integers
    wanted: Floats
    caps: Integers
    known: Floats
    diversity: float
    calibration: float


UNCOMPOSED: Final = Composition(
    on=False,
    starts=np.zeros((0, 1), dtype=np.int32),
    groups=np.zeros(0, dtype=np.int32),
    wanted=np.zeros(0),
    caps=np.zeros((0, 3), dtype=np.int32),
    known=np.zeros(0),
    diversity=0.0,
    calibration=0.0,
)
"""Every place may get every candidate that remains, at no cost."""


def known_costs(costs: Floats) -> Composition:
    """Return a composition of costs that are known, such as those of a place that is logged."""
    return UNCOMPOSED._replace(on=True, known=np.ascontiguousarray(costs))


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of candidates in one field: columns.

    Attributes
    ----------
    counts
        ``(n,)`` groups of each candidate, at most 255.
    numbers
        Those of the first candidate, then of the second …, each below ``GROUPS_MAX``.
    """

    counts: NDArray[np.int64]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Shares of a user's categories, of groups that candidates have: at most ``WANTED_MAX``."""

    groups: NDArray[np.int64]
    shares: NDArray[np.float32]


NOTHING_WANTED: Final = Wanted(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


def composed(
    settings: CompositionSettings, fields: Sequence[Groups], wanted: Wanted = NOTHING_WANTED
) -> Composition:
    """Return the composition of candidates; ``fields`` are those of the settings, in order."""
    starts: list[NDArray[np.int64]] = []
    groups: list[NDArray[np.int64]] = []
    n_groups = 0
    for field in fields:
        start = sum(map(len, groups))
        starts.append(start + np.concatenate([[0], np.cumsum(field.counts)]))
        groups.append(field.numbers + n_groups)
        n_groups += int(field.numbers.max(initial=-1)) + 1
    shares = np.zeros(n_groups)
    shares[wanted.groups] = wanted.shares
    order = settings.fields
    caps = [(order.index(cap.field), cap.most, cap.depth) for cap in settings.caps]
    return Composition(
        on=True,
        starts=np.array(starts, dtype=np.int32).reshape(len(fields), -1),
        groups=np.concatenate(groups).astype(np.int32),
        wanted=shares,
        caps=np.array(caps, dtype=np.int32).reshape(-1, 3),
        known=np.zeros(0),
        diversity=settings.diversity / (1 - settings.diversity),
        calibration=settings.calibration / (1 - settings.calibration),
    )


def packed(fields: Sequence[Groups], wanted: Wanted = NOTHING_WANTED) -> bytes:
    """Return what a decision logs, so that its slate can be drawn again: little-endian.

    2 B and 6 B for each of at most 512 shares; then of each field 1 B a candidate and 2 B a group
    of it.
    """
    shares = np.empty(len(wanted.groups), dtype=_SHARE)
    shares["group"], shares["share"] = wanted.groups, wanted.shares
    parts = [np.array([len(shares)], dtype="<u2").tobytes(), shares.tobytes()]
    for field in fields:
        parts += [field.counts.astype("u1").tobytes(), field.numbers.astype("<u2").tobytes()]
    return b"".join(parts)


def unpacked(settings: CompositionSettings, state: bytes, n: int) -> Composition:
    """Return the composition that a decision with ``n`` candidates logged.

    Raises
    ------
    ValueError
        Where ``state`` is none of so many candidates and of the fields of the settings.
    """
    reader = _PackedColumns(state)
    (n_shares,) = reader.take("<u2", 1).tolist()
    shares = reader.take(_SHARE, n_shares)
    fields = []
    for _ in settings.fields:
        counts = reader.take("u1", n).astype(np.int64)
        fields.append(Groups(counts, reader.take("<u2", int(counts.sum())).astype(np.int64)))
    reader.end()
    wanted = Wanted(shares["group"].astype(np.int64), shares["share"].astype(np.float32))
    n_first = int(fields[0].numbers.max(initial=-1)) + 1 if fields else 0
    if wanted.groups.max(initial=-1) >= n_first:
        raise ValueError("composition has a share of a category that no candidate is in")
    return composed(settings, fields, wanted)


class _PackedColumns:
    """Columns out of bytes, one after another."""

    def __init__(self, state: bytes) -> None:
        self._state = state
        self._at = 0

    def take(self, kind: np.dtype[np.void] | str, n: int) -> NDArray[Any]:
        dtype = np.dtype(kind)
        end = self._at + n * dtype.itemsize
        if end > len(self._state):
            raise ValueError(f"composition ends after {len(self._state)} of {end} bytes or more")
        found: NDArray[Any] = np.frombuffer(self._state[self._at : end], dtype=dtype)
        self._at = end
        return found

    def end(self) -> None:
        if self._at != len(self._state):
            raise ValueError(f"composition holds {len(self._state)} bytes where {self._at} are")
