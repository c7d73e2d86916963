"""A click is served, and the product's own clock says the same as one outside.

How fast it is served is a matter of the machine: ``benchmarks/bench_freshness.py`` measures it.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

from streamer.application.local.system import LocalSystem, local_system
from streamer.client import Publisher, Recommender
from streamer.config import load_config
from tests.brokers import keys_apart, topics_apart
from tests.clicks import ClickTimes

N_CLICKS = 40
N_ITEMS = 60
TIMEOUT_S = 60.0
TICK_MS = 2.0
"""Both times that freshness lies between are read in whole milliseconds."""


def freshness_ms(system: LocalSystem, quantile: str) -> float:
    """One of the product's own numbers; a busy process may not answer the first time."""
    deadline = time.monotonic() + TIMEOUT_S
    name = f"streamer_scorer_freshness_ms{{{quantile}}}"
    while (value := system.metrics().get(name)) is None:
        system.check()
        assert time.monotonic() < deadline, f"{name} is not served"
    return value


def test_a_click_is_served_and_both_clocks_agree(
    kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> None:
    times = ClickTimes()
    with ExitStack() as stack:
        prefix = stack.enter_context(topics_apart(kafka_bootstrap))
        config = load_config(
            os.devnull,
            env={},
            flags={
                "kafka.bootstrap_servers": kafka_bootstrap,
                "kafka.group": prefix,
                "topics.prefix": prefix,
                "store.url": redis_url,
                "store.key_prefix": stack.enter_context(keys_apart(redis_url)),
            },
        )
        system = stack.enter_context(
            local_system(config, config_path=Path(os.devnull), log_dir=tmp_path)
        )
        publisher = stack.enter_context(Publisher(config=system.config))
        recommender = stack.enter_context(Recommender(config=system.config))
        for n in range(N_ITEMS):
            publisher.publish_item(f"item-{n}")
        publisher.flush()
        system.wait_until_ready(recommender, timeout_s=TIMEOUT_S)
        while not recommender.recommend("nobody", timeout_s=TIMEOUT_S).items:
            time.sleep(0.1)  # the catalogue is read as it comes
        for n in range(N_CLICKS):
            times.click(f"user-{n}", publisher, recommender, timeout_s=TIMEOUT_S)
        own_ms = freshness_ms(system, "0.5")
    low, high = times.freshness_between(0.5)
    assert low - TICK_MS <= own_ms <= high + TICK_MS
    # Nothing but the clicks has been learned: of as many samples the median says something.
    assert len(times.outside) == N_CLICKS
