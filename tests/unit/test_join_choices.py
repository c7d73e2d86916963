"""What the join tells the blend of a slate: what was taken up, among what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from streamer.learner.join.join import Join
from streamer.learner.join.shown import Matching
from tests.joins import (
    SETTINGS,
    START_MS,
    Answer,
    Chosen,
    answers_at,
    decided,
    decisions_at,
    fold_in_choices,
)

A_SECOND_LATER = START_MS + 1_000


def chosen_of(*answers: Answer, slate: bool = True, matching: Matching = "always") -> Chosen:
    """What is chosen of a slate of a, b and c, with each answer read by itself."""
    join, chosen = Join(replace(SETTINGS, match_without_request=matching)), Chosen()
    log: Sequence[Answer | None] = list(answers)
    decisions = [decided("r", slate=slate), decided("later", START_MS + 5_000)]
    fold_in_choices(chosen, join.take(decisions_at(decisions, 0, 2), None).choices)
    for start in range(len(log)):
        joined = join.take(None, answers_at(log, start, start + 1))
        fold_in_choices(chosen, joined.choices)
    return chosen


def clicked(item_id: str, *, named: bool = True, reward: float = 1.0) -> Answer:
    return Answer(A_SECOND_LATER, "r" if named else None, item_id=item_id, reward=reward)


def seen(item_id: str) -> Answer:
    return Answer(A_SECOND_LATER, "r", item_id=item_id, reward=np.nan, seen=True)


def test_what_is_taken_up_is_chosen_among_the_others_of_its_slate() -> None:
    assert chosen_of(clicked("b")) == {0: [0.0, 1.0, 0.0]}
    assert chosen_of(clicked("b"), clicked("c")) == {0: [0.0, 1.0, 1.0]}


def test_where_nothing_is_taken_up_nothing_is_chosen() -> None:
    assert chosen_of(seen("a"), seen("b")) == {}
    assert chosen_of(clicked("a", reward=-1.0)) == {}
    assert chosen_of(clicked("a", reward=0.0)) == {}


def test_a_dislike_is_passed_over_and_half_a_reward_counts_a_quarter() -> None:
    assert chosen_of(clicked("a", reward=-1.0), clicked("b", reward=0.5)) == {0: [0.0, 0.25, 0.0]}


def test_where_impressions_are_reported_it_is_chosen_among_what_was_seen() -> None:
    assert chosen_of(seen("c"), clicked("b")) == {0: [None, 1.0, 0.0]}
    assert chosen_of(clicked("b"), seen("c")) == {0: [None, 1.0, 0.0]}, "amended"


def test_what_is_taken_back_is_no_choice_any_more() -> None:
    assert chosen_of(clicked("b"), clicked("b", reward=-1.0)) == {}


@pytest.mark.parametrize("matching", ["always", "reported"])
def test_an_event_that_names_no_request_practises_and_is_neither_taken_up_nor_passed_over(
    matching: Matching,
) -> None:
    unnamed = clicked("a", named=False)
    assert chosen_of(unnamed, matching=matching) == {}
    assert chosen_of(unnamed, clicked("b"), matching=matching) == {0: [None, 1.0, 0.0]}


def test_a_decision_that_logged_no_columns_teaches_no_choice() -> None:
    assert chosen_of(clicked("b"), slate=False) == {}
