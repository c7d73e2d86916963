"""The faults: another one is a line of ``FAULTS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from deploy.kafka.node import KafkaNode
from tests.redis_server import RedisServer
from tests.torture.traffic import Traffic
from tests.torture.world import Worker

T = TypeVar("T")

AT_WORK = 0.5
"""Share of faults that wait until all is at work: on a busy machine nothing would ever be."""

ROLES = {"learner": 2, "scorer": 2, "features": 1, "guest": 1}
"""Processes, and how many of each; a guest is a learner that comes and goes."""


@dataclass(frozen=True, slots=True)
class Fault(Generic[T]):
    """What happens to one of a role, and what ends it.

    Attributes
    ----------
    seconds
        How long it lasts, at least and at most.
    comes_to_work
        Whether it lasts until what it happens to has come to work, too.
    share
        How often it happens, for once of the others.
    """

    name: str
    role: str
    inject: Callable[[T], None]
    heal: Callable[[T], None]
    seconds: tuple[float, float] = (0.0, 0.0)
    share: float = 1.0
    comes_to_work: bool = False


def _nothing(target: object) -> None:
    """It is over by itself."""


# A group takes a member for dead after 10 s: what is paused comes back as a zombie.
FAULTS: tuple[Fault[Any], ...] = (
    Fault("learner killed", "learner", Worker.kill, Worker.start, (0.0, 1.0)),
    Fault("scorer killed", "scorer", Worker.kill, Worker.start, (0.0, 1.0)),
    Fault("features worker killed", "features", Worker.kill, Worker.start, (0.0, 1.0)),
    Fault("learner paused", "learner", Worker.pause, Worker.go_on, (11.0, 15.0)),
    Fault("scorer paused", "scorer", Worker.pause, Worker.go_on, (11.0, 15.0)),
    Fault("features worker paused", "features", Worker.pause, Worker.go_on, (11.0, 15.0), 0.3),
    Fault(
        "learner joins and leaves",
        "guest",
        Worker.start,
        Worker.leave,
        (5.0, 15.0),
        comes_to_work=True,
    ),
    Fault("broker killed", "kafka", KafkaNode.kill, KafkaNode.start, (0.0, 2.0)),
    Fault("broker restarted", "kafka", KafkaNode.stop, KafkaNode.start, (0.0, 2.0), 0.2),
    Fault("Redis killed", "redis", RedisServer.kill, RedisServer.start, (0.0, 2.0)),
    Fault("Redis restarted", "redis", RedisServer.stop, RedisServer.start, (0.0, 2.0), 0.2),
    Fault("burst of events", "traffic", Traffic.burst, _nothing),
    Fault("bad messages of each kind", "traffic", Traffic.volley, _nothing),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault, when it is due and how long it lasts.

    Attributes
    ----------
    at_work
        Whether it waits until all is at work; the others hit what starts, loads or joins, too.
    """

    at_s: float
    seconds: float
    at_work: bool
    fault: Fault[Any]


def plan(n_each: float, total_s: float, *, seed: int) -> list[Planned]:
    """Draw ``n_each`` of each fault, times its share, rounded up, at times over ``total_s``."""
    rng = np.random.default_rng([seed, 1])
    drawn = [fault for fault in FAULTS for _ in range(math.ceil(n_each * fault.share))]
    times = np.sort(rng.uniform(0.0, total_s, len(drawn))).tolist()
    order = rng.permutation(len(drawn)).tolist()
    return [
        Planned(
            at_s, float(rng.uniform(*drawn[place].seconds)), rng.random() < AT_WORK, drawn[place]
        )
        for at_s, place in zip(times, order, strict=True)
    ]
