"""Items that a user takes up again, where the domain repeats; and what a slate shows is not met."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.config import Config, load_config
from streamer.errors import ConfigError
from streamer.events import Event, Request
from streamer.simulation.live import LiveSystem
from tests.unit.test_practice import _n_steps
from tests.verified_slates import verified_again

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
N_USERS, N_ITEMS, N_OWN = 20, 60, 3


def _config(**flags: object) -> Config:
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(env={}, flags={"bandit.policy": "greedy", "topics.partitions": 1, **given})


def _live(config: Config) -> LiveSystem:
    return LiveSystem(config, start_ms=START_MS, sync_interval_ms=0)


def _click(n: int, user: str, item: str, ts_ms: int, kind: str = "click") -> Event:
    return Event(event_id=f"e{n}", type=kind, user_id=user, item_id=item, ts=ts_ms)


def _listeners(config: Config, n: int = 600) -> LiveSystem:
    """Users who hear three items of their own over and over, and one in five times any other."""
    live, rng = _live(config), np.random.default_rng(1)
    for i in range(n):
        user = int(rng.integers(N_USERS))
        own = (7 * user + int(rng.integers(N_OWN))) % N_ITEMS
        item = own if rng.random() < 0.8 else int(rng.integers(N_ITEMS))
        live.publish(_click(i, f"u{user}", f"i{item}", START_MS - 60_000 * (n - i)))
    live.sync()
    return live


def _share_of_own(live: LiveSystem) -> float:
    own = [{f"i{(7 * user + each) % N_ITEMS}" for each in range(N_OWN)} for user in range(N_USERS)]
    slates = [live.request(f"u{user}", k=N_OWN).item_ids for user in range(N_USERS)]
    return float(np.mean([len(a & set(b)) / N_OWN for a, b in zip(own, slates, strict=True)]))


def test_what_is_heard_over_and_over_comes_again_where_that_is_on() -> None:
    assert _share_of_own(_listeners(_config(recall__again__candidates=50))) > 0.8
    assert _share_of_own(_listeners(_config())) == 0.0


def test_the_reason_says_again() -> None:
    live = _listeners(_config(recall__again__candidates=50))
    items = live.request("u3", k=3).recommendation.items
    assert "again" in {item.reason for item in items}


def test_repeats_are_practised() -> None:
    """Without them as candidates there would be no choice to learn from."""
    on, off = (_n_steps(_listeners(_config(recall__again__candidates=n), n=300)) for n in (50, 0))
    assert on > 1.5 * off


@pytest.mark.parametrize(("hours", "expected"), [(1, {"old"}), (3, {"old", "new"})])
def test_an_item_comes_again_after_a_time(hours: int, expected: set[str]) -> None:
    live = _live(_config(recall__again__candidates=50, recall__again__after_s=7_200.0))
    live.publish(
        _click(0, "ann", "old", START_MS - 5 * HOUR_MS),
        _click(1, "ann", "new", START_MS),
        _click(2, "bob", "other", START_MS - 5 * HOUR_MS),
    )
    live.advance(START_MS + hours * HOUR_MS)
    assert set(live.request("ann", k=10).item_ids) & {"old", "new"} == expected
    assert "other" in live.request("ann", k=10).item_ids


@pytest.mark.parametrize(
    ("times", "kept_out"), [(0, set()), (1, {"twice", "thrice"}), (2, {"thrice"})]
)
def test_an_item_comes_again_a_number_of_times(times: int, kept_out: set[str]) -> None:
    live = _live(_config(recall__again__candidates=50, recall__again__times=times))
    ann = ["once", *["twice"] * 2, *["thrice"] * 3]
    met = [("ann", item) for item in ann] + [("bob", "thrice")] * 5
    live.publish(*(_click(n, *each, START_MS - HOUR_MS + n) for n, each in enumerate(met)))
    live.sync()
    items = {"once", "twice", "thrice"}
    answer = live.request("ann", k=10)
    assert set(answer.item_ids) == items - kept_out
    assert verified_again(live, [answer.decision]).n_same == 1


def test_an_item_met_twice_is_as_new_as_the_last_time() -> None:
    live = _live(_config(recall__again__candidates=50, recall__again__after_s=7_200.0))
    live.publish(
        _click(0, "ann", "twice", START_MS - 5 * HOUR_MS),
        _click(1, "ann", "twice", START_MS - HOUR_MS),
        _click(2, "bob", "other", START_MS - 5 * HOUR_MS),
    )
    live.sync()
    assert live.request("ann", k=10).item_ids == ["other"]


@pytest.mark.parametrize("weight", [-0.2, 0.1])
def test_an_impression_with_a_weight_does_not_bar_the_item(weight: float) -> None:
    live = _live(_config(events__impression__weight=weight))
    live.publish(
        *(_click(n, f"u{n}", "tea", START_MS) for n in range(3)),
        _click(9, "ann", "tea", START_MS, "impression"),
    )
    live.sync()
    assert live.request("ann", k=5).item_ids == ["tea"]
    assert live.counts.n_learned == 3


def _binge(config: Config, n: int) -> LiveSystem:
    """A user who met ``n`` items, one after the other, that all others take up all the time."""
    live = _live(config)
    for i in range(n):
        live.publish(_click(i, "ann", f"i{i}", START_MS - 1_000 * (n - i)))
        for other in ("bob", "eve"):
            live.publish(_click((i + 1) * n + len(other), other, f"i{i}", START_MS - 500 * (n - i)))
    live.publish(_click(10 * n * n, "eve", "unmet", START_MS))
    live.sync()
    return live


def test_what_was_met_longer_ago_than_the_history_is_left_out_where_it_is_kept() -> None:
    at_default = set(_binge(_config(mf__history=8), 40).request("ann", k=10).item_ids)
    assert at_default & {f"i{n}" for n in range(32)}
    live = _binge(_config(mf__history=8, mf__seen=40), 40)
    assert live.request("ann", k=10).item_ids == ["unmet"]
    live.crash()
    live.publish(_click(99_999, "ann", "unmet", START_MS))
    live.sync()
    assert live.request("ann", k=10).item_ids == ["i0"], "the oldest of 41 makes room"


def test_the_decisions_of_a_long_memory_are_made_again() -> None:
    live = _binge(_config(mf__history=8, mf__seen=30), 40)
    decisions = [live.request(user, k=5).decision for user in ("ann", "bob", "nobody")]
    found = verified_again(live, decisions)
    assert (found.n_same, found.n_different) == (3, 0), found.problems


def test_on_some_surfaces_what_was_met_comes_again() -> None:
    live = _binge(_config(recall__again__surfaces=("cart",)), 12)

    def asked(surface: str | None) -> set[str]:
        request = Request(
            request_id=f"q {surface}", user_id="ann", ts=START_MS, k=20, surface=surface
        )
        return set(live.answer([request])[0].item_ids)

    assert asked(None) == asked("home") == {"unmet"}
    assert asked("cart") == {"unmet", *(f"i{n}" for n in range(12))}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"mf__seen": 64}, "64 items are known by the history of 64; give more, or 0"),
        ({"mf__seen": 100, "recall__again__candidates": 5}, "set one of them to 0"),
    ],
)
def test_a_memory_that_says_nothing_is_refused(flags: dict[str, int], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        _config(**flags)
