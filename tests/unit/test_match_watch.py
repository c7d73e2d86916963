"""Whether somebody who forgot the request_id is told."""

from __future__ import annotations

import logging

import pytest

from streamer.learner.join.counts import JoinCounts
from streamer.learner.join.join import Join
from streamer.learner.match_watch import MatchWatch
from tests.joins import SETTINGS, START_MS, Answer, answers_at, decided, decisions_at


def counted(
    *, events: int, decisions: int = 500, matched: int = 0, unmatched: int = 0
) -> JoinCounts:
    return JoinCounts(
        n_decisions=decisions, n_answering=events, n_matched=matched, n_unmatched=unmatched
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.remedy for record in caplog.records if record.msg == "feedback_not_matched"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_events_without_an_id_are_told_once_and_again_after_ten_times_as_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = MatchWatch()
    watch.take(counted(events=999))
    assert said(caplog) == []
    for events in (1_000, 2_000, 9_999):
        watch.take(counted(events=events, matched=9))
    assert len(said(caplog)) == 1
    assert "request_id" in said(caplog)[0]
    assert "join.match_without_request" in said(caplog)[0]
    watch.take(counted(events=10_000))
    assert len(said(caplog)) == 2


def test_a_history_that_comes_before_any_decision_answers_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    join, watch = Join(SETTINGS), MatchWatch()
    history: list[Answer | None] = [Answer(START_MS - 1_500 + n) for n in range(1_500)]
    join.take(None, answers_at(history, 0, len(history)))
    asked = [decided(f"r{n}", START_MS + n) for n in range(100)]
    join.take(decisions_at(asked, 0, len(asked)), answers_at(history, 0, len(history)))
    watch.take(join.counts)
    assert (join.counts.n_decisions, join.counts.n_answering) == (100, 0)
    assert said(caplog) == []
    after_ms = START_MS + 99 + SETTINGS.horizon_ms
    clicks: list[Answer | None] = [Answer(START_MS + 100 + n, item_id="z") for n in range(1_100)]
    clicks += [Answer(after_ms), Answer(after_ms + 1), Answer(after_ms + 1, "unknown")]
    join.take(None, answers_at(clicks, 0, len(clicks)))
    watch.take(join.counts)
    assert join.counts.n_answering == 1_102  # what names a request claims to answer it
    (remedy,) = said(caplog)
    assert "copy the request_id" in remedy


def test_the_blend_misses_no_ids_but_hears_of_wrong_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    MatchWatch("blend").take(counted(events=5_000))
    assert said(caplog) == []
    MatchWatch("blend").take(counted(events=5_000, unmatched=4_000))
    (remedy,) = said(caplog)
    assert "nobody knows" in remedy


def test_ids_that_match_nothing_have_another_remedy(caplog: pytest.LogCaptureFixture) -> None:
    MatchWatch().take(counted(events=5_000, unmatched=4_000))
    (remedy,) = said(caplog)
    assert "nobody knows" in remedy


@pytest.mark.parametrize(
    "counts",
    [
        counted(events=5_000, decisions=99),  # nobody asks yet
        counted(events=5_000, matched=50),  # most events answer no slate: a site has other pages
    ],
)
def test_who_asks_little_or_is_answered_hears_nothing(
    counts: JoinCounts, caplog: pytest.LogCaptureFixture
) -> None:
    MatchWatch().take(counts)
    assert said(caplog) == []
