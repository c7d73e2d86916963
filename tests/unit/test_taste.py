"""What the catalogue says counts: for users by what they met, for items by their kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamer.config import load_config
from streamer.events import Event, Item, Request
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import request_context
from streamer.ranking.recall import taste
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer.ranking.recall.registry import channels_on
from streamer.simulation.live import LiveSystem
from streamer_models.counters.taste_changes import lasting_shares
from streamer_models.counters.token_counts import EVENTS
from streamer_models.state.ids.id_table import keys_of
from tests.kinds import N_KINDS, START_MS, clicks_of_kinds

N_ITEMS = 40


def _named(item_id: str, kind: int) -> Item:
    return Item(item_id=item_id, categories=[f"kind {kind}"])


def _dated(item_id: str, kind: int) -> Item:
    """All of one category, each kind of its own decade."""
    return Item(item_id=item_id, categories=["film"], attributes={"year": 1950 + 10 * kind})


def _shop(n: int = 3_000, said: Callable[[str, int], Item] = _named) -> LiveSystem:
    """Users who meet items of one kind, that of their own number, but for one in ten."""
    live = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
    live.publish(*(said(f"i{n}", n % N_KINDS) for n in range(N_ITEMS)))
    live.publish(*(said(f"new{kind}", kind) for kind in range(4)))
    live.publish(*clicks_of_kinds(n, N_ITEMS))
    live.sync()
    return live


def _scores(live: LiveSystem, channel: str, user_id: str, item_ids: list[str]) -> np.ndarray:
    (asked,) = (each for each in channels_on(live.config) if each.name == channel)
    assert isinstance(asked, MeasuringChannel)
    request = Request(request_id="r", user_id=user_id, ts=START_MS)
    context = request_context(request, live.scorer.replica.current(), live.scorer.catalogue)
    keys = keys_of(item_ids)
    rows = context.item_rows(keys)
    known = [at for at, row in enumerate(rows.tolist()) if row >= 0]
    new = [at for at, row in enumerate(rows.tolist()) if row < 0]
    candidates = Candidates(
        rows=rows[known],
        new_ids=[item_ids[at] for at in new],
        keys=keys[known + new],
        places=np.full((1, len(keys)), -1, dtype=np.int32),
    )
    scores = np.zeros((len(asked.measures.raw), len(keys)))
    scores[:, known + new] = asked.measure(context, candidates).raw
    return scores


def test_items_of_a_users_kind_score_above_all_others_of_a_new_user_none() -> None:
    item_ids = [f"i{n}" for n in range(N_ITEMS)]
    for said, by_words in ((_named, True), (_dated, False)):
        live = _shop(said=said)
        for user in (0, 1, 2):
            words, numbers = np.split(_scores(live, "taste", f"u{user}", item_ids), 2)
            for scores in words if by_words else numbers:
                own = scores[user::N_KINDS]
                others = np.delete(scores.reshape(-1, N_KINDS), user, axis=1)
                assert own.min() > 0.3 > -0.3 > others.max()
            assert not (numbers if by_words else words).round(12).any()
        assert not _scores(live, "taste", "nobody", item_ids).round(12).any()


def test_an_item_of_a_near_year_is_nearer_to_the_users_taste() -> None:
    live = _shop(said=_dated)
    for years in range(6):
        live.publish(Item(item_id=f"{years} later", attributes={"year": 1960 + years}))
    live.sync()
    *_, long, short = _scores(live, "taste", "u1", [f"{years} later" for years in range(5)])
    for scores in (long, short):
        assert scores[0] > 0.3
        assert (np.diff(scores) < 0).all()


def test_an_item_that_nobody_met_is_scored_by_its_kind() -> None:
    live, new = _shop(), [f"new{kind}" for kind in range(N_KINDS)]
    for channel, by_words in (("taste", 2), ("session", 1)):
        for user in (0, 1, 2, 3):
            for scores in _scores(live, channel, f"u{user}", new)[:by_words]:
                assert scores.argmax() == user
                assert scores.max() > np.sort(scores)[-2] + 0.2


def test_what_a_user_met_is_looked_at_once_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
    new = [Item(item_id=f"n{n}", categories=["kind 0"], created_ts=START_MS - 1) for n in range(3)]
    live.publish(*(_named(f"i{n}", n % N_KINDS) for n in range(N_ITEMS)), *new)
    live.publish(*clicks_of_kinds(60, N_ITEMS))
    live.sync()
    n_calls = 0

    def counted(*given: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        return lasting_shares(*given)

    monkeypatch.setattr(taste, "lasting_shares", counted)
    answer = live.request("u0")
    assert n_calls == 1, "fresh asks for it where it brings and where it scores, and so does taste"
    at = answer.decision.feature_names.index("fresh_score")
    assert answer.decision.feature_matrix()[:, at].any()


def test_an_empty_catalogue_teaches_nothing_of_tokens() -> None:
    live = LiveSystem(load_config(env={}, flags={}), start_ms=START_MS, sync_interval_ms=0)
    live.publish(Event(event_id="e", type="click", user_id="u", item_id="i", ts=START_MS))
    live.sync()
    tables = live._learner._shared.tables
    assert not tables["token_counts"].values.any()
    assert not tables["session_tokens"].values.any()
    assert all(entry.catalogue == {} for p in range(4) for entry in live.store.schedule(p))


def test_events_of_items_with_tokens_are_counted_once_each() -> None:
    live = _shop(500)
    counts = live._learner._shared.tables["token_counts"].values[:, 0] / (1 << 16)
    assert counts[EVENTS] == 500
    assert counts[:EVENTS].sum() == 500
    assert np.count_nonzero(counts[:EVENTS]) == N_KINDS
