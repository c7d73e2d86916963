"""Dead letters of a learner whose broker goes away before it has them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from deploy.kafka.node import KafkaNode
from streamer.kafka.configured import configured_sink
from tests.crashes import topic_settings
from tests.integration.test_topic_letters import letters
from tests.learner_processes import Deployment, wait_until

N_BAD = 20_000
"""Forty batches: some are fetched and not learned yet when the broker is killed after the first."""
EVENTS = ("test-events", 0)


def test_letters_wait_for_their_broker_and_what_stands_behind_them_for_the_letters(
    kafka_broker: KafkaNode, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_broker.bootstrap_servers, "test-", 1)
    settings |= {
        "store.url": f"sqlite:{tmp_path / 'store.db'}",
        "learner.batch_messages_max": N_BAD // 40,
        "kafka.request_timeout_s": 5.0,  # what a letter would have, were it not waited for
    }
    with Deployment(tmp_path / "logs", settings) as deployment:
        with contextlib.closing(configured_sink(deployment.config)) as sink:
            for n in range(N_BAD):
                sink.send(EVENTS[0], key=b"u", value=b"rubbish %d" % n)
        learner = deployment.start(alone=True)
        wait_until(lambda: deployment.offsets()[EVENTS] > 0, "it learns")
        kafka_broker.kill()
        wait_until(lambda: "dead_letters_wait" in learner.log, "letters are waited for")
        waiting_at = deployment.offsets()[EVENTS]
        assert waiting_at < N_BAD
        kafka_broker.start()
        wait_until(deployment.caught_up, "it goes on by itself")
        learner.stop()
        assert "dead_letters_sent" in learner.log
        found = letters(deployment)
    assert len(found) == N_BAD
    assert set(found) == {(*EVENTS, offset) for offset in range(N_BAD)}
