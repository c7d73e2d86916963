"""Whether somebody who forgot the request_id is told."""

from __future__ import annotations

import logging

import pytest

from streamer.learner.join.counts import JoinCounts
from streamer.learner.match_watch import MatchWatch
from streamer.learner.settings import LearnerCounts


def counted(
    *, learned: int, decisions: int = 500, matched: int = 0, unmatched: int = 0
) -> LearnerCounts:
    joins = JoinCounts(n_decisions=decisions, n_matched=matched, n_unmatched=unmatched)
    return LearnerCounts(n_learned=learned, join=joins)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.remedy for record in caplog.records if record.msg == "feedback_not_matched"]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_events_without_an_id_are_told_once_and_again_after_ten_times_as_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = MatchWatch()
    watch.take(counted(learned=999))
    assert said(caplog) == []
    for learned in (1_000, 2_000, 9_999):
        watch.take(counted(learned=learned, matched=9))
    assert len(said(caplog)) == 1
    assert "request_id" in said(caplog)[0]
    assert "join.match_without_request" in said(caplog)[0]
    watch.take(counted(learned=10_000))
    assert len(said(caplog)) == 2


def test_the_blend_misses_no_ids_but_hears_of_wrong_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    MatchWatch("blend").take(counted(learned=5_000))
    assert said(caplog) == []
    MatchWatch("blend").take(counted(learned=5_000, unmatched=4_000))
    (remedy,) = said(caplog)
    assert "nobody knows" in remedy


def test_ids_that_match_nothing_have_another_remedy(caplog: pytest.LogCaptureFixture) -> None:
    MatchWatch().take(counted(learned=5_000, unmatched=4_000))
    (remedy,) = said(caplog)
    assert "nobody knows" in remedy


@pytest.mark.parametrize(
    "counts",
    [
        counted(learned=5_000, decisions=99),  # nobody asks yet
        counted(learned=5_000, matched=50),  # most events answer no slate: a site has other pages
    ],
)
def test_who_asks_little_or_is_answered_hears_nothing(
    counts: LearnerCounts, caplog: pytest.LogCaptureFixture
) -> None:
    MatchWatch().take(counts)
    assert said(caplog) == []
