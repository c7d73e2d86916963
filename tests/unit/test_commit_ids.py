"""Ids of commits say which commits came before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamer.commit_ids import UNKNOWN, commit_id, differ, id_of_empty
from streamer.protocols import Schedule

SCHEDULE = Schedule(7, {"events": (3, 9)}, {1: 4}, {1: 5})


@pytest.mark.parametrize(
    "other",
    [
        (2, SCHEDULE, 5),
        (1, replace(SCHEDULE, version=8), 5),
        (1, replace(SCHEDULE, offsets={"events": (3, 8)}), 5),
        (1, SCHEDULE, 6),
    ],
)
def test_the_commit_before_the_messages_and_the_time_make_an_id(
    other: tuple[int, Schedule, int],
) -> None:
    assert commit_id(1, SCHEDULE, 5) == commit_id(1, SCHEDULE, 5)
    assert commit_id(*other) != commit_id(1, SCHEDULE, 5)


def test_what_is_forgotten_is_the_same_at_a_version() -> None:
    assert id_of_empty(6) == id_of_empty(6) != id_of_empty(7)


@pytest.mark.parametrize(("one", "other"), [(UNKNOWN, 5), (5, UNKNOWN), (5, 5), (UNKNOWN, UNKNOWN)])
def test_an_unknown_id_is_taken_for_any(one: int, other: int) -> None:
    assert not differ(one, other)


def test_known_ids_differ() -> None:
    assert differ(5, 6)
