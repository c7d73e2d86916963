"""Any Kafka client can do what ours do: here kcat, with the command lines that the README shows."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from streamer.application.local.system import LocalSystem, local_system
from streamer.client import Recommender
from streamer.config import load_config
from streamer.events import decode_dead_letter
from tests.brokers import keys_apart, topics_apart

TIMEOUT_S = 120.0
MURMUR2 = ("-X", "topic.partitioner=murmur2_random")
"""Puts a user where our own clients would; kcat's own choice is another partition."""

Kcat = Callable[..., str]


@pytest.fixture(scope="module")
def system(
    kafka_bootstrap: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSystem]:
    with ExitStack() as stack:
        prefix = stack.enter_context(topics_apart(kafka_bootstrap))
        flags = {
            "kafka.bootstrap_servers": kafka_bootstrap,
            "kafka.group": prefix,
            "topics.prefix": prefix,
            "store.url": redis_url,
            "store.key_prefix": stack.enter_context(keys_apart(redis_url)),
        }
        config = load_config(os.devnull, env={}, flags=flags)
        logs = tmp_path_factory.mktemp("logs")
        started = local_system(config, config_path=Path(os.devnull), log_dir=logs)
        system = stack.enter_context(started)
        with Recommender(config=system.config) as recommender:
            system.wait_until_ready(recommender, timeout_s=TIMEOUT_S)
        yield system


@pytest.fixture
def run(kcat: str, system: LocalSystem) -> Kcat:
    """Run kcat against the system's broker; what it prints."""

    def run(*options: str, stdin: str = "") -> str:
        command = [kcat, "-q", "-b", system.config.kafka.bootstrap_servers, *options]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def event(number: int, user: str, item: str) -> str:
    ts = time.time_ns() // 1_000_000
    fields = {"event_id": f"kcat-{number}", "type": "click", "user_id": user, "item_id": item}
    return f"{user}:{json.dumps(fields | {'ts': ts})}\n"


def request(request_id: str, user: str) -> str:
    fields = {"request_id": request_id, "user_id": user, "k": 3}
    return f"{user}:{json.dumps(fields | {'ts': time.time_ns() // 1_000_000})}\n"


def answer_to(request_id: str, run: Kcat, topic: str) -> dict[str, object]:
    """Everything on the topic from its start, read again until the answer is there."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for line in run("-C", "-t", topic, "-e", "-o", "beginning").splitlines():
            found: dict[str, object] = json.loads(line)
            if found["request_id"] == request_id:
                return found
    raise AssertionError(f"no answer to {request_id} within {TIMEOUT_S:.0f} s")


@pytest.mark.parametrize("options", [MURMUR2, ()], ids=["murmur2", "its own partitioner"])
def test_publish_ask_and_read_the_answer(
    options: tuple[str, ...], run: Kcat, system: LocalSystem
) -> None:
    topic = system.config.topics.topic
    names = [f"{'murmur' if options else 'crc'}-{name}" for name in ("ann", "bob")]
    before = system.n_served()
    items = ["tea", "milk", "cake"]
    events = [event(len(options) * 10 + n, names[0], item) for n, item in enumerate(items)]
    run("-P", "-t", topic("events"), "-K:", *options, stdin="".join(events))
    assert system.wait_until_served(before + 3, timeout_s=TIMEOUT_S) == 0

    for user in names:
        run("-P", "-t", topic("requests"), "-K:", *options, stdin=request(f"to-{user}", user))
    to_ann, to_bob = (answer_to(f"to-{user}", run, topic("recommendations")) for user in names)
    # Who clicked all there is has nothing left; somebody else is told what was clicked.
    assert to_ann["user_id"] == names[0]
    assert to_ann["items"] == []
    assert isinstance(to_bob["items"], list)
    assert sorted(each["item_id"] for each in to_bob["items"]) == sorted(items)


def test_our_own_client_hears_of_what_kcat_published(run: Kcat, system: LocalSystem) -> None:
    before = system.n_served()
    line = event(100, "mixed", "coffee")
    run("-P", "-t", system.config.topics.topic("events"), "-K:", *MURMUR2, stdin=line)
    assert system.wait_until_served(before + 1, timeout_s=TIMEOUT_S) == 0
    with Recommender(config=system.config) as recommender:
        first, second = (recommender.recommend(user, k=10).items for user in ("mixed", "other"))
    assert "coffee" not in [item.item_id for item in first]
    assert "coffee" in [item.item_id for item in second]


def test_a_broken_message_is_a_dead_letter_with_its_reason_and_place(
    run: Kcat, system: LocalSystem
) -> None:
    topic = system.config.topics.topic
    broken = '{"event_id": "b", "type": "clack", "user_id": "ann", "item_id": "tea", "ts": 1}'
    run("-P", "-t", topic("events"), "-K:", *MURMUR2, stdin=f"ann:{broken}\n")
    deadline = time.monotonic() + TIMEOUT_S
    lines: list[str] = []
    while not lines and time.monotonic() < deadline:
        lines = run("-C", "-t", topic("dead_letters"), "-e", "-o", "beginning").splitlines()
    (letter,) = (decode_dead_letter(line.encode()) for line in lines)
    assert "type" in letter.reason
    assert "clack" in letter.reason
    assert letter.raw == broken.encode()
    assert letter.topic == topic("events")
    where = ("-p", str(letter.partition), "-o", str(letter.offset))
    (found,) = run("-C", "-t", letter.topic, *where, "-c", "1").splitlines()
    assert found == broken
