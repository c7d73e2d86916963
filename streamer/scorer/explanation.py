"""Why an item stands where it stands in a user's ranking, and what keeps it out of the slate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.events import Item, Request
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext, request_context
from streamer.ranking.features import Features
from streamer.ranking.known_features import NOTHING_KNOWN, FeatureSource
from streamer.ranking.matrix import RankingMatrix
from streamer.ranking.recall.again import comes_again
from streamer.ranking.recall.blend import BlendChannel, blend_of
from streamer.ranking.recall.union import Recall
from streamer.ranking.rules.rules import Rules
from streamer.ranking.scored import scored
from streamer.replica.version import Version
from streamer.scorer.policy.knowledge import Knowledge
from streamer.scorer.policy.policies import BanditPolicy, slate_policy
from streamer_models.bandits.estimates import SharedEstimate
from streamer_models.state.ids.id_table import id_key

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ColumnPart:
    """What one column adds to an item's score.

    Attributes
    ----------
    value, mean
        Of the item, and over all candidates.
    weight
        Of the column for who asks now.
    adds
        ``weight * (value - mean)``.
    """

    column: str
    value: float
    mean: float
    weight: float
    adds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where an item stands for a user, and why.

    Attributes
    ----------
    is_known
        Whether the catalogue has it, or something was learned of it.
    barred
        Why it can't be in the slate; None: it can.
    places
        Channel → place in its order, from 1; channels that bring it alone.
    n_candidates
        The item among them, whether a channel brings it or not.
    place
        By what is expected and the boosts, from 1; candidates alike stand before none of each
        other.
    expected, expected_of_last
        Rewards, without boosts: of the item, and of the last one that has a slot.
    boost, boost_of_last
        What boosts add to these to rank by.
    boosts
        Rules that boost or bury it, and by how many standard deviations.
    blend
        What columns add to its logit of the blend; none where no blend is on.
    bandit
        What columns add to its expected reward; none where the policy is not one linear model.
    objectives
        What is expected of it by objective, without boosts; none where there are no objectives.
    """

    user_id: str
    item_id: str
    k: int
    is_known: bool
    barred: str | None
    places: dict[str, int]
    n_candidates: int
    place: int
    expected: float
    expected_of_last: float
    boost: float
    boost_of_last: float
    boosts: dict[str, float]
    blend: list[ColumnPart]
    bandit: list[ColumnPart]
    objectives: dict[str, float]

    @property
    def lacks(self) -> float:
        """What it lacks of the last one that has a slot, with boosts; below 0: nothing."""
        return self.expected_of_last + self.boost_of_last - self.expected - self.boost


def explain(
    config: Config,
    request: Request,
    item_id: str,
    version: Version,
    catalogue: Catalogue,
    *,
    known: FeatureSource = NOTHING_KNOWN,
) -> Explanation:
    """Rank as a scorer would for a request, with an item among the candidates, whoever brings it.

    Columns that are standardized over the candidates differ a little by it where no channel does.
    """
    recall, policy = Recall(config), slate_policy(config)
    context = request_context(
        request,
        version,
        catalogue,
        known=known,
        comes_again=comes_again(config, request.surface),
        rules=Rules(config),
    )
    k = request.k or config.scorer.k_default
    candidates = _with_item(context, recall(context, k), item_id)
    at = int(np.flatnonzero(candidates.keys == _key(item_id))[0])
    known_of = scored(context, candidates, recall.channels)
    features = RankingMatrix(config, recall.channels).make(known_of)
    knowledge = Knowledge(
        version.bandit,
        candidates.keys,
        context.at_ms,
        known_of.scores,
        context.raised(candidates.keys),
    )
    choice = policy.choose(features, knowledge, k, context.seed)
    expected, ranked = choice.expected, choice.ranked
    last = int(np.argsort(-ranked, kind="stable")[min(k, len(ranked)) - 1])
    blend = blend_of(recall.channels)
    return Explanation(
        user_id=request.user_id,
        item_id=item_id,
        k=k,
        is_known=_is_known(context, item_id),
        barred=_barred(context, item_id),
        places={
            channel.name: int(place) + 1
            for channel, place in zip(recall.channels, candidates.places[:, at], strict=True)
            if place >= 0
        },
        n_candidates=len(candidates),
        place=int(np.count_nonzero(ranked > ranked[at])) + 1,
        expected=float(expected[at]),
        expected_of_last=float(expected[last]),
        boost=float(ranked[at] - expected[at]),
        boost_of_last=float(ranked[last] - expected[last]),
        boosts={} if context.ruled is None else context.ruled.boosts_of(int(_key(item_id))),
        blend=[] if blend is None else _blend_parts(blend, context, candidates, at),
        bandit=_bandit_parts(policy, features, knowledge, at),
        objectives=_by_objective(policy, features, knowledge, at),
    )


def _with_item(context: RequestContext, candidates: Candidates, item_id: str) -> Candidates:
    """Return the candidates and the item."""
    key = np.array([_key(item_id)], dtype=np.uint64)
    if key[0] in candidates.keys:
        return candidates
    unplaced = np.full((len(candidates.places), 1), np.int32(-1))
    row = context.item_rows(key)
    n_known = len(candidates.rows)
    at = int(np.searchsorted(candidates.keys[:n_known], key[0])) if row[0] >= 0 else len(candidates)
    return Candidates(
        rows=np.insert(candidates.rows, at, row) if row[0] >= 0 else candidates.rows,
        new_ids=candidates.new_ids if row[0] >= 0 else [*candidates.new_ids, item_id],
        keys=np.insert(candidates.keys, at, key),
        places=np.insert(candidates.places, [at], unplaced, axis=1),
    )


def _is_known(context: RequestContext, item_id: str) -> bool:
    catalogue = context.catalogue
    if catalogue.get(item_id) is not None or catalogue.is_blocked(item_id):
        return True
    return bool(context.item_rows(np.array([_key(item_id)]))[0] >= 0)


def _barred(context: RequestContext, item_id: str) -> str | None:
    request, catalogue, key = context.request, context.catalogue, _key(item_id)
    if catalogue.is_blocked(item_id):
        return "the items topic says that it is deleted or unavailable"
    if not catalogue.is_out(item_id, context.at_ms):
        return _not_out(catalogue.get(item_id), context.at_ms)
    if key in context.barred:
        return "the user met it; [recall.again] lets what was met come again"
    if item_id in (request.seed_items or ()):
        return "it is one of the seeds"
    if context.ruled is not None and (rules := context.ruled.bars(int(key))):
        return "; ".join(map(context.ruled.why_out, rules))
    return None


def _not_out(item: Item | None, at_ms: int) -> str:
    if item is None or item.created_ts is None or item.created_ts <= at_ms:
        return "its expires_ts is over"
    ahead_s = (item.created_ts - at_ms) / 1000
    return f"its created_ts is {ahead_s:,.0f} s ahead: it comes out then"


_UNDUE: Final = "gained_by_no_counts"


def _blend_parts(
    blend: BlendChannel, context: RequestContext, candidates: Candidates, at: int
) -> list[ColumnPart]:
    if blend.model is None:
        return []
    blended = blend.blended(context, candidates)
    names, columns, weights = blend.model.columns, blended.columns, blend.weights(context)
    if blended.undue.any():
        names = *names, _UNDUE
        columns = np.column_stack([columns, blended.undue])
        weights = np.append(weights, -1.0)
    return _parts(names, columns, weights, at)


def _bandit_parts(
    policy: Any, features: Features, knowledge: Knowledge, at: int
) -> list[ColumnPart]:
    if not isinstance(policy, BanditPolicy):
        return []
    estimate = policy.estimate(features, knowledge)
    if not isinstance(estimate, SharedEstimate):
        return []
    weights = estimate.posterior.expected(np.eye(len(features.names), dtype=np.float32))
    return _parts(features.names, features.values.astype(np.float64), weights, at)


def _by_objective(
    policy: Any, features: Features, knowledge: Knowledge, at: int
) -> dict[str, float]:
    if not isinstance(policy, BanditPolicy):
        return {}
    found = policy.by_objective(features, knowledge)
    return {name: float(means[at]) for name, means in found.items()}


def _parts(names: Sequence[str], columns: Floats, weights: Floats, at: int) -> list[ColumnPart]:
    """What columns add, what adds or takes most first."""
    means = columns.mean(axis=0)
    adds = weights * (columns[at] - means)
    return [
        ColumnPart(
            names[f], float(columns[at, f]), float(means[f]), float(weights[f]), float(adds[f])
        )
        for f in np.argsort(-np.abs(adds), kind="stable").tolist()
    ]


def _key(item_id: str) -> np.uint64:
    return np.uint64(id_key(item_id.encode()))
