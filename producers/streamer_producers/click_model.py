"""The world behind the simulator: who likes what at which time, known exactly.

A latent factor click model with drift. User ``u`` clicks item ``i`` shown at event time ``t`` with

    P(click | u, i, t) = sigmoid(b + s <x_u(t), y_i> + q_i + T_i(t) + S_i(t))

and 0 before ``i`` arrives, where

- ``y_i``, unit vectors near the centre of the item's category, as in mixture models of catalogues;
- ``x_u(t)``, tastes: a part that stays and a part that wanders as a stationary Ornstein-Uhlenbeck
  process of unit variance and correlation ``exp(-|dt| / drift_time)``. It is drawn by its spectral
  representation (Shinozuka & Deodatis 1991; Rahimi & Recht 2007): the spectrum of that correlation
  is a Cauchy density, so a sum of ``N_HARMONICS`` waves with Cauchy frequencies has it. That makes
  a taste a pure function of time: any instant, in any order, without a state to step;
- ``q_i``, quality: some items please everybody a little more;
- ``T_i(t)``, trends: groups of items that come into fashion and go, again and again;
- ``S_i(t)``, surges: single items that everybody wants for some minutes, one after the other.

The logistic form over a bilinear affinity is that of logistic matrix factorization (Johnson 2014).
Everything is a function of the configuration: two models with the same one are equal to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError

N_HARMONICS = 8
"""Waves a wandering taste is made of."""
CATEGORY_SPREAD = 0.3
"""Length of an item's own direction beside the one of its category, before normalization."""
AGE_MAX_S = 30 * 86_400
"""Age of the oldest item at the start."""

Rows = NDArray[np.int64]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How the simulated world is made; everything follows from it.

    Attributes
    ----------
    n_users, n_items, n_categories, n_factors
        Sizes. Few factors are learned from few events.
    seed
        Of the world and of everybody's choices; >= 0.
    start_ms
        Event time at which the world begins, ms since 1970.
    base_logit, affinity_scale, quality_scale, trend_scale
        ``b``, ``s``, the standard deviation of ``q`` and the height of a trend, in logits. The
        defaults make a random item worth about 0.07 clicks, the ten most popular ones 0.13 each and
        a user's ten best ones 0.5 each.
    drift_share
        Part of a taste's variance that wanders, 0 to 1.
    drift_time_s
        Time after which the wandering part has forgotten all but 1/e of itself.
    change_at_s
        When, after the start, tastes change all at once; None: never.
    change_share
        Share of the users whose tastes change then, 0 to 1.
    n_trends, trend_period_s
        Number of trends, and mean time between the heights of one.
    n_surges, surge_s, surge_scale
        How many items surge at any time, how long each does, and by how many logits.
    new_item_share, arrival_span_s
        Share of the items that are not there at the start (0 to 0.5), and how long after it the
        last of them has arrived.
    position_bias
        Slot ``j`` (from 0) is examined with probability ``(1 + j) ** -position_bias``: the
        position-based model (Craswell et al. 2008). 0, the default: every slot is looked at, and
        the click rate of a slate does not depend on its order.
    watch_share
        Share of the clicks that are followed by a watch event.
    n_considered
        Items a user who browses alone comes across before choosing one of them.
    browse_popularity
        How much more often these are popular ones: drawn with weight ``exp(this * quality)``.
    """

    n_users: int = 400
    n_items: int = 1_000
    n_categories: int = 8
    n_factors: int = 8
    seed: int = 0
    start_ms: int = 1_700_000_000_000
    base_logit: float = -5.2
    affinity_scale: float = 2.1
    quality_scale: float = 0.45
    trend_scale: float = 0.6
    drift_share: float = 0.3
    drift_time_s: float = 6 * 3600.0
    change_at_s: float | None = None
    change_share: float = 1.0
    n_trends: int = 6
    trend_period_s: float = 4 * 3600.0
    n_surges: int = 0
    surge_s: float = 600.0
    surge_scale: float = 3.0
    new_item_share: float = 0.1
    arrival_span_s: float = 24 * 3600.0
    position_bias: float = 0.0
    watch_share: float = 0.5
    n_considered: int = 200
    browse_popularity: float = 0.5

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises
        ------
        ConfigError
            Naming the first value that is out of its bounds.
        """
        for name in ("n_users", "n_items", "n_categories", "n_factors", "n_considered"):
            self._require(name, 1, 10_000_000)
        for name in ("seed", "start_ms", "n_trends"):
            self._require(name, 0, 2**53)
        self._require("n_surges", 0, 1_000)
        for name in ("drift_time_s", "trend_period_s", "surge_s", "arrival_span_s"):
            self._require(name, 1e-3, 1e12)
        for name in ("drift_share", "change_share", "watch_share"):
            self._require(name, 0, 1)
        for name in (
            "affinity_scale",
            "quality_scale",
            "trend_scale",
            "surge_scale",
            "position_bias",
        ):
            self._require(name, 0, 100)
        self._require("browse_popularity", -10, 10)
        self._require("base_logit", -100, 100)
        # A user who browses must come across something that exists.
        self._require("new_item_share", 0, 0.5)
        if self.change_at_s is not None:
            self._require("change_at_s", 0, 1e12)

    def _require(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise ConfigError(
                f"SimulatorConfig.{name}={value} is out of bounds; choose {low:g} to {high:g}"
            )


class ClickModel:
    """True click probabilities of rows of users and items at any time.

    Attributes
    ----------
    categories
        ``(n_items,)`` int64, the category of each item.
    quality
        ``(n_items,)`` float64, logits.
    arrival_ms
        ``(n_items,)`` int64, when each item comes into the world.
    activity
        ``(n_users,)`` float64, share of all browsing that each user does; sums to 1.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        # One stream a part, so that a change of one size leaves the other parts as they are.
        seeds = np.random.SeedSequence(config.seed).spawn(4)
        items, users, drift, trends = (np.random.default_rng(seed) for seed in seeds)
        centres = _unit(items.standard_normal((config.n_categories, config.n_factors)))
        self._make_items(items, centres)
        self._make_users(users, centres)
        self._make_drift(drift)
        self._make_trends(trends)

    def _make_items(self, rng: np.random.Generator, centres: NDArray[np.float64]) -> None:
        n = self.config.n_items
        self.categories = rng.permutation(n) % self.config.n_categories
        own = _unit(rng.standard_normal((n, self.config.n_factors)))
        self._items = _unit(centres[self.categories] + CATEGORY_SPREAD * own)
        self.quality = self.config.quality_scale * rng.standard_normal(n)
        is_new = rng.permutation(n) < int(self.config.new_item_share * n)
        when = rng.random(n)
        age_s = np.where(is_new, -when * self.config.arrival_span_s, when * AGE_MAX_S)
        self.arrival_ms = self.config.start_ms - np.floor(age_s * 1000).astype(np.int64)

    def _make_users(self, rng: np.random.Generator, centres: NDArray[np.float64]) -> None:
        self._tastes = self._draw_tastes(rng, centres)
        self._tastes_later = self._draw_tastes(rng, centres)
        self._changes = rng.random(self.config.n_users) < self.config.change_share
        activity = rng.lognormal(0.0, 0.7, self.config.n_users)
        self.activity = activity / activity.sum()

    def _draw_tastes(
        self, rng: np.random.Generator, centres: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Tastes that lean to a few categories; ``<taste, item>`` has variance about 1."""
        n, n_factors = self.config.n_users, self.config.n_factors
        liked = rng.integers(len(centres), size=(n, 2))
        weights = rng.dirichlet((1.0, 1.0), size=n)
        leaning = _unit(np.einsum("uc,ucf->uf", weights, centres[liked]))
        own = _unit(rng.standard_normal((n, n_factors)))
        tastes: NDArray[np.float64] = _unit(leaning + 0.5 * own) * np.sqrt(n_factors)
        return tastes

    def _make_drift(self, rng: np.random.Generator) -> None:
        shape = (self.config.n_users, N_HARMONICS)
        self._frequencies = rng.standard_cauchy(shape) / self.config.drift_time_s
        self._waves = rng.standard_normal((*shape, 2, self.config.n_factors)) / N_HARMONICS**0.5

    def _make_trends(self, rng: np.random.Generator) -> None:
        n_trends, n_items = self.config.n_trends, self.config.n_items
        period = self.config.trend_period_s * rng.uniform(0.5, 1.5, n_trends)
        self._trend_frequencies = np.pi / period
        self._trend_phases = rng.uniform(0.0, np.pi, n_trends)
        self._in_trend = (rng.random((n_trends, n_items)) < 0.03).astype(np.float64)

    def tastes(self, users: Rows, ts_ms: Rows) -> NDArray[np.float64]:
        """``(n, n_factors)`` tastes of ``users`` ``(n,)`` at the times ``ts_ms`` ``(n,)``."""
        after_s = (ts_ms - self.config.start_ms) / 1000.0
        stays: NDArray[np.float64] = self._tastes[users]
        if self.config.change_at_s is not None:
            changed = self._changes[users] & (after_s >= self.config.change_at_s)
            stays = np.where(changed[:, None], self._tastes_later[users], stays)
        angles = self._frequencies[users] * after_s[:, None]
        turns = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        wanders = np.einsum("uhw,uhwf->uf", turns, self._waves[users])
        share = self.config.drift_share
        mixed: NDArray[np.float64] = np.sqrt(1 - share) * stays + np.sqrt(share) * wanders
        return mixed

    def trends(self, ts_ms: Rows) -> NDArray[np.float64]:
        """``(n, n_trends)``, how much in fashion each trend is at the times ``ts_ms``: 0 to 1."""
        after_s = (ts_ms - self.config.start_ms) / 1000.0
        waves = np.cos(after_s[:, None] * self._trend_frequencies + self._trend_phases)
        # The 8th power of a cosine: high for a third of the period, else next to nothing.
        heights: NDArray[np.float64] = waves**8
        return heights

    def surging(self, ts_ms: Rows) -> Rows:
        """``(n, n_surges)`` rows of the items that surge at the times ``ts_ms`` ``(n,)``.

        Each of ``n_surges`` places is taken by another random item every ``surge_s``, at a time of
        its own.
        """
        length_ms = 1000.0 * self.config.surge_s
        places = np.arange(self.config.n_surges)
        shifts = (ts_ms - self.config.start_ms)[:, None] / length_ms + places / max(len(places), 1)
        turns = np.floor(shifts).astype(np.int64).astype(np.uint64)
        streams = mixed(np.array([self.config.seed], np.uint64)) ^ mixed(places.astype(np.uint64))
        drawn: Rows = (mixed(streams ^ turns) % np.uint64(self.config.n_items)).astype(np.int64)
        return drawn

    def probabilities(self, users: Rows, items: Rows, ts_ms: Rows) -> Probabilities:
        """True click probabilities.

        Parameters
        ----------
        users, ts_ms
            ``(n,)`` rows of users and times.
        items
            ``(n, m)`` rows of items: those shown to each user.

        Returns
        -------
        ``(n, m)`` in [0, 1]; 0 for an item that has not arrived. O(n m n_factors).
        """
        affinity = np.einsum("uf,umf->um", self.tastes(users, ts_ms), self._items[items])
        trend = np.einsum("ut,tum->um", self.trends(ts_ms), self._in_trend[:, items])
        logits = (
            self.config.base_logit
            + self.config.affinity_scale * affinity
            + self.quality[items]
            + self.config.trend_scale * trend
        )
        if self.config.n_surges:
            surges = (items[:, :, None] == self.surging(ts_ms)[:, None, :]).any(axis=2)
            logits += self.config.surge_scale * surges
        arrived = self.arrival_ms[items] <= ts_ms[:, None]
        # The sigmoid by way of tanh, which doesn't overflow.
        found: Probabilities = np.where(arrived, 0.5 + 0.5 * np.tanh(0.5 * logits), 0.0)
        return found


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The step of splitmix64 (Steele, Lea & Flood 2014): the next number's bits, well mixed."""
    z = z + GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return found


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled
