"""What the torture plans, sends and compares, before it does so."""

from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
import pytest

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import decode_feature_value, decode_keyed_item, decode_request
from streamer.events.decoding import check_key
from streamer.learner.join.answers import decode_decisions
from streamer.learner.users import decode_users
from streamer.protocols import MessageBatch
from streamer.ranking.columns import feature_names
from tests.default_types import decode_event
from tests.torture.audit import Check
from tests.torture.faults import FAULTS, plan
from tests.torture.ledger import Kind, Ledger
from tests.torture.messages import Made, volley

NOW_MS = int(time.time() * 1000)
NAMES = feature_names(Config())
MADE = list(volley(1, NOW_MS, "ann", NAMES, items=True))


def decode(made: Made) -> object:
    """Decode a message as the process that reads its topic does."""
    match made.role:
        case "events":
            return decode_event(made.value, publish_ms=NOW_MS)
        case "requests":
            return decode_request(made.value, publish_ms=NOW_MS)
        case "decisions":
            numbers = np.array([NOW_MS], np.int64)
            batch = MessageBatch("decisions", 0, [made.value], numbers, numbers)
            _, rejected = decode_decisions(batch, NAMES)
            if rejected:
                raise BadMessage(rejected[0].reason)
            return None
        case "features":
            value = decode_feature_value(made.value, publish_ms=NOW_MS)
            check_key(made.key, "name:id", f"{value.name}:{value.id}")
            return value
        case "users":
            numbers = np.array([NOW_MS], np.int64)
            batch = MessageBatch("users", 0, [made.value], numbers, numbers, [made.key])
            _, rejected = decode_users(batch)
            if rejected:
                raise BadMessage(rejected[0].reason)
            return None
    return decode_keyed_item(made.key, made.value or b"")


@pytest.mark.parametrize("made", MADE, ids=lambda made: f"{made.role}: {made.kind.name}")
def test_what_is_called_bad_is_refused_and_what_looks_odd_is_not(made: Made) -> None:
    if made.kind.fate == "bad":
        with pytest.raises(BadMessage):
            decode(made)
    else:
        decode(made)


def test_every_topic_that_is_written_to_is_spoiled() -> None:
    spoiled = Counter(made.role for made in MADE if made.kind.fate == "bad")
    assert spoiled.keys() == {"events", "requests", "items", "users", "decisions", "features"}
    without_items = volley(1, NOW_MS, "ann", NAMES, items=False)
    assert "items" not in {made.role for made in without_items}


def test_a_plan_is_a_function_of_its_seed_and_has_each_fault() -> None:
    planned = plan(10, 600.0, seed=1)
    assert planned == plan(10, 600.0, seed=1)
    assert planned != plan(10, 600.0, seed=2)
    times = [each.at_s for each in planned]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 600.0
    counted = Counter(each.fault.name for each in planned)
    assert counted == {fault.name: math.ceil(10 * fault.share) for fault in FAULTS}
    assert set(Counter(each.fault.name for each in plan(0.1, 1.0, seed=1)).values()) == {1}
    for each in planned:
        assert each.fault.seconds[0] <= each.seconds <= each.fault.seconds[1]


def test_a_ledger_counts_each_copy_and_knows_a_message_again() -> None:
    ledger, good = Ledger(), Kind("event", "good")
    long = np.random.default_rng(1).bytes(5_000)
    ledger.note("events", long, good)
    ledger.note("events", long, Kind("event sent again", "repeat"))
    ledger.note("requests", None, Kind("tombstone", "bad"))
    assert ledger.n("events") == 2
    assert ledger.n("events", "good") == ledger.n("events", "repeat") == 1
    assert ledger.kind("events", long) == good
    assert ledger.kind("events", None) is None
    assert ledger.kind("requests", None) == Kind("tombstone", "bad")


def test_a_check_says_what_it_wanted_and_what_it_found() -> None:
    assert Check("events lost", 0, 0.0).holds
    assert str(Check("events lost", 0, 3)) == "events lost: 3, not 0"
