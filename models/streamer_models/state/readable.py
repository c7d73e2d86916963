"""How a merged table is read: what a model declares of its tables, and what a reader asks for.

A reading is both the declaration (:meth:`readable <streamer_models.state.protocols.Model>` of a
model names those of its tables that are replicated for readers) and the handle by which a reader
asks a version for the table, so a table that is declared is readable without an edit elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamer_models.state.table import OWNED_ENTITIES, Merge, TableSpec
from streamer_models.state.top_rows import Ranked

_OWN = (Merge.REPLACE, Merge.RECENT, Merge.NEIGHBOURS)
"""What a partition owns, and several partitions' rows cannot be merged."""


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Merged rows as they are, each read by its number: factors of users, rings, statistics.

    Attributes
    ----------
    many_at_once
        Whether some hundred rows are read together, so that narrow rows should lie close.
    ranked
        Whether the rows with the greatest counters are asked for, and how many; None: no.
    """

    spec: TableSpec
    many_at_once: bool = False
    ranked: Ranked | None = None

    def __post_init__(self) -> None:
        if self.spec.merge in _OWN and self.spec.entity not in OWNED_ENTITIES:
            raise ValueError(
                f"table {self.spec.name}: rows of entity {self.spec.entity!r} may be in several"
                f" partitions, and {self.spec.merge} does not say how to merge them; use max, sum"
                " or decayed, and read neighbours by ReadLists"
            )


@dataclass(frozen=True, slots=True)
class ReadColumns:
    """Numbers of all rows as float32 columns, for what is looked through as a whole.

    Attributes
    ----------
    units
        What 1 means in each column; none: 1.
    totalled
        Whether the sums over all rows are wanted too.
    """

    spec: TableSpec
    units: tuple[float, ...] = ()
    totalled: bool = False

    def __post_init__(self) -> None:
        _need(self.spec, Merge.SUM)
        if self.units and len(self.units) != self.spec.width:
            raise ValueError(
                f"table {self.spec.name}: {len(self.units)} units for {self.spec.width} columns"
            )


@dataclass(frozen=True, slots=True)
class ReadDecayed:
    """Decayed cells of all rows as float32 columns, read at one reference time.

    Attributes
    ----------
    half_lives_ms
        Of each counter, four elements of a row each; see
        :mod:`streamer_models.state.decayed_cells`.
    totalled
        Whether the sums over all rows are wanted too.
    """

    spec: TableSpec
    half_lives_ms: tuple[int, ...]
    totalled: bool = False

    def __post_init__(self) -> None:
        _need(self.spec, Merge.DECAYED)


@dataclass(frozen=True, slots=True)
class ReadFactors:
    """Fixed-point factors of all rows as float32 blocks, and the last column as biases."""

    spec: TableSpec

    def __post_init__(self) -> None:
        _need(self.spec, Merge.SUM)
        if self.spec.dtype != "i4":
            raise ValueError(f"table {self.spec.name}: factors are i4, not {self.spec.dtype}")


@dataclass(frozen=True, slots=True)
class ReadLists:
    """Neighbour lists of ids, each partition's own: scores are added up, not lists."""

    spec: TableSpec

    def __post_init__(self) -> None:
        _need(self.spec, Merge.NEIGHBOURS)


MergedReading = ReadRows | ReadColumns | ReadDecayed | ReadFactors
"""Those of tables whose rows become one, whichever partitions wrote them."""
Readable = MergedReading | ReadLists


def _need(spec: TableSpec, merge: Merge) -> None:
    if spec.merge is not merge:
        raise ValueError(f"table {spec.name}: its merge kind must be {merge}, not {spec.merge}")
