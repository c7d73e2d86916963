"""A log of choices with their propensities: surveyed once, then read row by row."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage, ConfigError, LogRefused
from streamer_models.bandits.composition import UNCOMPOSED, Composition, known_costs
from streamer_models.evaluation.ope.weighed_log import PROPENSITY_MIN
from streamer_producers.log import MALFORMED_KEPT, Malformed
from streamer_producers.log_file import LogFile

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Progress = Callable[[int], None]

NO_GAINS: Final[Floats] = np.zeros(0)

UNIFORM_TOLERANCE: Final = 1e-4
"""How far a propensity may lie from 1 / candidates, relatively: logs round."""
_READ_BYTES = 1 << 20
_SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRow:
    """One item that was shown.

    Attributes
    ----------
    request
        Number of the request it answered, from 0; rows of one request follow each other.
    request_id
        As in the log; empty where it has none.
    slot
        Index into :attr:`Survey.positions`.
    ts_ms
        When; 0 where the log does not say.
    candidates
        ``(c,)`` indices into :attr:`Survey.actions` of what could have been shown in this slot.
    chosen
        Index into ``candidates`` of what was shown.
    propensity
        Probability of that, given the slots before; in (0, 1].
    features
        ``(c, n_features)`` of the candidates; no columns where they weren't asked for.
    costs
        ``(c,)`` what a composed slate asked of each candidate in this slot, in deviations of the
        policy's scores; None where nothing was composed.
    gains
        ``(n_objectives,)`` what the item brought of each; ``reward`` is their weighed sum.
    learned_features
        ``(n_features,)`` of the item shown where a learner takes others of it than those it was
        ranked by (where it stood); None: they are the same.
    """

    request: int
    request_id: str
    slot: int
    ts_ms: int
    candidates: Indices
    chosen: int
    reward: float
    propensity: float
    features: Floats
    costs: Floats | None = None
    gains: Floats = field(default_factory=lambda: NO_GAINS)
    learned_features: Floats | None = None

    @property
    def learned(self) -> Floats:
        """``(n_features,)`` of the item shown, as its outcome is learned with."""
        if self.learned_features is not None:
            return self.learned_features
        ranked: Floats = self.features[self.chosen]
        return ranked

    @property
    def composition(self) -> Composition:
        """Composition of this slot, for a policy that draws it."""
        return UNCOMPOSED if self.costs is None else known_costs(self.costs)


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the first pass found; columns have length ``n``.

    Attributes
    ----------
    actions
        Ids of the items.
    positions
        As the log numbers them, rising: a *slot* is an index into them.
    requests, slots, chosen, rewards, propensities
        ``(n,)``; ``chosen`` are indices into ``actions``, ``requests`` rise.
    uniform
        Whether each propensity is 1 / candidates.
    n_malformed, malformed
        Lines that hold no row, and the first of them.
    gains
        Objective → ``(n,)`` what rows brought of it; none where there are no objectives.
    """

    actions: tuple[str, ...]
    positions: tuple[int, ...]
    requests: NDArray[np.int64]
    slots: Indices
    chosen: Indices
    rewards: Floats
    propensities: Floats
    uniform: bool
    n_malformed: int
    malformed: tuple[Malformed, ...]
    gains: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def n_requests(self) -> int:
        """Above every number of a request; some may have no rows."""
        return int(self.requests[-1]) + 1


class BanditLog(ABC):
    """One log. Reading it again gives the same rows; memory is bounded by its columns of numbers.

    Parameters
    ----------
    files
        What it is read from.
    uniform
        Whether its user says that it was drawn uniformly at random, whatever else it says.
    strict
        Whether a malformed line ends it.
    """

    format: str
    feature_names: tuple[str, ...]

    def __init__(self, files: Sequence[LogFile], *, uniform: bool, strict: bool) -> None:
        self.files = tuple(files)
        self._stated_uniform = uniform
        self.strict = strict
        self._digest = ""

    @abstractmethod
    def survey(self, progress: Progress | None = None) -> Survey:
        """Read it once; before anything else.

        Raises
        ------
        LogRefused
            When it has no rows, no propensities, or one outside (0, 1].
        BadMessage
            At the first malformed line, when the log is strict.
        ConfigError
            When a file can't be read.
        """

    @abstractmethod
    def rows(self, *, features: bool) -> Iterator[LoggedRow]:
        """Its rows in the order of the file; malformed lines are passed over."""

    def remarks(self) -> Iterator[str]:
        """What a reader should know of what the survey found, in sentences."""
        return iter(())

    def digest(self) -> str:
        """SHA-256 of the files' contents, decompressed; read once."""
        if self._digest:
            return self._digest
        found = hashlib.sha256()
        for file in self.files:
            with file.open() as stream:
                while block := stream.read(_READ_BYTES):
                    found.update(block)
        self._digest = found.hexdigest()
        return self._digest


class Lines(Protocol):
    """JSON messages, one a line, with their numbers; its text says where they are from."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return them from the first on."""


class PublishedLines(ABC):
    """JSON messages of which it is known when each was published."""

    @abstractmethod
    def published(self) -> Iterator[tuple[int, int, bytes]]:
        """Return numbers, publish times and messages, from the first on; a negative time: not
        known."""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return numbers and messages, from the first on."""
        return ((number, line) for number, _, line in self.published())


def published_lines(lines: Lines) -> Iterator[tuple[int, int, bytes]]:
    """Return numbers, publish times and messages; the times are negative where they are not
    known, as in a file of lines."""
    if isinstance(lines, PublishedLines):
        return lines.published()
    return ((number, -1, line) for number, line in lines.lines())


@runtime_checkable
class CutLines(Lines, Protocol):
    """Messages of a log that may have lost some: what is missing is known once they were read."""

    @property
    def gone(self) -> Sequence[str]:
        """What is missing, in a sentence; none: nothing is."""

    @property
    def whole_since_ms(self) -> int:
        """When the first message was published from which on none is missing; 0: none is."""


class Faults:
    """Malformed lines: counted, the first ones kept; the first one ends a strict reading."""

    def __init__(self, *, strict: bool) -> None:
        self.n = 0
        self.first: list[Malformed] = []
        self._strict = strict

    def add(self, file: Lines, line: int, error: Exception) -> None:
        found = Malformed(str(file), line, str(error))
        if self._strict:
            raise BadMessage(f"{found}; mend the line, or read without --strict") from error
        self.n += 1
        if len(self.first) < MALFORMED_KEPT:
            self.first.append(found)


class SurveyColumns:
    """The columns of a survey as they grow: 40 bytes a row, and 8 an objective."""

    def __init__(self, objectives: Iterable[str] = ()) -> None:
        self._gains = {name: array("d") for name in objectives}
        self._requests = array("q")
        self._positions = array("i")
        self._chosen = array("i")
        self._rewards = array("d")
        self._propensities = array("d")
        self._n_candidates = array("q")

    def add(
        self,
        *,
        request: int,
        position: int,
        chosen: int,
        reward: float,
        propensity: float,
        n_candidates: int,
        gains: Floats = NO_GAINS,
    ) -> None:
        """Add a row; NaN: its propensity is 1 / candidates."""
        self._requests.append(request)
        self._positions.append(position)
        self._chosen.append(chosen)
        self._rewards.append(reward)
        self._propensities.append(propensity)
        self._n_candidates.append(n_candidates)
        for column, gain in zip(self._gains.values(), gains.tolist(), strict=True):
            column.append(gain)

    def survey(self, name: str, faults: Faults, actions: Sequence[str]) -> Survey:
        """All of it.

        Raises
        ------
        LogRefused
            When there is no row.
        """
        if not self._rewards:
            first = f"; the first malformed line: {faults.first[0]}" if faults.first else ""
            raise LogRefused(
                f"{name} holds no row that can be evaluated ({faults.n} malformed lines); is it of"
                f" another format?{first}"
            )
        shares = 1 / np.array(self._n_candidates, dtype=np.float64)
        logged = np.array(self._propensities)
        propensities = np.maximum(np.where(np.isnan(logged), shares, logged), PROPENSITY_MIN)
        positions, slots = np.unique(np.array(self._positions), return_inverse=True)
        return Survey(
            actions=tuple(actions),
            positions=tuple(positions.tolist()),
            requests=np.array(self._requests, dtype=np.int64),
            slots=slots,
            chosen=np.array(self._chosen, dtype=np.intp),
            rewards=np.array(self._rewards),
            propensities=propensities,
            uniform=bool((np.abs(propensities / shares - 1) <= UNIFORM_TOLERANCE).all()),
            n_malformed=faults.n,
            malformed=tuple(faults.first),
            gains={name: np.array(each) for name, each in self._gains.items()},
        )


def checked_propensity(value: object, file: LogFile, line: int) -> float:
    """``value``, when it is a number in (0, 1].

    Raises
    ------
    LogRefused
        Otherwise: what could not have been shown can't be weighed, and rows of which the log does
        not say it are no random ones that could be left out.
    """
    number = value if isinstance(value, (int, float)) else math.nan
    if not isinstance(value, bool) and math.isfinite(number) and 0 < number <= 1:
        return float(number)
    raise LogRefused(
        f"{file}:{line}: propensity {repr(value)[:_SHOWN_MAX]} is not in (0, 1]; log the"
        " probability with which each item was drawn, and give every item some: without it the log"
        " can't be weighed"
    )


def check_there(path: Path) -> None:
    """Refuse a path at which there is nothing.

    Raises
    ------
    ConfigError
        Naming it.
    """
    try:
        is_there = path.exists()
    except OSError:  # a name that is too long
        is_there = False
    if not is_there:
        raise ConfigError(f"{path} is not there; name a log, or the folder that holds it")


def no_propensities(file: LogFile, line: int) -> LogRefused:
    """What to raise for a log without propensities."""
    return LogRefused(
        f"{file}:{line}: no propensities; log the probability with which each item was drawn, or"
        " pass --uniform when all were drawn with the same one"
    )
