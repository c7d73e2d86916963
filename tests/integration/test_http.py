"""The HTTP service on a real broker: what it accepted and decided is there when it has ended."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx

from deploy.kafka.node import KafkaNode, free_port
from streamer.application.committed import present_messages
from streamer.client import Recommender
from streamer.config import TopicRole
from streamer.events import decode_decision
from tests.crashes import topic_settings
from tests.default_types import decode_event
from tests.learner_processes import Deployment, wait_until

TIMEOUT_S = 60.0


class Shopper(threading.Thread):
    """Acts and asks until the service is gone; remembers what it was promised."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__()
        self.accepted: set[str] = set()
        self.decided: set[str] = set()
        self._url = url
        self._user = name

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S) as client:
            try:
                while True:
                    self._step(client)
            except httpx.TransportError:
                return  # the service has ended

    def _step(self, client: httpx.Client) -> None:
        answer = client.get(f"/v1/users/{self._user}/recommendations?k=3")
        if answer.status_code == 200:
            self.decided.add(answer.json()["request_id"])
        event = {"type": "click", "user_id": self._user, "item_id": f"i{len(self.accepted) % 9}"}
        answer = client.post("/v1/events", json=[event, event])
        if answer.status_code == 202:
            self.accepted |= {each["event_id"] for each in answer.json()["results"]}


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=TIMEOUT_S).status_code == 200
    except httpx.TransportError:
        return False


def test_what_was_accepted_and_decided_outlives_an_end_in_the_midst_of_it(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_bootstrap, topic_prefix, 2)
    settings |= {"store.url": f"sqlite:{tmp_path / 'store.db'}"}
    url = f"http://127.0.0.1:{(port := free_port())}"
    with Deployment(tmp_path / "logs", settings) as deployment:
        learner, service = deployment.start(alone=True), deployment.start_http(port)
        wait_until(lambda: is_ready(url), "the HTTP service is ready")
        shoppers = [Shopper(url, f"user {n}") for n in range(4)]
        for shopper in shoppers:
            shopper.start()
        wait_until(
            lambda: all(len(each.accepted) >= 40 for each in shoppers), "they have clicked a lot"
        )
        with Recommender(config=deployment.config) as recommender:  # over Kafka it answers too
            assert recommender.recommend("nobody", timeout_s=TIMEOUT_S, preview=True).items
        service.stop()
        for shopper in shoppers:
            shopper.join(TIMEOUT_S)
        assert "http_stopped" in service.log
        assert "Traceback" not in service.log
        learner.stop()

        def ids(role: TopicRole) -> set[str]:
            found = set()
            for batch in present_messages(deployment.config, role):
                for value in batch.values:
                    if role == "events":
                        found.add(decode_event(value).event_id)
                    else:
                        found.add(decode_decision(value).request_id)
            return found

        assert set.union(*(each.accepted for each in shoppers)) <= ids("events")
        assert set.union(*(each.decided for each in shoppers)) <= ids("decisions")
        assert all(each.decided for each in shoppers)


def test_while_the_broker_is_away_nothing_is_accepted(
    kafka_broker: KafkaNode, tmp_path: Path
) -> None:
    settings = topic_settings(kafka_broker.bootstrap_servers, "test-", 1)
    settings |= {"store.url": f"sqlite:{tmp_path / 'store.db'}", "http.timeout_ms": 500}
    url = f"http://127.0.0.1:{(port := free_port())}"
    event = {"type": "click", "user_id": "ann", "item_id": "tea", "event_id": "e1"}
    with Deployment(tmp_path / "logs", settings) as deployment:
        service = deployment.start_http(port)
        wait_until(lambda: is_ready(url), "the HTTP service is ready")
        kafka_broker.stop()
        answer = httpx.post(f"{url}/v1/events", json=event, timeout=TIMEOUT_S)
        assert answer.status_code == 503
        assert "under the same id" in answer.json()["detail"]
        wait_until(lambda: not is_ready(url), "the service says that it is not ready")
        assert httpx.get(f"{url}/healthz", timeout=TIMEOUT_S).status_code == 200
        kafka_broker.start()
        wait_until(lambda: is_ready(url), "the broker is back")
        deadline = time.monotonic() + TIMEOUT_S
        while httpx.post(f"{url}/v1/events", json=event, timeout=TIMEOUT_S).status_code != 202:
            assert time.monotonic() < deadline
        service.stop()
