"""Practising takes its share of the wall clock and no more, however many events come."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from streamer.learner.practice.budget import PracticeBudget

COST_S = 1e-3


class World:
    """A clock, and a learner that practises as it is told at a fixed cost."""

    def __init__(self, *, share_max: float = 1.0, time_share: float = 0.25) -> None:
        self.now_s = self.practised_s = 0.0
        self.registry = CollectorRegistry()
        self.budget = PracticeBudget(share_max, time_share, self.registry, clock=lambda: self.now_s)

    def batch(self, n_events: int, *, every_s: float) -> float:
        """Learn a batch; the next one comes after so long."""
        share = self.budget.share(n_events)
        n = round(share * n_events)
        if n:
            self.budget.spent(n * COST_S, n)
            self.practised_s += n * COST_S
        self.now_s += every_s
        return share


@pytest.mark.parametrize("time_share", [0.1, 0.25])
def test_under_load_it_takes_its_share_of_the_time(time_share: float) -> None:
    world = World(time_share=time_share)
    shares = [world.batch(2_000, every_s=0.05) for _ in range(400)]
    assert world.practised_s == pytest.approx(time_share * world.now_s, rel=0.15)
    assert max(shares[100:]) < 0.05


def test_with_few_events_all_practise_and_a_pause_is_saved_up_for_a_while() -> None:
    world = World()
    assert {world.batch(3, every_s=0.05) for _ in range(200)} == {1.0}
    for _ in range(100):
        world.batch(2_000, every_s=0.05)
    tired = world.batch(200, every_s=30.0)
    assert tired < 0.5 < world.batch(200, every_s=0.05)


def test_no_more_than_is_asked_for_practise() -> None:
    assert World(share_max=0.25).batch(1, every_s=1.0) == 0.25
    world = World(time_share=0.0)
    for _ in range(20):
        world.batch(1_000, every_s=1.0)
    assert world.batch(1_000, every_s=1.0) == 0.0


def test_the_share_is_a_metric() -> None:
    world = World(share_max=0.5)
    world.batch(1, every_s=1.0)
    assert world.registry.get_sample_value("streamer_learner_practice_share") == 0.5
