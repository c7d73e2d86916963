"""What a join has counted: what came of decisions and of feedback, and how well it was foreseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.learner.join.clicks import VARIANTS_MAX, ClickCounts

CALIBRATION_EDGES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
"""Expected rewards are put into bins between these."""
_SAMPLES_MAX = 10_000
Variants = tuple[tuple[str, str], ...]
"""Experiment and variant, of each experiment that a user takes part in."""

UNNAMED: Final = "without a request_id"
AMBIGUOUS: Final = "without a request_id, of an item in several slates"
UNREPORTED: Final = "without a request_id, of a slate of which nothing else was reported"
UNKNOWN: Final = "of a request that has no decision"
OTHER_USER: Final = "of another user than the decision's"
PINNED: Final = "of an item that was pinned, and so not chosen"
NOT_SHOWN: Final = "of an item that was not shown"
LATE: Final = "later than join.horizon_s"
DISORDERED: Final = "out of order by more than join.lateness_s"
ASTRAY: Final = (
    *(OTHER_USER, PINNED, NOT_SHOWN, UNNAMED, AMBIGUOUS, UNREPORTED, UNKNOWN, LATE, DISORDERED),
)
"""Why feedback finds no decision."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Rewards expected and observed of decisions as they close, ``(n,)`` each.

    All outcomes of a decision together, at one time: positive ones are known earlier, and a change
    of traffic would look like a change of taste.
    """

    expected: NDArray[np.float64]
    observed: NDArray[np.float64]


@dataclass(slots=True)
class VariantCounts:
    """Decisions of a variant, their items whose outcome is known, those with a positive reward, and
    all rewards."""

    n_decisions: int = 0
    n_outcomes: int = 0
    n_positive: int = 0
    reward_sum: float = 0.0


@dataclass(slots=True)
class JoinCounts:
    """Counted since the join began.

    Attributes
    ----------
    n_decisions, n_repeated, n_foreign, n_without_slate
        Decisions joined; those that repeat a request still open; those whose features are others
        than the learner's; those that teach the blend nothing, since they did not log its columns,
        or other ones.
    n_answering
        Events that might answer one: they come after the first of them, and name a request or come
        within the horizon of the last.
    n_matched, n_unmatched, n_ambiguous, n_late, n_lost
        Feedback that found its decision; that named one nobody knows, or an item that was not
        shown; that names none and could answer several; that came after the horizon; that was
        dropped at the bound while it waited.
    astray
        Feedback by the reason why it found no decision, and what names no request and answers none.
    n_closed_early
        Decisions closed before their window's end, at the bound.
    n_outcomes, n_positive, reward_sum
        Items whose outcome is known now, those of them with a positive reward, and all rewards.
    gained
        Objective → all that items brought of it.
    n_amended
        Outcomes that changed after they were learned.
    n_unadmitted
        Items shown that have no arm.
    of_variants
        The same by experiment and variant; at most ``VARIANTS_MAX`` of them.
    clicks
        Items shown and taken up of decisions whose window is over.
    expected_sums, observed_sums, n_foreseen
        By bin of ``CALIBRATION_EDGES``: rewards expected, those observed, and how many.
    """

    n_decisions: int = 0
    n_repeated: int = 0
    n_foreign: int = 0
    n_without_slate: int = 0
    n_answering: int = 0
    n_matched: int = 0
    n_unmatched: int = 0
    n_ambiguous: int = 0
    n_late: int = 0
    n_lost: int = 0
    astray: Counter[str] = field(default_factory=Counter)
    n_closed_early: int = 0
    n_outcomes: int = 0
    n_positive: int = 0
    n_amended: int = 0
    n_unadmitted: int = 0
    reward_sum: float = 0.0
    gained: dict[str, float] = field(default_factory=dict)
    of_variants: dict[tuple[str, str], VariantCounts] = field(default_factory=dict)
    clicks: ClickCounts = field(default_factory=ClickCounts)
    expected_sums: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(len(CALIBRATION_EDGES) + 1)
    )
    observed_sums: NDArray[np.float64] = field(
        default_factory=lambda: np.zeros(len(CALIBRATION_EDGES) + 1)
    )
    n_foreseen: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(CALIBRATION_EDGES) + 1, dtype=np.int64)
    )
    _first_decision_ms: int | None = None
    _delays_ms: list[int] = field(default_factory=list)
    _foreseen: list[tuple[float, float]] = field(default_factory=list)

    def decided(self, ts_ms: int, variants: Variants = ()) -> None:
        """A decision of a time was joined."""
        self.n_decisions += 1
        if self._first_decision_ms is None or ts_ms < self._first_decision_ms:
            self._first_decision_ms = ts_ms
        for counts in self._counts_of(variants):
            counts.n_decisions += 1

    def answering(self, ts_ms: NDArray[np.int64], named: NDArray[np.bool_], until_ms: int) -> None:
        """Events came, ``(n,)`` each, and decisions can be answered until a time without a name."""
        if self._first_decision_ms is not None:
            may = (ts_ms >= self._first_decision_ms) & (named | (ts_ms <= until_ms))
            self.n_answering += int(np.count_nonzero(may))

    def matched(self, delay_ms: int) -> None:
        """Feedback found its decision, ``delay_ms`` of event time after it."""
        self.n_matched += 1
        if len(self._delays_ms) < _SAMPLES_MAX:
            self._delays_ms.append(delay_ms)

    def unmatched(self, why: str) -> None:
        """Feedback found no decision that it answers."""
        self.n_unmatched += 1
        self.astray[why] += 1

    def late(self, why: str) -> None:
        """Feedback came when it could change nothing any more."""
        self.n_late += 1
        self.astray[why] += 1

    def learned(self, before: float, after: float, variants: Variants = ()) -> None:
        """A reward went from ``before`` to ``after``; NaN: not known."""
        was, now, change = _change(before, after)
        self.n_amended += was
        all_of_them: list[JoinCounts | VariantCounts] = [self, *self._counts_of(variants)]
        for counts in all_of_them:
            counts.n_outcomes += now - was
            counts.n_positive += (after > 0) - (before > 0)
            counts.reward_sum += change

    def gain(
        self,
        objectives: Sequence[str],
        before: NDArray[np.float64],
        after: NDArray[np.float64],
    ) -> None:
        """What an item brought of objectives went from ``before`` to ``after``; NaN: not known."""
        for name, was, now in zip(objectives, before.tolist(), after.tolist(), strict=True):
            self.gained[name] = self.gained.get(name, 0.0) + _change(was, now)[2]

    def foreseen(self, expected: float, before: float, after: float) -> None:
        """What was expected to be ``expected`` went from ``before`` to ``after``."""
        was, now, change = _change(before, after)
        at = int(np.searchsorted(CALIBRATION_EDGES, expected, side="right"))
        self.observed_sums[at] += change
        self.expected_sums[at] += expected * (now - was)
        self.n_foreseen[at] += now - was

    def closed(self, expected: NDArray[np.float64] | None, outcomes: NDArray[np.float64]) -> None:
        """A decision was closed: what each of its items was expected to earn, and what it did."""
        if expected is None or len(self._foreseen) >= _SAMPLES_MAX:
            return
        known = ~np.isnan(outcomes)
        self._foreseen += zip(expected[known].tolist(), outcomes[known].tolist(), strict=True)

    def _counts_of(self, variants: Variants) -> list[VariantCounts]:
        for variant in variants:
            if len(self.of_variants) < VARIANTS_MAX:
                self.of_variants.setdefault(variant, VariantCounts())
        return [self.of_variants[each] for each in variants if each in self.of_variants]

    def take_delays_ms(self) -> list[int]:
        """Delays of feedback since the last call, some thousand at most."""
        delays, self._delays_ms = self._delays_ms, []
        return delays

    def take_foreseen(self) -> Foreseen:
        """Outcomes since the last call, some thousand at most."""
        pairs = np.array(self._foreseen, dtype=np.float64).reshape(-1, 2)
        self._foreseen = []
        return Foreseen(pairs[:, 0], pairs[:, 1])


def _change(before: float, after: float) -> tuple[bool, bool, float]:
    """Return whether a number was known and is known, and by how much it grew; NaN: not known."""
    was, now = before == before, after == after
    return was, now, (after if now else 0.0) - (before if was else 0.0)
