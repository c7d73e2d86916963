"""What tests of exactly-once effect share: learners that are killed, stores that are compared."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from streamer.errors import BadMessage
from streamer.events import Item, decode_event, encode
from streamer.kafka.configured import configured_sink
from streamer.verify.parameters import compare_contents
from tests.learner_processes import Deployment, LearnerProcess, wait_until
from tests.recorded_stream import Message, Stream

N_KILLS = 6
"""Five in the midst of work, and one while it starts."""
RATE = 5_000.0
"""Messages a second."""


def topic_settings(servers: str, prefix: str, n_partitions: int) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": servers,
        "kafka.group": prefix,
        "topics.prefix": prefix,
        "topics.partitions": n_partitions,
    }


def redis_settings(request: pytest.FixtureRequest) -> dict[str, object]:
    return {
        "store.url": request.getfixturevalue("redis_url"),
        "store.key_prefix": request.getfixturevalue("redis_prefix"),
    }


def undisturbed(folder: Path, topic: dict[str, object]) -> Deployment:
    """Another store that one learner has filled from the same topic, without a disturbance."""
    deployment = Deployment(folder, topic | {"store.url": f"sqlite:{folder / 'undisturbed.db'}"})
    deployment.learn_all()
    return deployment


def publish_catalogue(deployment: Deployment, messages: list[Message], *, n_kinds: int) -> None:
    """Publish each item of a log, in one of ``n_kinds`` kinds."""
    config, item_ids = deployment.config, set()
    for message in messages:
        with contextlib.suppress(BadMessage):
            item_ids.add(decode_event(message.value, config.event_types).item_id)
    with contextlib.closing(configured_sink(config)) as sink:
        for item_id in sorted(item_ids):
            item = Item(item_id=item_id, categories=[f"kind {crc32(item_id.encode()) % n_kinds}"])
            sink.send(config.topics.topic("items"), key=item_id.encode(), value=encode(item))
        sink.flush(30)


def kill_learners(
    deployment: Deployment,
    messages: list[Message],
    *,
    seed: int,
    before: Callable[[int], None] = lambda n: None,
) -> None:
    """Publish a log and SIGKILL ``N_KILLS`` learners, each at a random moment of its life; what
    comes before a part of the log is told its number."""
    rng = np.random.default_rng(seed)
    with Stream(deployment.config, messages, n_parts=N_KILLS + 1, rate=RATE) as stream:
        for n in range(N_KILLS):
            before(n)
            learner = deployment.start(alone=True)
            stream.send_part()
            if n % 4 < 3:  # while it fetches, learns, commits or writes a checkpoint
                deployment.wait_for_a_commit()
                time.sleep(rng.uniform(0.0, 0.8))
            else:  # while it starts, takes its partitions, loads or reads the window again
                time.sleep(rng.uniform(0.5, 1.5))
            learner.kill()


def send_and_wait(stream: Stream, deployment: Deployment) -> None:
    """Publish a part and return in the middle of it, when every partition has been committed."""
    stream.send_part()
    deployment.wait_for_commits()


def share(first: LearnerProcess, second: LearnerProcess) -> None:
    """Wait until both own two of the four partitions, each another two."""
    wait_until(
        lambda: (
            len(first.partitions) == len(second.partitions) == 2
            and sorted(first.partitions + second.partitions) == [0, 1, 2, 3]
        ),
        "two learners share four partitions",
    )


def finish(deployment: Deployment, learner: LearnerProcess | None = None) -> None:
    """Let a learner catch up and stop in order."""
    learner = learner or deployment.start(alone=True)
    wait_until(deployment.caught_up, "the learner has caught up")
    learner.stop()


def assert_same(left: Deployment, right: Deployment) -> None:
    """What two stores hold is equal, bit for bit, and is something."""
    for a, b in zip(left.contents(), right.contents(), strict=True):
        problems = compare_contents(a, b)
        assert not problems, problems
        assert len(a.names["user"]) > 100
        assert np.abs(a.tables["session_users"][1]).max() > 0.01


def assert_verified(deployment: Deployment, messages: list[Message]) -> None:
    """Every message was learned once, and the schedule executed again gives the store."""
    assert sum(deployment.offsets().values()) == len(messages)
    said = deployment.verify()
    print(said.splitlines()[0])
    assert f"{deployment.n_commits:,} commits, {len(messages):,} messages executed again" in said
    assert "the store is what its schedule says, bit for bit" in said
