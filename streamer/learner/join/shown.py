"""One decision that waits for feedback: what was shown, and what became of each item."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.events import Decision
from streamer.learner.join.feedback import ItemFeedback
from streamer_models.bandits.linear_statistics import REWARD_MAX
from streamer_models.bandits.objectives import OUTCOME_MAX
from streamer_models.bandits.pinned_slots import free_slots

Combine = Literal["sum", "max", "first"]
Matching = Literal["never", "reported", "always"]
"""Which slates an event that names no request may answer: those alone of which an event by name
reported something, or all."""


_NO_GAINS = np.zeros(0)


class Noted(NamedTuple):
    """What an event said of an item; see :class:`ItemFeedback`."""

    offset: int
    reward: float
    serves: int
    share: float


class Settled(NamedTuple):
    """An item whose outcome became known or was amended.

    Attributes
    ----------
    position
        Of the item among those shown.
    before, after
        Its reward as it was learned and as it is now; NaN: not learned.
    gains_before, gains_after
        ``(n_objectives,)`` the same by objective.
    """

    position: int
    before: float
    after: float
    gains_before: NDArray[np.float64]
    gains_after: NDArray[np.float64]

    @property
    def is_rewarded_anew(self) -> bool:
        """Whether the reward changed, and not only what was brought to objectives."""
        return _differs(self.before, self.after)


@dataclass(slots=True)
class Shown:
    """A decision, and the outcomes of its items as they are known so far.

    Attributes
    ----------
    features
        ``(k, d)`` of the items, in the order shown.
    expected
        ``(k,)`` rewards that the policy expected, or None where it did not say.
    slate
        ``(k, n_logged)`` what the blend logged of the items, or None where it did not.
    pinned
        Items that stood among these and were not chosen: feedback on them is no outcome.
    variants
        Experiments with the variant that made it.
    surface, channels
        Of the request; of each item, none where the decision does not say.
    pinned_at
        Slots of the pinned items.
    watermark_ms
        Greatest decision time before it: what says whether feedback on it is too old to be its.
    kept_until_ms
        Later feedback changes nothing; moved on by a repeated decision, so that the repeat is
        known as one for as long as it might itself be read again.
    last_offset
        Its own, or that of the last decision that repeats it: at the bound it goes by that.
    answered_from
        Lowest offset of the feedback that has come.
    propensities
        ``(k,)`` of the items; None where they do not matter.
    weights
        Objective → weight in what the policy expected; None: it expected rewards.
    closed
        Whether its window has passed.
    noted
        Position → what its feedback said, in order of offsets, however it came.
    guessed
        Position → what the first feedback said that names no request; it counts where there is
        none that does.
    applied
        ``(k,)`` rewards as they were learned; NaN: not learned.
    gained
        ``(k, n_objectives)`` the same by objective.
    chosen
        ``(k,)`` outcomes as the blend has learned them; see
        :class:`streamer_models.state.inputs.Choices`.
    counted
        ``(k,)`` as what items were counted by :class:`streamer.learner.join.clicks.ClickCounts`.
    """

    request_id: str
    user_id: str
    offset: int
    ts_ms: int
    item_ids: list[str]
    features: NDArray[np.float32]
    expected: NDArray[np.float64] | None
    slate: NDArray[np.float32] | None = None
    pinned: frozenset[str] = frozenset()
    variants: tuple[tuple[str, str], ...] = ()
    surface: str | None = None
    channels: tuple[str, ...] = ()
    pinned_at: tuple[int, ...] = ()
    watermark_ms: int = 0
    kept_until_ms: int = 0
    last_offset: int = 0
    propensities: Sequence[float] | None = None
    weights: Mapping[str, float] | None = None
    closed: bool = False
    answered_from: int = 1 << 62
    noted: dict[int, list[Noted]] = field(default_factory=dict)
    guessed: dict[int, Noted] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    applied: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    gained: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    chosen: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    counted: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, dtype=np.int8))

    def __post_init__(self) -> None:
        self.last_offset = self.offset
        self.applied = np.full(len(self.item_ids), np.nan)
        self.tell_apart(0)
        self.chosen = np.full(len(self.item_ids), np.nan)
        self.counted = np.zeros(len(self.item_ids), dtype=np.int8)

    def tell_apart(self, n_objectives: int) -> None:
        """Know outcomes of so many objectives from now on, none of them yet."""
        self.gained = np.full((len(self.item_ids), n_objectives), np.nan)

    def slots(self) -> NDArray[np.int64]:
        """``(k,)`` slots of the items, from 0, of which pinned ones have theirs."""
        return free_slots(len(self.item_ids), self.pinned_at)

    @property
    def is_reported(self) -> bool:
        """Whether an event that names it has come."""
        return bool(self.noted or self.seen)

    def take(self, feedback: ItemFeedback) -> bool:
        """Note feedback, in any order; False where the item was not among those shown."""
        if feedback.item_id not in self.item_ids:
            return False
        position = self.item_ids.index(feedback.item_id)
        if feedback.seen:
            self.seen.add(position)
        if feedback.reward == feedback.reward or feedback.serves:  # not NaN, or brings something
            noted = Noted(feedback.offset, feedback.reward, feedback.serves, feedback.share)
            if feedback.named:
                bisect.insort(self.noted.setdefault(position, []), noted)
            else:
                self.guessed[position] = min(noted, self.guessed.get(position, noted))
        return True

    def settle(
        self,
        default_reward: float,
        combine: Combine,
        *,
        unanswered: bool,
        matching: Matching = "reported",
    ) -> Iterator[Settled]:
        """Bring ``applied`` and ``gained`` up to what is known; yield what changes.

        Feedback counts at once, and with the first of it the other items count with the default
        reward; where there is none, they do when the window has closed. Positive outcomes that
        came without the negative ones beside them would make everything look good for a window's
        time. Where impressions were reported, only what was seen can get the default. A slate of
        which nothing was reported at all may never have been on a screen: it is no evidence against
        its items, unless it is ``unanswered`` that counts.
        """
        guessed = self.guessed if self.is_reported or matching == "always" else {}
        answered = bool(self.noted or guessed)
        settled = answered or (self.closed and (unanswered or bool(self.seen)))
        for position, before in enumerate(self.applied.tolist()):
            events = self.noted.get(position, [])
            if not events and position in guessed:
                events = [guessed[position]]
            after = np.nan
            if rewards := _rewards(events):
                after = _combined(rewards, combine)
            elif events or (settled and (not self.seen or position in self.seen)):
                after = default_reward
            differs, gained, gains = _differs(before, after), _NO_GAINS, _NO_GAINS
            if self.gained.shape[1]:  # without objectives nothing is compared
                gained = self.gained[position].copy()
                gains = self._gains(events, combine, known=after == after)
                differs |= not np.array_equal(gained, gains, equal_nan=True)
                self.gained[position] = gains
            if differs:
                self.applied[position] = after
                yield Settled(position, before, after, gained, gains)

    def _gains(
        self, events: Sequence[Noted], combine: Combine, *, known: bool
    ) -> NDArray[np.float64]:
        """Return ``(n_objectives,)`` what events brought; 0 where the item is known without."""
        n_objectives = self.gained.shape[1]
        gains = np.full(n_objectives, 0.0 if known else np.nan)
        for j in range(n_objectives if events else 0):
            if shares := [each.share for each in events if each.serves >> j & 1]:
                gains[j] = _combined(shares, combine, OUTCOME_MAX)
        return gains

    def scores(
        self, objectives: Sequence[str], rewards: NDArray[np.float64], gains: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return ``(n,)`` what came of what was expected, as :func:`scores`."""
        return scores(self.weights, objectives, rewards, gains)

    def choose(self, combine: Combine) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Bring ``chosen`` up to what was settled; (before, after), or None where nothing changes.

        An item with a positive reward is taken up, others that were seen are passed over. An event
        that names no request practises where it was learned, so it says nothing of the slate.
        """
        after = np.where(np.isnan(self.applied), np.nan, 0.0)
        after[list(self.guessed)] = np.nan
        for position, events in self.noted.items():
            if rewards := _rewards(events):
                # A reward counts by its square, as it does where it practises.
                after[position] = min(max(_combined(rewards, combine), 0.0), 1.0) ** 2
        if not (after > 0).any():
            after[:] = np.nan  # nothing was chosen
        before = self.chosen
        if np.array_equal(before, after, equal_nan=True):
            return None
        self.chosen = after
        return before, after


def pinned_in(decision: Decision) -> frozenset[str]:
    """Return the items that stood in a slate without having been chosen."""
    return frozenset(pin.item_id for pin in decision.pinned or ())


def scores(
    weights: Mapping[str, float] | None,
    objectives: Sequence[str],
    rewards: NDArray[np.float64],
    gains: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Return ``(n,)`` what came of what a policy expected; None where that can't be said.

    Parameters
    ----------
    weights
        Objective → weight in what it expected; None: it expected rewards.
    objectives
        Names of the columns of ``gains``.
    rewards, gains
        ``(n,)`` and ``(n, n_objectives)`` of items.
    """
    if weights is None:
        return rewards
    if not set(weights) <= set(objectives):
        return None
    return scored(gains, np.array([weights.get(name, 0.0) for name in objectives]))


def scored(gains: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(n,)`` weighted sums of rows ``(n, n_objectives)``, NaN where those are."""
    total = np.zeros(len(gains))
    for j, weight in enumerate(weights.tolist()):
        total += weight * gains[:, j]
    return total


def _rewards(events: Sequence[Noted]) -> list[float]:
    """Return the rewards of those events that have one."""
    return [each.reward for each in events if each.reward == each.reward]


def _differs(before: float, after: float) -> bool:
    """Whether two numbers are not the same, where NaN is the same as NaN."""
    return after != before and not (after != after and before != before)


def _combined(each: list[float], combine: Combine, bound: float = REWARD_MAX) -> float:
    total = each[0] if combine == "first" else sum(each) if combine == "sum" else max(each)
    return min(max(total, -bound), bound)
