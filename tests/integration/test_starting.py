"""Processes that start while their broker and their store are restarted."""

from __future__ import annotations

from pathlib import Path

from deploy.kafka.node import KafkaNode, free_port
from tests.crashes import topic_settings
from tests.learner_processes import Deployment, wait_until
from tests.redis_server import RedisServer


def test_processes_wait_for_a_broker_and_then_for_a_redis_that_restart(
    kafka_broker: KafkaNode, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_broker.bootstrap_servers, "test-", 1)
    settings |= {"store.url": redis_server.url, "kafka.request_timeout_s": 120.0}
    with Deployment(tmp_path / "logs", settings) as deployment:
        kafka_broker.stop()
        redis_server.stop()
        processes = [deployment.start(), deployment.start_scorer()]

        def all_said(what: str) -> bool:
            ended = [each.log for each in processes if not each.running]
            assert not ended, ended
            return all(what in each.log for each in processes)

        wait_until(lambda: all_said("waiting for Kafka"), "the broker is awaited")
        kafka_broker.start()
        wait_until(lambda: all_said("waiting for the store"), "so is Redis")
        redis_server.start()
        wait_until(lambda: all_said("_ready") and all_said("partitions_taken"), "they go on")
        kafka_broker.kill()  # whoever is asked to stop without a broker does
        for each in processes:
            each.stop()
            assert "Traceback" not in each.log


def test_who_is_asked_to_stop_ends_though_its_broker_died_while_it_started(
    kafka_broker: KafkaNode, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_broker.bootstrap_servers, "test-", 1)
    settings |= {"store.url": redis_server.url, "kafka.request_timeout_s": 3_600.0}
    with Deployment(tmp_path / "logs", settings) as deployment:
        redis_server.stop()
        processes = [
            deployment.start(),
            deployment.start_scorer(alone=False),
            deployment.start_http(free_port()),
        ]

        def all_say(what: str) -> bool:
            return all(what in each.log for each in processes)

        wait_until(lambda: all_say("waiting for the store"), "Kafka was there")
        kafka_broker.kill()
        redis_server.start()
        wait_until(lambda: all_say("kafka_error"), "they ask Kafka in vain")
        for each in processes:
            each.ask_to_stop()
            assert each.wait() == 0, each.log
            assert "start_stopped" in each.log
            assert "Traceback" not in each.log
