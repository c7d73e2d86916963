"""The features a decision is made from and logged with: what stands in the registry's columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.events import Request
from streamer.ranking.columns import (
    ACTIVE_USER_MF,
    AFFINITY,
    AGE,
    AGE_KNOWN,
    BIAS,
    CTR,
    EXPOSURES,
    FEATURE_RANK,
    HASHED,
    KNOWN,
    LOG_COUNT,
    MF_RANK,
    MF_SCORE,
    MF_Z,
    NEW_USER_TRENDING,
    PASSED_BY,
    TRENDING,
    TRENDING_RANK,
    TRENDING_Z,
    by_half_life,
    context_features,
    crossed,
    ranking_features,
)
from streamer.ranking.context import context_texts
from streamer.ranking.defined_features import Columns, DefinedFeatures
from streamer.ranking.recall.channels import Candidates, Situation
from streamer.ranking.time_features import time_features
from streamer.scorer.replica.arms import ArmView
from streamer.scorer.replica.items import COUNT
from streamer_models.bandits.linear_statistics import FEATURE_MAX
from streamer_models.state.id_table import id_key
from streamer_models.state.table import Keys

CTR_STRENGTH: Final = 20.0
"""Times shown that the share of all items weighs in the share of one."""
_CTR_START: Final = 0.05  # of all items, before any was shown, worth 20 times shown
_DAY_MS: Final = 86_400_000
_NEW_USER_EVENTS: Final = 8.0
PLACES: Final = 10.0
"""The place at which the rank in a channel is worth half."""


@dataclass(frozen=True, slots=True)
class Features:
    """One row a candidate.

    Attributes
    ----------
    names
        Of the columns; see :mod:`streamer.ranking.columns`.
    values
        ``(n_candidates, n_features)`` float32, within ±8. What is logged, drawn with and learned
        from are these very numbers.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> NDArray[np.float32]:
        """``(n_candidates,)`` one feature."""
        found: NDArray[np.float32] = self.values[:, self.names.index(name)]
        return found


@dataclass(frozen=True, slots=True)
class Logged:
    """What a decision was made from, as it was logged.

    Attributes
    ----------
    candidates
        Ids, one a row of ``features``.
    """

    candidates: list[str]
    features: Features

    def channel(self, rank: str) -> list[str]:
        """Ids that a channel brought, best first, by the column of its ranks."""
        column = self.features.column(rank)
        order = np.argsort(-column, kind="stable")[: np.count_nonzero(column)]
        return [self.candidates[place] for place in order.tolist()]


class FeatureMaker:
    """Computes the features of a configuration.

    Attributes
    ----------
    names
        Of the columns.
    """

    def __init__(self, config: Config) -> None:
        features = ranking_features(config)
        self.names = tuple(each.name for each in features)
        self._from_topic = [each.name for each in features if each.from_topic]
        self._defined = DefinedFeatures(config)
        self._half_lives_s = config.popularity.half_lives_s
        self._context = config.bandit.context
        self._hashed = config.bandit.context_hashed
        self._n_buckets = config.bandit.hash_buckets
        self._context_features = context_features(config)
        self._with_time = config.bandit.time_features

    def make(
        self, situation: Situation, candidates: Candidates, *, logged: Logged | None = None
    ) -> Features:
        """One row a candidate, in their order.

        Parameters
        ----------
        logged
            Columns that come from the features topic are taken from here, if it has as many rows.
        """
        keys = candidates.keys(situation.items)
        columns = _channels(situation, candidates)
        columns |= _places(candidates)
        columns |= self._counted(situation, candidates, keys)
        columns |= _about_items(situation, keys)
        columns |= _about_user(situation, columns)
        columns[PASSED_BY] = _passed_by(situation, keys)
        columns |= self._defined.columns(situation, keys, columns)
        columns |= self._about_request(situation, columns)
        if logged is not None and len(logged.candidates) == len(candidates):
            columns |= {name: logged.features.column(name) for name in self._from_topic}
        by_feature = np.empty((len(self.names), len(candidates)), dtype=np.float32)
        for row, name in zip(by_feature, self.names, strict=True):
            row[:] = columns[name]
        np.clip(by_feature, -FEATURE_MAX, FEATURE_MAX, out=by_feature)
        return Features(self.names, np.ascontiguousarray(by_feature.T))

    def _counted(self, situation: Situation, candidates: Candidates, keys: Keys) -> Columns:
        n_known, n_half_lives = len(candidates.rows), len(self._half_lives_s)
        counts = np.zeros((2, len(keys), n_half_lives))
        counts[0, :n_known] = situation.items.decayed(candidates.rows, situation.at_ms)
        counts[1], rates = _rates(situation.version.bandit.arms, keys, situation.at_ms)
        logs = np.log1p(counts) / 4
        columns: Columns = {}
        for i, half_life_s in enumerate(self._half_lives_s):
            columns[by_half_life(TRENDING, half_life_s)] = logs[0, :, i]
            columns[by_half_life(EXPOSURES, half_life_s)] = logs[1, :, i]
            columns[by_half_life(CTR, half_life_s)] = rates[:, i]
        return columns

    def _about_request(self, situation: Situation, columns: Columns) -> Columns:
        """What all candidates share, times the channels."""
        values = self._said(situation.request)
        if self._with_time:
            values |= time_features(situation)
        return {
            crossed(feature, channel): value * columns[channel]
            for feature, value in values.items()
            for channel in (MF_Z, TRENDING_Z)
        }

    def _said(self, request: Request) -> dict[str, float]:
        values = dict.fromkeys(self._context_features, 0.0)
        given = context_texts(request)
        for feature in self._context:
            field, _, value = feature.partition("=")
            values[feature] = float(given.get(field) == value)
        for field in self._hashed:
            if field in given:
                bucket = id_key(f"{field}={given[field]}".encode()) % self._n_buckets
                values[f"{HASHED}_{bucket}"] += 1.0
        return values


def _channels(situation: Situation, candidates: Candidates) -> Columns:
    items, rows = situation.items, candidates.rows
    n_known = len(rows)
    # Scores, popularity, counts, known.
    values = np.zeros((4, len(candidates)), dtype=np.float32)
    known = values[:, :n_known]
    if situation.scores is not None:
        known[0] = situation.scores[rows]
    known[1] = np.log1p(situation.trend.values(items, rows))
    known[2] = np.log1p(items.column(COUNT)[rows])
    known[3] = 1.0
    standard = standardized(values[:2])
    return {
        BIAS: 1.0,
        MF_Z: standard[0],
        TRENDING_Z: standard[1],
        MF_SCORE: values[0],
        LOG_COUNT: values[2] / 4,
        KNOWN: values[3],
    }


def _places(candidates: Candidates) -> Columns:
    """From 1 down in the order of each channel; 0 where it did not bring the candidate."""
    rows = candidates.rows
    order = np.argsort(rows)
    columns: Columns = {}
    for name, channel in (
        (MF_RANK, candidates.mf),
        (TRENDING_RANK, candidates.trending),
        (FEATURE_RANK, candidates.by_feature),
    ):
        columns[name] = 0.0
        if not len(channel):
            continue
        column = np.zeros(len(candidates), dtype=np.float32)
        at = order[np.searchsorted(rows, channel, sorter=order)]
        column[at] = PLACES / (PLACES + np.arange(len(channel)))
        columns[name] = column
    return columns


def _about_items(situation: Situation, keys: Keys) -> Columns:
    facts = situation.catalogue.facts
    created_ms = facts.created_ms(keys)
    known = created_ms >= 0
    days = np.maximum(situation.at_ms - created_ms, 0) / _DAY_MS
    return {
        AGE: np.where(known, np.log1p(days) / 4, 0.0),
        AGE_KNOWN: known.astype(np.float32),
        AFFINITY: facts.affinity(situation.seen, keys),
    }


def _about_user(situation: Situation, columns: Columns) -> Columns:
    n_events = situation.version.users.n_events(situation.user_row)
    return {
        NEW_USER_TRENDING: 2.0 ** (-n_events / _NEW_USER_EVENTS) * columns[TRENDING_Z],
        ACTIVE_USER_MF: float(np.log1p(n_events)) / 4 * columns[MF_Z],
    }


def _passed_by(situation: Situation, keys: Keys) -> NDArray[np.float64]:
    """ln(1 + how often the user was shown each item); what was taken up is no candidate."""
    shown, n_times = np.unique(
        situation.version.users.shown(situation.user_row), return_counts=True
    )
    if not len(shown):
        return np.zeros(len(keys))
    at = np.minimum(np.searchsorted(shown, keys), len(shown) - 1)
    times: NDArray[np.float64] = np.where(shown[at] == keys, n_times[at], 0).astype(np.float64)
    return np.log1p(times)


def _rates(
    arms: ArmView, keys: Keys, at_ms: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(n, n_half_lives)`` each: faded times shown, and ln of the smoothed share of positive
    outcomes over that of all items."""
    shown, positive = (np.maximum(each, 0.0) for each in arms.faded(keys, at_ms))
    all_shown, all_positive = (np.maximum(each, 0.0) for each in arms.faded_totals(at_ms))
    overall = (all_positive + _CTR_START * CTR_STRENGTH) / (all_shown + CTR_STRENGTH)
    smoothed = (positive + CTR_STRENGTH * overall) / (shown + CTR_STRENGTH)
    return shown, np.log(smoothed / overall)


def standardized(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row with zero mean and unit deviation; all zero where it tells nothing apart."""
    n = channels.shape[1]
    if not n:
        return channels
    centred = channels - channels.sum(axis=1, keepdims=True) / np.float32(n)
    deviations = np.sqrt((centred**2).sum(axis=1, keepdims=True) / np.float32(n))
    deviations[np.ptp(channels, axis=1) == 0] = np.inf
    scaled: NDArray[np.float32] = centred / deviations
    return scaled
