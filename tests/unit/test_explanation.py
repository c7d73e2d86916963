"""Why an item stands where it stands: what adds up to its score, and what keeps it out."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import Config, load_config
from streamer.events import Event, Item, Request
from streamer.scorer.explanation import ColumnPart, Explanation, explain
from streamer.simulation.live import LiveSystem

START_MS = 1_700_000_000_000
N_USERS, N_ITEMS = 20, 60


def _shop(**flags: object) -> LiveSystem:
    given = {name.replace("__", "."): value for name, value in flags.items()}
    config = load_config(env={}, flags={"bandit.policy": "greedy", **given})
    live, rng = LiveSystem(config, start_ms=START_MS, sync_interval_ms=0), np.random.default_rng(2)
    live.publish(*(Item(item_id=f"i{n}", categories=[f"kind {n % 3}"]) for n in range(N_ITEMS)))
    live.publish(
        *(
            Event(
                event_id=f"e{n}",
                type="click",
                user_id=f"u{rng.integers(N_USERS)}",
                item_id=f"i{int(N_ITEMS * rng.random() ** 2)}",
                ts=START_MS - 60_000 * (500 - n),
            )
            for n in range(500)
        )
    )
    live.sync()
    return live


def _explain(live: LiveSystem, item_id: str, user_id: str = "u1", k: int = 5) -> Explanation:
    request = Request(request_id="r", user_id=user_id, ts=START_MS, k=k, preview=True)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    return explain(live.config, request, item_id, version, catalogue, known=live.scorer.known)


def _ranked(live: LiveSystem, k: int) -> list[str]:
    request = Request(request_id="r", user_id="u1", ts=START_MS, k=k)
    version, catalogue = live.scorer.replica.current(), live.scorer.catalogue
    slate = live.scorer.variants.of(request.user_id).recommend(
        request, version, catalogue, known=live.scorer.known
    )
    return slate.item_ids


@pytest.mark.parametrize("ranker", ["bandit", "blend"])
def test_the_place_is_that_of_the_slate(ranker: str) -> None:
    live = _shop(funnel__ranker=ranker)
    for place, item_id in enumerate(_ranked(live, 5), start=1):
        found = _explain(live, item_id)
        assert found.place == place
        assert found.barred is None
        assert found.expected >= found.expected_of_last
        assert found.places
    assert (_explain(live, _ranked(live, 5)[0]).bandit == []) == (ranker == "blend")


def test_what_columns_add_is_what_tells_two_items_apart() -> None:
    live = _shop()
    first, last = (_explain(live, item_id) for item_id in np.array(_ranked(live, 20))[[0, -1]])
    for parts in ("blend", "bandit"):
        of_first, of_last = (sum(p.adds for p in getattr(each, parts)) for each in (first, last))
        assert of_first > of_last
    apart = sum(part.adds for part in first.bandit) - sum(part.adds for part in last.bandit)
    assert apart == pytest.approx(first.expected - last.expected, rel=1e-6)
    adds = [abs(part.adds) for part in first.blend]
    assert adds == sorted(adds, reverse=True)
    for part in first.blend:
        assert part.adds == pytest.approx(part.weight * (part.value - part.mean))


def test_an_item_that_no_channel_brings_is_ranked_all_the_same() -> None:
    live = _shop(recall__random__candidates=0, recall__popular__candidates=2)
    version = live.scorer.replica.current()
    brought = set(live.request("u1", k=1).decision.candidates)
    left = [f"i{n}" for n in range(N_ITEMS) if f"i{n}" not in brought]
    assert left
    for item_id in (left[0], "never heard of"):
        found = _explain(live, item_id, k=1)
        assert found.places == {}
        assert 1 <= found.place <= found.n_candidates == len(brought) + 1
    assert live.scorer.replica.current() is version


def test_it_says_what_bars_an_item() -> None:
    live = _shop()
    live.publish(
        Item(item_id="gone", available=False),
        Item(item_id="over", expires_ts=START_MS - 1),
        Item(item_id="later", created_ts=START_MS + 60_000),
        Event(event_id="last", type="click", user_id="u1", item_id="i5", ts=START_MS),
    )
    live.sync()
    for item_id, words in (
        ("gone", "unavailable"),
        ("over", "expires_ts"),
        ("later", "created_ts is 60 s ahead"),
        ("i5", "the user met it"),
    ):
        barred = _explain(live, item_id).barred
        assert barred is not None
        assert words in barred


_FOUND = Explanation(
    user_id="ann",
    item_id="[tea]",
    k=2,
    barred=None,
    places={"popular": 7},
    n_candidates=120,
    place=9,
    expected=0.25,
    expected_of_last=0.5,
    boosts={"rules.own.boost": -1.0},
    blend=[ColumnPart(f"column {n}", 1.0, 0.5, 2.0, 1.0) for n in range(10)],
    bandit=[],
)


def test_the_command_prints_a_place_and_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int | None]] = []
    contexts: list[dict[str, Any]] = []

    def explained(config: Config, user: str, item: str, k: int | None, **of: Any) -> Explanation:
        asked.append((user, item, k))
        contexts.append(of)
        return _FOUND

    monkeypatch.setattr("streamer.application.explaining.explain_configured", explained)
    shown = CliRunner().invoke(app, ["explain", "ann", "[tea]", "--k", "2"]).output
    words = " ".join(shown.split())
    assert "[tea] for ann: place 9 of 120 candidates, expected reward 0.2500" in words
    assert "brought by popular at place 7" in words
    assert "the last of 2 slots has 0.5000: it lacks 0.2500" in words
    assert "2 more" in words
    assert "+10.0000" in words
    printed = CliRunner().invoke(app, ["explain", "ann", "[tea]", "--json"]).stdout
    assert msgspec.json.decode(printed, type=Explanation) == _FOUND
    assert asked == [("ann", "[tea]", 2), ("ann", "[tea]", None)]
    assert contexts == [{"surface": None, "context": None}] * 2
    assert "moved by rules.own.boost = -1" in words
    given = ["--context", "region=eu", "--context", "kids=true", "--context", "n=1.5"]
    CliRunner().invoke(app, ["explain", "ann", "[tea]", *given, "--context", "surface=home"])
    assert contexts[-1] == {
        "surface": "home",
        "context": {"region": "eu", "kids": True, "n": 1.5},
    }
    refused = CliRunner().invoke(app, ["explain", "ann", "[tea]", "--context", "region"])
    assert refused.exit_code == 2
