"""Before the first request every kernel of the configuration has run, those of channels too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.config import load_config
from streamer.model_set import build_models
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.known_features import NOTHING_KNOWN
from streamer.ranking.recall.channel import Channel, Recalled, RecallSettings, Scores
from streamer.ranking.recall.registry import registered_for_now
from streamer.scorer.warm_up import warm_up
from tests.scoring import TWO_CHANNELS


class MadeUpSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by a made-up channel."""

    candidates: int = 5


class MadeUpChannel(Channel[MadeUpSettings]):
    """Tells whom it was asked for, and over how many rows."""

    name = "made_up"
    reason = "made up"
    settings_type = MadeUpSettings
    columns = ("score", "rank")
    recalled: ClassVar[list[tuple[bool, int]]] = []
    scored: ClassVar[list[tuple[bool, int]]] = []

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        self.recalled.append((knows_user(context), int(allowed.sum())))
        return Recalled(np.flatnonzero(allowed).astype(np.int32)[:n])

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        self.scored.append((knows_user(context), len(candidates.rows)))
        return candidates.zeros()


def knows_user(context: RequestContext) -> bool:
    """Whether the factorization and the history know the user."""
    version, row = context.version, context.user_row
    factors = version.factors()
    assert factors is not None
    return factors.user(row) is not None and len(version.users.history(row)) > 0


def test_a_channel_is_asked_for_a_known_and_an_unknown_user_over_rows() -> None:
    with registered_for_now(MadeUpChannel):
        config = load_config(env={}, flags={"recall.mf.candidates": 20})
        warm_up(config, build_models(config), NOTHING_KNOWN)
    for asked in (MadeUpChannel.recalled, MadeUpChannel.scored):
        assert [known for known, _ in asked] == [True, False]
        assert all(n_rows for _, n_rows in asked)


@pytest.mark.parametrize(
    "flags",
    [
        {"learner.model": "explicit", "recall.mf.candidates": 20},
        TWO_CHANNELS,
        {"recall.blend.weight": 0.0},
        {"practice.share": 0.0},
        {"bandit.form": "disjoint", "bandit.half_life_s": 86_400.0},
        {"bandit.policy": "beta-thompson", "bandit.impressions": 0},
        {"recall.trending_feature.feature": "item_recency"},
        {"windows.default_features": False},
    ],
    ids=str,
)
def test_any_configuration_warms_up(flags: Mapping[str, object]) -> None:
    config = load_config("/dev/null", env={}, flags=flags)
    warm_up(config, build_models(config), NOTHING_KNOWN)
