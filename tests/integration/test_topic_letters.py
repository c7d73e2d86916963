"""Bad items and features under scorers that come and go, over a real broker."""

from __future__ import annotations

import contextlib
from pathlib import Path

from streamer.events import decode_dead_letter
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.log_ends import EARLIEST
from tests.crashes import topic_settings
from tests.learner_processes import Deployment, wait_until


def test_each_bad_item_and_feature_has_one_letter_whatever_scorers_start(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 2)
    settings |= {"store.url": f"sqlite:{tmp_path / 'store.db'}"}
    with Deployment(tmp_path / "logs", settings) as deployment:
        topics = deployment.config.topics

        def publish(key: bytes) -> None:
            with contextlib.closing(configured_sink(deployment.config)) as sink:
                for role in ("items", "features"):
                    sink.send(topics.topic(role), key=key, value=b"rubbish")
                sink.flush(30.0)

        publish(b"before")
        first = deployment.start_scorer(alone=False)
        wait_until(lambda: len(letters(deployment)) == 2, "what was there has letters")
        second = deployment.start_scorer(alone=False)
        wait_until(lambda: "_ready" in second.log, "the second reads it too")
        publish(b"two")
        wait_until(lambda: len(letters(deployment)) == 4, "one sends letters")
        first.kill()
        publish(b"killed")
        wait_until(lambda: len(letters(deployment)) == 6, "the duty goes to the other")
        second.stop()
        publish(b"none runs")
        third = deployment.start_scorer(alone=False)
        wait_until(lambda: len(letters(deployment)) >= 8, "the next one sends what is left")
        third.stop()
        found = letters(deployment)
    assert len(set(found)) == len(found) == 8


def letters(deployment: Deployment) -> list[tuple[str, int, int]]:
    """Topic, partition and offset of each."""
    topic = deployment.config.topics.topic("dead_letters")
    with contextlib.closing(configured_reader(deployment.config)) as reader:
        reader.start({(topic, 0): EARLIEST})
        ends, found = reader.end_offsets(), []
        while reader.positions[topic, 0] < ends[topic, 0]:
            for batch in reader.poll(n_max=100, timeout_s=1.0):
                told = [decode_dead_letter(value or b"") for value in batch.values]
                found += [(each.topic, each.partition, each.offset) for each in told]
    return found
