"""From a request to a slate: recall, features, the policy's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.errors import ConfigError
from streamer.events import Request
from streamer.ranking.columns import FEATURE_RANK
from streamer.ranking.features import FeatureMaker, Features, Logged
from streamer.ranking.known_features import NOTHING_KNOWN, FeatureSource
from streamer.ranking.recall.channels import (
    Candidates,
    Situation,
    choose_trend,
    recall_by_feature,
    recall_mf,
    recall_trending,
)
from streamer.scorer.policy.evidence import Knowledge
from streamer.scorer.policy.policies import BanditPolicy, Choice, Parameters, Policy
from streamer.scorer.replica.columns import TOP_MIN
from streamer.scorer.replica.items import COUNT, ItemView
from streamer.scorer.replica.version import Version
from streamer_models.state.id_table import id_key, keys_of
from streamer_models.state.table import Slots

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
    item_ids, expected, reasons, propensities, explored
        Of each place, best first; ``expected`` are rewards.
    candidates, features
        Ids the slate was drawn from and what was known of them, row by row.
    policy, policy_parameters, policy_state, seed
        What drew it; with the features, enough to draw it again.
    """

    item_ids: list[str]
    expected: list[float]
    reasons: list[str]
    propensities: list[float]
    explored: list[bool]
    candidates: list[str]
    features: Features
    policy: str
    policy_parameters: Parameters
    policy_state: bytes
    seed: int


class Funnel:
    """Answers requests from one version each; changes no state and adds no ids.

    The slate is a function of the request, the version, the catalogue and what is known of the
    features: the draw is seeded by the request_id. For use by one thread at a time (it remembers
    which rows are unavailable, and the policy what it solved).

    Parameters
    ----------
    config
        How many candidates a channel gives, the features, the policy.
    policy
        By default that of the configuration.

    Raises
    ------
    ConfigError
        When a decision could not hold as many candidates as the settings ask for.
    """

    def __init__(self, config: Config, *, policy: Policy | None = None) -> None:
        settings = config.scorer
        n_channels = 2 if settings.trending_feature else 1
        n_candidates = (
            settings.candidates_mf
            + n_channels * settings.candidates_trending
            + settings.candidates_random
        )
        if n_candidates > CANDIDATES_MAX - K_MAX:
            raise ConfigError(
                f"scorer.candidates_mf + _trending + _random = {n_candidates}: a decision holds at"
                f" most {CANDIDATES_MAX - K_MAX}; lower one of them"
            )
        self._settings = settings
        self._trending_feature = _trending_feature(config)
        self._half_life = config.popularity.half_lives_s.index(settings.trending_half_life_s)
        self._features = FeatureMaker(config)
        self._policy: Policy = policy or BanditPolicy(config)
        self._availability = _Availability()

    def recommend(
        self,
        request: Request,
        version: Version,
        catalogue: Catalogue,
        *,
        known: FeatureSource = NOTHING_KNOWN,
        logged: Logged | None = None,
    ) -> Slate:
        """The slate for a request; empty while there is nothing to recommend.

        Parameters
        ----------
        known
            What the features topic says, which may not change meanwhile.
        logged
            Of a decision that is made again: what the topic said then is taken from it.
        """
        k = request.k or self._settings.k_default
        situation = self._situation(request, version, catalogue, known)
        seed = id_key(request.request_id.encode()) >> 1  # messages hold 63 bits
        candidates = self._recall(situation, k, seed, logged)
        features = self._features.make(situation, candidates, logged=logged)
        knowledge = Knowledge(version.bandit, candidates.keys(version.items), situation.at_ms)
        choice = self._policy.choose(features, knowledge, k, seed)
        return self._slate(version.items, candidates, features, choice, seed)

    def _situation(
        self, request: Request, version: Version, catalogue: Catalogue, known: FeatureSource
    ) -> Situation:
        items, users = version.items, version.users
        user_row = users.map.find_one(id_key(request.user_id.encode()))
        factors = users.factors(user_row)
        at_ms = max(request.ts, version.watermark_ms)
        return Situation(
            request=request,
            version=version,
            catalogue=catalogue,
            user_row=user_row,
            seen=users.history(user_row),
            scores=None if factors is None else items.factor_scores(factors),
            trend=choose_trend(items, half_life=self._half_life, at_ms=at_ms),
            at_ms=at_ms,
            known=known,
        )

    def _slate(
        self,
        items: ItemView,
        candidates: Candidates,
        features: Features,
        choice: Choice,
        seed: int,
    ) -> Slate:
        ids = candidates.ids(items)
        return Slate(
            item_ids=[ids[place] for place in choice.order.tolist()],
            expected=choice.expected[choice.order].tolist(),
            reasons=_reasons(items, candidates, choice.order),
            propensities=choice.propensities.tolist(),
            explored=choice.explored.tolist(),
            candidates=ids,
            features=features,
            policy=self._policy.name,
            policy_parameters=self._policy.parameters,
            policy_state=choice.state,
            seed=seed,
        )

    def _allowed(self, situation: Situation) -> NDArray[np.bool_]:
        """``(n_rows,)`` rows that may be in the slate."""
        request, items = situation.request, situation.items
        allowed = self._availability.of(items, situation.catalogue)
        if request.candidates:
            wanted = items.map.find(keys_of(request.candidates))
            wanted = wanted[wanted >= 0]
            chosen = np.zeros(items.n_rows, dtype=np.bool_)
            chosen[wanted] = allowed[wanted]
            allowed = chosen
        excluded = keys_of(request.exclude or [])
        ruled_out = items.map.find(np.concatenate([situation.seen, excluded]))
        allowed[ruled_out[ruled_out >= 0]] = False
        return allowed

    def _recall(self, situation: Situation, k: int, seed: int, logged: Logged | None) -> Candidates:
        """The union of the channels; a user who is not known yet lacks the factorization's."""
        items, allowed = situation.items, self._allowed(situation)
        mf = trending = np.zeros(0, dtype=np.int32)
        if situation.scores is not None and self._settings.candidates_mf:
            n_mf = max(k, self._settings.candidates_mf)
            mf = recall_mf(items, situation.scores, allowed, n_mf)
        n_trending = max(self._settings.candidates_trending, 0 if len(mf) else k)
        if n_trending:
            trending = recall_trending(items, situation.trend, allowed, n_trending)
        by_feature = self._recalled_by_feature(situation, allowed, logged)
        drawn, new_ids = self._drawn(situation, allowed, seed)
        rows = np.unique(np.concatenate([mf, trending, by_feature, drawn]))
        # In the order of keys, which is nobody's favour, equal scores are drawn alike everywhere.
        rows = rows[np.argsort(items.keys[rows])]
        if len(rows) + len(new_ids) < k:
            new_ids = _unmet(situation, k - len(rows))
        return Candidates(rows, new_ids, mf, trending, by_feature)

    def _recalled_by_feature(
        self, situation: Situation, allowed: NDArray[np.bool_], logged: Logged | None
    ) -> Slots:
        """What the best values of ``scorer.trending_feature`` bring."""
        feature, n = self._trending_feature, self._settings.candidates_trending
        if feature is None or not n:
            return np.zeros(0, dtype=np.int32)
        n_looked_at = max(n, TOP_MIN)
        if feature.held_by == "learner":
            # As of the version, so that it is looked for once for all requests to it.
            version = situation.version
            keys = version.decayed.top(feature.name, n_looked_at, version.watermark_ms)
        elif logged is not None:
            keys = keys_of(logged.channel(FEATURE_RANK))
        else:
            keys = situation.known.top(feature.name, n_looked_at, situation.at_ms)
        return recall_by_feature(situation.items, keys, allowed, n)

    def _drawn(
        self, situation: Situation, allowed: NDArray[np.bool_], seed: int
    ) -> tuple[Slots, list[str]]:
        """Items of the catalogue at random: rows, and ids of those that nobody has met yet.

        Without them nothing would ever be shown but what had feedback before.
        """
        n = self._settings.candidates_random
        if not n or situation.request.candidates:
            return np.zeros(0, dtype=np.int32), []
        ids = situation.catalogue.drawn(n, seed)
        keys = keys_of(ids)
        rows = situation.items.map.find(keys)
        ruled_out = _ruled_out(situation)
        new_ids = [
            item_id
            for item_id, key, row in zip(ids, keys.tolist(), rows.tolist(), strict=True)
            if row < 0 and key not in ruled_out and not situation.catalogue.is_blocked(item_id)
        ]
        known = rows[rows >= 0]
        return known[allowed[known]], new_ids


def _trending_feature(config: Config) -> FeatureDefinition | None:
    by = config.scorer.trending_feature
    return next((each for each in feature_definitions(config) if each.name == by), None)


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


def _unmet(situation: Situation, n: int) -> list[str]:
    """Ids without parameters, to fill a slate: the request's own, else the newest published."""
    request, items, catalogue = situation.request, situation.items, situation.catalogue
    ruled_out = _ruled_out(situation)
    found: dict[str, None] = {}
    for n_looked_at, item_id in enumerate(request.candidates or catalogue.newest()):
        if len(found) == n or n_looked_at == _CATALOGUE_LOOKED_AT:
            break
        key = id_key(item_id.encode())
        if key in ruled_out or catalogue.is_blocked(item_id) or items.map.find_one(key) >= 0:
            continue
        found[item_id] = None
    return list(found)


def _ruled_out(situation: Situation) -> set[int]:
    """Keys of items that the user has met of late, or that the request excludes."""
    return {*situation.seen.tolist(), *keys_of(situation.request.exclude or []).tolist()}


def _reasons(items: ItemView, candidates: Candidates, order: NDArray[np.intp]) -> list[str]:
    n_known = len(candidates.rows)
    places = [
        {row: place for place, row in enumerate(channel.tolist())}
        for channel in (candidates.mf, candidates.trending, candidates.by_feature)
    ]
    reasons = []
    for place in order.tolist():
        row = int(candidates.rows[place]) if place < n_known else -1
        by_mf, *by_trends = (channel.get(row, items.n_rows) for channel in places)
        if row < 0 or (by_mf == items.n_rows and items.column(COUNT)[row] <= 0):
            reasons.append(NEW)
        else:
            reasons.append(FOR_YOU if by_mf <= min(by_trends) else POPULAR)
    return reasons
