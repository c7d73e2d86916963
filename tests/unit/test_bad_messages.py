"""Every kind of bad message on every topic that is read: one letter each, and none for a good one.

The world is the whole system in memory, with the learner and the scorer that production runs. What
the worker of the windowed features does with its topics is in ``test_features.py``.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import DeadLetter, decode_dead_letter
from streamer.events.messages import MESSAGE_BYTES_MAX
from streamer.ranking.columns import feature_names
from streamer.simulation.broker import MemorySink
from streamer.simulation.live import LiveSystem
from tests.torture.ledger import Kind
from tests.torture.messages import Made, volley

NOW_MS = 1_767_225_600_000
CONFIG = Config()
TOO_LARGE = b'{"x": "' + b"x" * MESSAGE_BYTES_MAX + b'"}'
BAD = Kind("bad", "bad")
# Kinds that no client of Kafka sends with its defaults, or that the topic of a broker refuses.
RARE = [
    *(Made(role, b"ann", TOO_LARGE, BAD) for role in ("requests", "decisions", "features")),
    Made("items", b"", None, BAD),
    Made("items", b"\xff", None, BAD),
    Made("users", b"", None, BAD),
    Made("users", b"\xff", None, BAD),
    Made("features", b"", None, BAD),
    Made("features", b"no-colon", None, BAD),
    Made("features", b"\xff:a", None, BAD),
    # Every reader of it deletes an item, a user or a value of which it has never heard.
    Made("items", b"unheard-of", None, Kind("deletes", "good")),
    Made("users", b"unheard-of", None, Kind("deletes", "good")),
    Made("features", b"item_ctr_1h:unheard-of", None, Kind("deletes", "good")),
]
SENT = [*volley(1, NOW_MS, "ann", feature_names(CONFIG), items=True), *RARE]

WANTED = Counter((made.role, made.value) for made in SENT if made.kind.fate == "bad")


@pytest.fixture(scope="module")
def letters() -> list[DeadLetter]:
    """Dead letters of a system that was sent all of them, and of another learner after it."""
    system = LiveSystem(CONFIG, start_ms=NOW_MS)
    sink = MemorySink(system.broker, clock=system.clock)
    for made in SENT:
        sink.send(CONFIG.topics.topic(made.role), key=made.key, value=made.value)
    system.sync()
    for _ in range(2):  # the second time letters for items and features are due
        with contextlib.suppress(BadMessage):  # a round that had a letter says so
            system.ask(["bob"])
        system.advance(system.clock.now_ms() + 60_000)
    system.crash()
    system.sync()
    records = system.broker.records(CONFIG.topics.topic("dead_letters"))
    return [decode_dead_letter(each.value) for each in records]


@pytest.mark.parametrize("made", SENT, ids=lambda made: f"{made.role}: {made.kind.name}")
def test_a_bad_message_has_one_letter_and_a_good_one_none(
    made: Made, letters: list[DeadLetter]
) -> None:
    topic = CONFIG.topics.topic(made.role)
    found = Counter((each.topic, each.raw, each.n_bytes) for each in letters)
    raw = made.value if made.value is None else made.value[:524_288]
    assert found[topic, raw, len(made.value or b"")] == WANTED[made.role, made.value]


def test_there_is_no_other_letter(letters: list[DeadLetter]) -> None:
    assert len(letters) == sum(made.kind.fate == "bad" for made in SENT)
    places = {(each.topic, each.partition, each.offset) for each in letters}
    assert len(places) == len(letters)


def test_each_kind_that_a_topic_can_have_is_sent_to_it() -> None:
    kinds = {
        role: {made.kind.name for made in SENT if made.role == role and made.kind.fate == "bad"}
        for role in ("events", "requests", "decisions", "items", "users", "features")
    }
    shared = set.intersection(*kinds.values())
    assert shared >= {
        "broken JSON", "no object", "missing field", "wrong type", "out of range",
        "unknown version", "NaN", "infinite", "not UTF-8", "half a character", "oversized id",
    }  # fmt: skip
