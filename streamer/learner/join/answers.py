"""What a join takes: decisions, and the events that may answer them, out of decoded messages."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from sys import intern

import numpy as np
from numpy.typing import NDArray

from streamer.errors import BadMessage
from streamer.events import Decision, decode_decision
from streamer.events.decoding import Rejected
from streamer.events.event_columns import EventColumns
from streamer.events.types import IMPRESSION
from streamer.learner.join.feedback import Answers
from streamer.learner.join.shown import Shown, pinned_in
from streamer.learner.rewards import EventOutcomes
from streamer.protocols import MessageBatch
from streamer_models.bandits.linear_statistics import FEATURE_MAX, REWARD_MAX
from streamer_models.ranking.answer_kernels import LOGGED_MAX


@dataclass(frozen=True, slots=True)
class DecidedBatch:
    """Decisions of a range of offsets, in order.

    Attributes
    ----------
    to_offset
        End of the range.
    n_foreign
        Decisions left out because their features are not those this learner knows.
    n_without_slate
        Decisions that teach the blend nothing, since they did not log the columns it knows.
    """

    decisions: Sequence[Shown]
    to_offset: int
    n_foreign: int = 0
    n_without_slate: int = 0

    def until(self, to_offset: int) -> tuple[DecidedBatch, DecidedBatch | None]:
        """The decisions below an offset, and the rest where there is one."""
        if to_offset == self.to_offset:
            return self, None
        n = bisect.bisect_left(self.decisions, to_offset, key=lambda shown: shown.offset)
        left = replace(self, decisions=self.decisions[:n], to_offset=to_offset)
        return left, DecidedBatch(self.decisions[n:], self.to_offset)


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """Events of a range of offsets, in order, and the answers among them.

    Attributes
    ----------
    offsets, ts_ms
        ``(n,)`` of all events: they move the watermark, whatever they are.
    to_offset
        End of the range.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    to_offset: int
    answers: Answers

    @property
    def naming(self) -> NDArray[np.int64]:
        """Offsets of the answers that name their request, rising."""
        return self.offsets[self.answers.at[self.answers.named]]

    def until(self, to_offset: int) -> tuple[FeedbackBatch, FeedbackBatch]:
        """Return what lies below an offset, and the rest."""
        n = int(np.searchsorted(self.offsets, to_offset))
        left, right = self.answers.split(int(np.searchsorted(self.answers.at, n)))
        return (
            FeedbackBatch(self.offsets[:n], self.ts_ms[:n], to_offset, left),
            FeedbackBatch(
                self.offsets[n:],
                self.ts_ms[n:],
                self.to_offset,
                replace(right, at=right.at - n),
            ),
        )


def decode_decisions(
    batch: MessageBatch, feature_names: Sequence[str], slate_names: Sequence[str] = ()
) -> tuple[DecidedBatch, list[Rejected]]:
    """Decisions in the order of their offsets, and bad messages.

    Parameters
    ----------
    feature_names
        Those the learner knows; a decision with others teaches nothing and is counted.
    slate_names
        The same of what the blend logs; a decision with others teaches the bandit alone. None: the
        blend learns from no slate.
    """
    names, of_slate = list(feature_names), list(slate_names)
    shown: list[Shown] = []
    rejected: list[Rejected] = []
    n_foreign = n_without_slate = 0
    for index, payload in enumerate(batch.values):
        try:
            publish_ms = int(batch.publish_ms[index])
            decision = decode_decision(payload, publish_ms=publish_ms)
            if decision.feature_names != names:
                n_foreign += 1
                continue
            blended = bool(of_slate) and decision.slate_names == of_slate
            shown.append(_shown(decision, int(batch.offsets[index]), blended))
            n_without_slate += bool(of_slate) and not blended
        except BadMessage as error:
            rejected.append(Rejected(index, str(error)))
    end = int(batch.offsets[-1]) + 1
    return DecidedBatch(shown, end, n_foreign, n_without_slate), rejected


def _shown(decision: Decision, offset: int, blended: bool) -> Shown:
    try:
        places = [decision.candidates.index(item_id) for item_id in decision.items]
    except ValueError as error:
        raise BadMessage(
            f"field 'items': {error}, so its features are unknown; name the items among the"
            " candidates"
        ) from error
    features = decision.feature_matrix()[places]
    if len(places) and float(np.abs(features).max()) > FEATURE_MAX:
        raise BadMessage(
            f"field 'features': {np.abs(features).max():g} is beyond the bound of"
            f" ±{FEATURE_MAX:g}; scale it down"
        )
    slate = decision.slate_matrix() if blended else None
    if slate is not None and slate.size and float(np.abs(slate).max()) > LOGGED_MAX:
        raise BadMessage(
            f"field 'slate': {np.abs(slate).max():g} is beyond the bound of ±{LOGGED_MAX:g}; scale"
            " it down"
        )
    expected = decision.expected
    return Shown(
        request_id=decision.request_id,
        user_id=decision.user_id,
        offset=offset,
        ts_ms=decision.ts,
        item_ids=decision.items,
        features=features,
        # No reward is beyond the bound; one expected far beyond it would drown all others in a sum.
        expected=None if expected is None else np.clip(expected, -REWARD_MAX, REWARD_MAX),
        slate=slate,
        pinned=pinned_in(decision),
        variants=tuple((decision.variants or {}).items()),
        surface=decision.surface,
        channels=tuple(map(intern, decision.channels or ())),  # each name is in memory once
        pinned_at=decision.pinned_at,
        propensities=decision.propensities,
        weights=decision.objectives,
    )


def answers(
    columns: EventColumns,
    offsets: NDArray[np.int64],
    fresh: NDArray[np.bool_],
    rewards: NDArray[np.float32],
    outcomes: EventOutcomes,
    *,
    to_offset: int,
    match_without_request: bool,
) -> FeedbackBatch:
    """The events that may answer a decision: those that name a request, or else bring something.

    Parameters
    ----------
    offsets, fresh, rewards, outcomes
        ``(n,)`` of the events: their offsets, whether they are no repeats, what they are worth
        (NaN: nothing), and what they bring to objectives.
    """
    named = columns.request_ids.n_bytes > 0
    brings = ~np.isnan(rewards) | (outcomes.serves != 0)
    may_answer = named | brings if match_without_request else named
    at = np.flatnonzero(may_answer & fresh)
    kept = columns.take(at)
    return FeedbackBatch(
        offsets=offsets,
        ts_ms=columns.ts_ms,
        to_offset=to_offset,
        answers=Answers(
            at=at,
            request_ids=kept.request_ids,
            named=named[at],
            user_ids=kept.user_ids,
            item_ids=kept.item_ids,
            rewards=rewards[at].astype(np.float64),
            seen=kept.types == IMPRESSION,
            outcomes=outcomes.take(at),
        ),
    )
