"""Feedback that names no request waits in columns: what is due, in which order, and its bound."""

from __future__ import annotations

from itertools import compress

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.learner.join.feedback import Answers, FeedbackRows, ItemFeedback
from streamer.learner.join.unnamed import UnnamedFeedback
from streamer.learner.rewards import EventOutcomes
from streamer_models.state.ids.id_column import IdColumn


def rows(first: int, times: list[int]) -> FeedbackRows:
    """Clicks at offsets from ``first`` on, in a message each that is much longer than they are."""
    n = len(times)
    offsets = np.arange(first, first + n, dtype=np.int64)
    padded = IdColumn.of_bytes([b"u%08d and much besides" % i for i in offsets.tolist()])
    user_ids = IdColumn(padded.data, padded.starts, padded.starts + 9, padded.hashes)
    answers = Answers(
        at=np.arange(n, dtype=np.int64),
        request_ids=IdColumn.of([""] * n),
        named=np.zeros(n, dtype=np.bool_),
        user_ids=user_ids,
        item_ids=IdColumn.of([f"i{i}" for i in offsets.tolist()]),
        rewards=np.ones(n),
        seen=np.zeros(n, dtype=np.bool_),
        outcomes=EventOutcomes(np.zeros(n, dtype=np.int64), np.zeros(n)),
    )
    return FeedbackRows(offsets, np.array(times, dtype=np.int64), offsets * 10, answers)


Step = tuple[list[int], int, int]
"""Event times of what is put, a time that is due, how far back what waits may lie."""


times = st.integers(0, 50)


@given(
    st.lists(st.tuples(st.lists(times, max_size=90), times, st.integers(0, 200)), max_size=8),
)
def test_it_is_as_a_list_that_is_searched(steps: list[Step]) -> None:
    waiting, plain, n = UnnamedFeedback(), list[ItemFeedback](), 0
    for times, due_ms, back in steps:
        new = rows(n, times)
        n += len(times)
        waiting.put(new)
        plain += new.feedback()
        is_due = [f.ts_ms <= due_ms or f.offset < n - back for f in plain]
        due = sorted(compress(plain, is_due), key=lambda f: (f.ts_ms, f.offset))
        found = waiting.due(due_ms, n - back)
        assert ([] if found is None else found.feedback()) == due
        plain = [f for f in plain if f not in due]
        assert len(waiting) == len(plain)
        assert waiting.first == ((plain[0].offset, plain[0].watermark_ms) if plain else None)


def test_few_events_at_a_time_are_kept_together_and_without_their_messages() -> None:
    waiting = UnnamedFeedback()
    for offset in range(1_000):
        waiting.put(rows(offset, [offset]))
    assert len(waiting) == 1_000
    parts = list(waiting._parts)
    assert len(parts) < 20
    assert all(part.answers.user_ids.data.nbytes == 9 * len(part) for part in parts)
    due = waiting.due(1, 0)
    assert due is not None
    assert due.answers.user_ids.strings() == ["u00000000", "u00000001"]
