"""From a request to a slate: recall, features, rank, draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.id_table import id_key
from models.table import Keys, Slots
from streamer.config import ScorerConfig
from streamer.errors import ConfigError
from streamer.events import Request
from streamer.scorer.catalogue import Catalogue
from streamer.scorer.features import FeatureNames, Features
from streamer.scorer.items import COUNT, ItemView
from streamer.scorer.ranking import BlendRanker, Explorer, Greedy, Parameters, Ranker
from streamer.scorer.recall import Trend, choose_trend, recall_mf, recall_trending
from streamer.scorer.version import Version

CANDIDATES_MAX: Final = 10_000
"""Bound of the candidates of a decision."""
K_MAX: Final = 500
_CATALOGUE_LOOKED_AT: Final = 10_000
"""Items looked at for ones that nobody has met yet: some ms."""

FOR_YOU, POPULAR, NEW = "for you", "trending", "new"
"""Reasons: the channel that placed an item highest; ``new``: no feedback on it yet."""


@dataclass(frozen=True, slots=True)
class Slate:
    """An answer, and all that is needed to evaluate it.

    Attributes
    ----------
    item_ids, scores, reasons, propensities
        Of each place, best first.
    candidates, features
        Ids the slate was drawn from and what was known of them, row by row.
    seed
        Of the draw.
    """

    item_ids: list[str]
    scores: list[float]
    reasons: list[str]
    propensities: list[float]
    candidates: list[str]
    features: Features
    policy: str
    policy_parameters: Parameters
    seed: int


@dataclass(frozen=True, slots=True)
class _Candidates:
    """``rows`` have parameters, ``new_ids`` do not; best places of the rows by channel."""

    rows: Slots
    new_ids: list[str]
    mf: Slots
    trending: Slots


class Funnel:
    """Answers requests from one version each; changes no state and adds no ids.

    The slate is a function of the request, the version and the catalogue: the draw is seeded by
    the request_id. For use by one thread at a time (it remembers which rows are unavailable).

    Parameters
    ----------
    settings
        How many candidates a channel gives, and the weights of the blend.
    half_lives
        ``(n,)`` ms, of the version's decayed counts.
    ranker, explorer
        By default the blend of the settings, and the best first.

    Raises
    ------
    ConfigError
        When a decision could not hold as many candidates as the settings ask for.
    """

    def __init__(
        self,
        settings: ScorerConfig,
        half_lives: NDArray[np.int64],
        *,
        ranker: Ranker | None = None,
        explorer: Explorer | None = None,
    ) -> None:
        n_candidates = settings.candidates_mf + settings.candidates_trending
        if n_candidates > CANDIDATES_MAX - K_MAX:
            raise ConfigError(
                f"scorer.candidates_mf + scorer.candidates_trending = {n_candidates}: a decision"
                f" holds at most {CANDIDATES_MAX - K_MAX}; lower one of them"
            )
        self._settings = settings
        self._names = FeatureNames(half_lives.tolist())
        wanted_ms = round(1000 * settings.trending_half_life_s)
        self._half_life = int(np.searchsorted(half_lives, wanted_ms))
        self._ranker: Ranker = ranker or BlendRanker(
            weight_mf=settings.weight_mf, weight_trending=settings.weight_trending
        )
        self._explorer: Explorer = explorer or Greedy()
        self._availability = _Availability()

    def recommend(self, request: Request, version: Version, catalogue: Catalogue) -> Slate:
        """The slate for a request; empty while there is nothing to recommend."""
        k = request.k or self._settings.k_default
        items, users = version.items, version.users
        user_row = users.map.find_one(id_key(request.user_id.encode()))
        seen = users.history(user_row)
        allowed = self._allowed(request, items, catalogue, seen)
        factors = users.factors(user_row)
        scores = None if factors is None else items.factor_scores(factors)
        at_ms = max(request.ts, version.watermark_ms)
        trend = choose_trend(items, half_life=self._half_life, at_ms=at_ms)
        candidates = self._recall(items, scores, trend, allowed, k)
        if len(candidates.rows) < k:
            new_ids = _unmet(request, items, catalogue, seen, k - len(candidates.rows))
            candidates.new_ids.extend(new_ids)
        features = self._features(items, candidates, scores, trend, at_ms)
        ranks = self._ranker.rank(features)
        seed = id_key(request.request_id.encode()) >> 1  # messages hold 63 bits
        order, propensities = self._explorer.draw(ranks, k, seed)
        ids = [items.names[row] for row in candidates.rows.tolist()] + candidates.new_ids
        reasons = _reasons(items, candidates, order)
        return Slate(
            item_ids=[ids[place] for place in order.tolist()],
            scores=ranks[order].tolist(),
            reasons=reasons,
            propensities=propensities.tolist(),
            candidates=ids,
            features=features,
            policy=self._explorer.name,
            policy_parameters=self._ranker.parameters() | self._explorer.parameters(),
            seed=seed,
        )

    def _allowed(
        self, request: Request, items: ItemView, catalogue: Catalogue, seen: Keys
    ) -> NDArray[np.bool_]:
        """``(n_rows,)`` rows that may be in the slate."""
        allowed = self._availability.of(items, catalogue)
        if request.candidates:
            wanted = items.map.find(_keys(request.candidates))
            wanted = wanted[wanted >= 0]
            chosen = np.zeros(items.n_rows, dtype=np.bool_)
            chosen[wanted] = allowed[wanted]
            allowed = chosen
        ruled_out = items.map.find(np.concatenate([seen, _keys(request.exclude or [])]))
        allowed[ruled_out[ruled_out >= 0]] = False
        return allowed

    def _recall(
        self,
        items: ItemView,
        scores: NDArray[np.float32] | None,
        trend: Trend,
        allowed: NDArray[np.bool_],
        k: int,
    ) -> _Candidates:
        """The union of the channels; a user who is not known yet has what trends alone."""
        mf = trending = np.zeros(0, dtype=np.int32)
        if scores is not None and self._settings.candidates_mf:
            mf = recall_mf(items, scores, allowed, max(k, self._settings.candidates_mf))
        n_trending = max(self._settings.candidates_trending, 0 if len(mf) else k)
        if n_trending:
            trending = recall_trending(items, trend, allowed, n_trending)
        rows = np.union1d(mf, trending).astype(np.int32)
        # In the order of keys, which is nobody's favour, equal scores are drawn alike everywhere.
        rows = rows[np.argsort(items.keys[rows])]
        return _Candidates(rows, [], mf, trending)

    def _features(
        self,
        items: ItemView,
        candidates: _Candidates,
        scores: NDArray[np.float32] | None,
        trend: Trend,
        at_ms: int,
    ) -> Features:
        rows = candidates.rows
        n_candidates = len(rows) + len(candidates.new_ids)
        values = np.zeros((n_candidates, len(self._names)), dtype=np.float32)
        known = values[: len(rows)]
        known[:, 0] = 0 if scores is None else scores[rows]
        known[:, 1] = np.log1p(trend.values(items, rows))
        known[:, 2] = np.log1p(items.stats[rows, COUNT])
        known[:, 3] = 1.0
        known[:, 4:] = np.log1p(items.decayed(rows, at_ms))
        return Features(self._names.names, values)


class _Availability:
    """Which rows live and are available, remembered while rows and catalogue stay the same."""

    def __init__(self) -> None:
        self._made_for = (-1, -1)
        self._blocked = np.zeros(0, dtype=np.bool_)

    def of(self, items: ItemView, catalogue: Catalogue) -> NDArray[np.bool_]:
        """``(n_rows,)``, the caller's own. Only rows that are new are looked up."""
        if self._made_for != (items.generation, catalogue.revision):
            self._made_for = items.generation, catalogue.revision
            self._blocked = self._blocked[:0]
        n_known = len(self._blocked)
        if n_known < items.n_rows:
            more = catalogue.blocked(items.keys[n_known : items.n_rows])
            self._blocked = np.concatenate([self._blocked, more])
        return items.live & ~self._blocked[: items.n_rows]


def _unmet(
    request: Request, items: ItemView, catalogue: Catalogue, seen: Keys, n: int
) -> list[str]:
    """Ids without parameters, to fill a slate: the request's own, else the newest published."""
    ruled_out = {*seen.tolist(), *_keys(request.exclude or []).tolist()}
    found: dict[str, None] = {}
    for n_looked_at, item_id in enumerate(request.candidates or catalogue.newest()):
        if len(found) == n or n_looked_at == _CATALOGUE_LOOKED_AT:
            break
        key = id_key(item_id.encode())
        if key in ruled_out or catalogue.is_blocked(item_id) or items.map.find_one(key) >= 0:
            continue
        found[item_id] = None
    return list(found)


def _reasons(items: ItemView, candidates: _Candidates, order: NDArray[np.intp]) -> list[str]:
    n_known = len(candidates.rows)
    places = [
        {row: place for place, row in enumerate(channel.tolist())}
        for channel in (candidates.mf, candidates.trending)
    ]
    reasons = []
    for place in order.tolist():
        row = int(candidates.rows[place]) if place < n_known else -1
        by_mf, by_trend = (channel.get(row, items.n_rows) for channel in places)
        if row < 0 or (by_mf == items.n_rows and items.stats[row, COUNT] <= 0):
            reasons.append(NEW)
        else:
            reasons.append(FOR_YOU if by_mf <= by_trend else POPULAR)
    return reasons


def _keys(item_ids: list[str]) -> Keys:
    return np.fromiter((id_key(each.encode()) for each in item_ids), np.uint64, len(item_ids))
