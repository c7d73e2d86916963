"""What is summed up for one kind of entity over one kind of window; features are read from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import FeatureDefinition
from streamer.events import EventTypes, FeatureEntity
from streamer.windows.entities import Contributions
from streamer_models.windows.panes import UNIT, Closed, PaneWindow, as_amounts, fading_window
from streamer_models.windows.sessions import SessionSums
from streamer_models.windows.sums import PaneSums

if TYPE_CHECKING:
    from streamer_models.windows.distinct import PaneSketches

COUNT: Final = "count"
VALUE: Final = "value"
USERS: Final = "users"
_ONE: Final = round(1 / UNIT)


@dataclass(frozen=True, slots=True)
class SeriesSpec:
    """What tells series apart; features with the same one share it.

    Attributes
    ----------
    measures
        What is summed up, by column: ``count``, ``value`` or ``users``, and of which types.
    """

    entity: FeatureEntity
    measures: tuple[tuple[str, tuple[str, ...]], ...]
    window_ms: int
    hop_ms: int
    half_life_ms: int
    session_gap_ms: int
    lateness_ms: int

    @property
    def name(self) -> str:
        """The same in every process, so that what is kept finds its series again."""
        measures = ",".join(f"{kind}({'+'.join(types)})" for kind, types in self.measures)
        times = (self.window_ms, self.hop_ms, self.half_life_ms, self.session_gap_ms)
        return f"{self.entity}:{measures}:{':'.join(map(str, times))}"


def series_spec(feature: FeatureDefinition, *, entity: FeatureEntity | None = None) -> SeriesSpec:
    """The series that a feature is read from; ``entity``: of its parent instead of its own."""
    measures = [(str(feature.measure), tuple(sorted(feature.numerator)))]
    if feature.denominator:
        measures.append((COUNT, tuple(sorted(feature.denominator))))
    return SeriesSpec(
        entity=entity or feature.entity,
        measures=tuple(measures),
        window_ms=feature.window_ms,
        hop_ms=feature.hop_ms,
        half_life_ms=feature.half_life_ms,
        session_gap_ms=feature.session_gap_ms,
        lateness_ms=feature.lateness_ms,
    )


class Ids:
    """Entity ids as numbers for the arithmetic; a number is never given twice."""

    def __init__(self) -> None:
        self._row_of: dict[str, int] = {}
        self._id_of: dict[int, str] = {}
        self._n_given = 0

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def next_row(self) -> int:
        """The number that the next new id will get."""
        return self._n_given

    def rows(self, ids: list[str]) -> NDArray[np.int64]:
        return np.fromiter(map(self.row, ids), np.int64, len(ids))

    def row(self, entity_id: str) -> int:
        row = self._row_of.get(entity_id)
        if row is None:
            row = self._row_of[entity_id] = self._n_given
            self._id_of[row] = entity_id
            self._n_given += 1
        return row

    def find(self, entity_id: str) -> int | None:
        return self._row_of.get(entity_id)

    def __getitem__(self, row: int) -> str:
        return self._id_of[row]

    def forget(self, rows: list[int]) -> None:
        for row in rows:
            entity_id = self._id_of.pop(row, None)
            if entity_id is not None:
                del self._row_of[entity_id]


class Series:
    """Accumulates contributions and closes windows; the state of one series.

    Parameters
    ----------
    types
        Whose codes contributions carry.

    Attributes
    ----------
    sums
        Exactly one of ``panes``, ``sessions`` and ``sketches`` is not None.
    """

    def __init__(self, spec: SeriesSpec, types: EventTypes, *, cells_max: int) -> None:
        self.spec = spec
        self.name = spec.name
        self.ids = Ids()
        self.panes: PaneSums | None = None
        self.sessions: SessionSums | None = None
        self.sketches: PaneSketches | None = None
        self._masks = [
            np.array([name in counted for name in types.names], np.bool_)
            for _, counted in spec.measures
        ]
        n, late = len(spec.measures), spec.lateness_ms
        if spec.session_gap_ms:
            self.sessions = SessionSums(
                spec.session_gap_ms, n_measures=n, lateness_ms=late, sessions_max=cells_max
            )
        elif spec.measures[0][0] == USERS:
            from streamer_models.windows.distinct import PaneSketches

            window = PaneWindow(spec.window_ms, spec.hop_ms)
            self.sketches = PaneSketches(window, lateness_ms=late, cells_max=cells_max)
        else:
            window = (
                fading_window(spec.half_life_ms, spec.hop_ms)
                if spec.half_life_ms
                else PaneWindow(spec.window_ms, spec.hop_ms)
            )
            self.panes = PaneSums(window, n_measures=n, lateness_ms=late, cells_max=cells_max)

    @property
    def state(self) -> PaneSums | SessionSums | PaneSketches:
        state = self.panes or self.sessions or self.sketches
        assert state is not None, "a series has one state"
        return state

    @property
    def window(self) -> PaneWindow | None:
        """None for sessions."""
        holder = self.panes or self.sketches
        return holder.window if holder else None

    def relevant(self, given: Contributions) -> NDArray[np.bool_]:
        """``(n,)`` which contributions are of a type that counts here."""
        found = np.zeros(len(given), np.bool_)
        for mask in self._masks:
            found |= mask[given.types]
        return found

    def amounts(self, given: Contributions) -> NDArray[np.int64]:
        """``(n, n_measures)`` what each contribution adds, before it is weighed by its time."""
        amounts = np.empty((len(given), len(self._masks)), np.int64)
        for column, ((kind, _), mask) in enumerate(
            zip(self.spec.measures, self._masks, strict=True)
        ):
            one = as_amounts(given.values) if kind == VALUE else _ONE
            amounts[:, column] = mask[given.types] * one
        return amounts

    def add(self, given: Contributions) -> NDArray[np.bool_]:
        """Take relevant contributions; returns ``(n,)`` which were taken."""
        n_before = self.ids.next_row
        rows = self.ids.rows(given.ids)
        if self.sketches is not None:
            panes = self.sketches.window.panes(given.ts_ms)
            taken = self.sketches.add(rows, panes, given.user_ids)
        elif self.sessions is not None:
            taken = self.sessions.add(rows, given.ts_ms, self.amounts(given))
        else:
            assert self.panes is not None
            taken = self.panes.add(rows, given.ts_ms, self.amounts(given))
        if not taken.all():
            new = np.unique(rows[rows >= n_before])
            self.ids.forget(np.setdiff1d(new, rows[taken]).tolist())
        return taken

    def close(self, watermark_ms: int) -> Iterator[Closed]:
        return self.state.close(watermark_ms)
