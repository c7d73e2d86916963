"""How long a click takes until it is served: by a clock outside, beside the product's own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from streamer.client import Publisher, Recommender


@dataclass(slots=True)
class ClickTimes:
    """Clicks that were served, in milliseconds, each with what their freshness must be between.

    Freshness, as the product measures it, is the time from the publication of an event to the
    version that has learned it. A click is published at some time during its call, and its version
    is in place at some time after the last answer without it was asked for, and before the first
    answer with it came.

    Attributes
    ----------
    outside
        From before a click's publication until an answer that knows it is there.
    at_least
        From the end of its publication until the last answer that does not know it was asked for;
        0 where the first one knew it.
    round_trips
        Of the requests for a list.
    """

    outside: list[float] = field(default_factory=list)
    at_least: list[float] = field(default_factory=list)
    round_trips: list[float] = field(default_factory=list)

    def click(
        self, user_id: str, publisher: Publisher, recommender: Recommender, *, timeout_s: float
    ) -> None:
        """Click the first item that is recommended, and ask until it is offered no more.

        It alone is asked for: a longer list, which explores, might lack it by chance.
        """
        listed_ms = clock_ms()
        clicked = recommender.recommend(user_id, timeout_s=timeout_s).items[0].item_id
        began_ms = clock_ms()
        self.round_trips.append(began_ms - listed_ms)
        publisher.publish(type="click", user_id=user_id, item_id=clicked)
        published_ms, at_least = clock_ms(), 0.0
        while True:
            asked_ms = clock_ms()
            answer = recommender.recommend(
                user_id, candidates=[clicked], preview=True, timeout_s=timeout_s
            )
            answered_ms = clock_ms()
            if not answer.items:
                break
            waited_s = (answered_ms - began_ms) / 1000
            assert waited_s < timeout_s, f"a click is not served after {waited_s:.0f} s"
            at_least = max(0.0, asked_ms - published_ms)
        self.outside.append(answered_ms - began_ms)
        self.at_least.append(at_least)

    def freshness_between(self, quantile: float) -> tuple[float, float]:
        """Bounds of a quantile of the freshness of these clicks alone.

        Every sample lies between its own bounds, so each quantile lies between theirs.
        """
        low, high = (np.quantile(each, quantile) for each in (self.at_least, self.outside))
        return float(low), float(high)


def clock_ms() -> float:
    return 1000 * time.perf_counter()
