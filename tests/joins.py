"""Decisions and feedback on them, made up, and what they must teach whatever order they come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamer.learner.join.answers import DecidedBatch, FeedbackBatch
from streamer.learner.join.feedback import Answers
from streamer.learner.join.join import Cursor, Join, JoinSettings
from streamer.learner.join.shown import Shown
from streamer.learner.rewards import EventOutcomes
from streamer_models.state.ids.id_column import IdColumn
from streamer_models.state.inputs import Choices, Examples

START_MS = 1_700_000_000_000
SETTINGS = JoinSettings(
    topic="decisions",
    feature_names=("bias", "x"),
    window_ms=10_000,
    horizon_ms=60_000,
    lateness_ms=5_000,
    default_reward=0.0,
    combine="sum",
    match_without_request="never",
    decisions_max=1_000_000,
    feedback_max=1_000_000,
    unanswered=True,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One event of the events topic, as far as a join sees it."""

    ts_ms: int
    request_id: str | None = None
    user_id: str = "u"
    item_id: str = "a"
    reward: float = 1.0
    seen: bool = False
    serves: int = 0
    share: float = 1.0


def decided(
    request_id: str,
    ts_ms: int = START_MS,
    *,
    offset: int = 0,
    user_id: str = "u",
    items: Sequence[str] = ("a", "b", "c"),
    expected: Sequence[float] | None = None,
    slate: bool = False,
) -> Shown:
    features = np.ones((len(items), 2), dtype=np.float32)
    features[:, 1] = np.arange(len(items)) + (ts_ms - START_MS) / 1e6
    known = None if expected is None else np.array(expected)
    logged = features if slate else None
    return Shown(request_id, user_id, offset, ts_ms, list(items), features, known, logged)


def decisions_at(decisions: Sequence[Shown], start: int, end: int) -> DecidedBatch | None:
    """Decisions at offsets ``[start, end)``, anew, as if they had been decoded again."""
    fresh = [
        decided(
            shown.request_id,
            shown.ts_ms,
            offset=offset,
            user_id=shown.user_id,
            items=shown.item_ids,
            expected=None if shown.expected is None else shown.expected.tolist(),
            slate=shown.slate is not None,
        )
        for offset, shown in enumerate(decisions[start:end], start)
    ]
    return DecidedBatch(fresh, start + len(fresh)) if fresh else None


def answers_at(answers: Sequence[Answer | None], start: int, end: int) -> FeedbackBatch | None:
    """Events at offsets ``[start, end)``; None is one that answers nothing, of no time."""
    chosen = answers[start:end]
    if not chosen:
        return None
    real = [(place, each) for place, each in enumerate(chosen) if each is not None]
    return FeedbackBatch(
        offsets=np.arange(start, start + len(chosen), dtype=np.int64),
        ts_ms=np.array([START_MS if a is None else a.ts_ms for a in chosen], dtype=np.int64),
        to_offset=start + len(chosen),
        answers=Answers(
            at=np.array([place for place, _ in real], dtype=np.int64),
            request_ids=IdColumn.of([each.request_id or "" for _, each in real]),
            named=np.array([bool(each.request_id) for _, each in real], dtype=np.bool_),
            user_ids=IdColumn.of([each.user_id for _, each in real]),
            item_ids=IdColumn.of([each.item_id for _, each in real]),
            rewards=np.array([each.reward for _, each in real], dtype=np.float64),
            seen=np.array([each.seen for _, each in real], dtype=np.bool_),
            outcomes=EventOutcomes(
                np.array([each.serves for _, each in real], dtype=np.int64),
                np.array([each.share for _, each in real], dtype=np.float64),
            ),
        ),
    )


Outcomes = dict[tuple[int, str], float]
"""(offset of the decision, item) → reward as it was last learned."""
Chosen = dict[int, list[float | None]]
"""Offset of the decision → outcomes of its items as they were last learned, None where there is
none; of other decisions nothing was taken up."""


def fold_in(outcomes: Outcomes, examples: Examples) -> None:
    """Follow the changes, each of which must start from where the one before ended."""
    rows = zip(
        examples.offsets.tolist(), examples.arm_ids, examples.before, examples.after, strict=True
    )
    for offset, arm_id, before, after in rows:
        known = outcomes.pop((offset, arm_id), np.nan)
        assert known == before or (np.isnan(known) and np.isnan(before)), (offset, arm_id)
        if not np.isnan(after):
            outcomes[offset, arm_id] = float(after)


def fold_in_choices(chosen: Chosen, choices: Choices) -> None:
    """Follow the changes, each of which must start from where the one before ended."""
    rows = zip(choices.offsets.tolist(), choices.before, choices.after, strict=True)
    for offset, before, after in rows:
        known = chosen.pop(offset, [None] * len(before))
        np.testing.assert_array_equal(np.array(known, dtype=np.float64), before)
        if (after > 0).any():
            chosen[offset] = [None if each != each else each for each in after.tolist()]
        else:
            assert np.isnan(after).all()


def learned(
    decisions: Sequence[Shown],
    answers: Sequence[Answer | None],
    steps: Iterable[tuple[int, int]],
    settings: JoinSettings = SETTINGS,
    *,
    restarts: Iterable[int] = (),
    chosen: Chosen | None = None,
) -> tuple[Outcomes, Join]:
    """What is learned when ``steps`` (decisions, events) are read one after the other.

    After the steps in ``restarts`` the join is lost and rebuilt from its cursor, which is all that
    is kept. ``chosen`` is given what was taken up.
    """
    join, outcomes = Join(settings), Outcomes()
    d = e = 0
    at_restart = set(restarts)
    for number, (n_decisions, n_events) in enumerate(steps):
        to_d, to_e = min(len(decisions), d + n_decisions), min(len(answers), e + n_events)
        joined = join.take(decisions_at(decisions, d, to_d), answers_at(answers, e, to_e))
        fold_in(outcomes, joined.examples)
        if chosen is not None:
            fold_in_choices(chosen, joined.choices)
        d, e = to_d, to_e
        if number in at_restart:
            before = join.cursor()
            join = rebuilt(before, decisions, answers, d, e, settings)
            assert join.cursor() == before
    return outcomes, join


def rebuilt(
    cursor: Cursor,
    decisions: Sequence[Shown],
    answers: Sequence[Answer | None],
    to_decision: int,
    to_event: int,
    settings: JoinSettings,
) -> Join:
    """A join that has read both topics again from a cursor, events first where that is harder."""
    join = Join(settings, replace(cursor))
    join.take(None, answers_at(answers, cursor.events_from, to_event), again=True)
    join.take(decisions_at(decisions, cursor.decisions_from, to_decision), None, again=True)
    join.take(None, None)
    return join
