"""Examples for linear bandits, in columns, and brute force to compare with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.table import Keys

Floats = NDArray[np.float64]
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


class Columns(NamedTuple):
    """Changes of outcomes; the fields are the arguments of ``amend``."""

    contexts: Floats
    arms: Keys
    before: Floats
    after: Floats
    ts_ms: NDArray[np.int64]

    def at(self, index: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
        return Columns._make(column[index] for column in self)


def joined(*parts: Columns) -> Columns:
    return Columns._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def first_outcomes(n: int, n_features: int, *, n_arms: int = 5, seed: int = 0) -> Columns:
    """Clicks in two days, in any order; the features are float32 numbers, the first one is 1."""
    rng = np.random.default_rng(seed)
    contexts = rng.normal(size=(n, n_features)).clip(-4, 4).astype(np.float32).astype(np.float64)
    contexts[:, 0] = 1.0
    arms = rng.integers(1, 1 + n_arms, n).astype(np.uint64)
    clicks = (rng.random(n) < 1 / (1 + np.exp(1 - contexts[:, -1]))).astype(np.float64)
    ts_ms = NOW_MS - rng.integers(0, 2 * DAY_MS, n)
    return Columns(contexts, arms, np.full(n, np.nan), clicks, ts_ms)


def with_amendments(first: Columns, *, seed: int = 1) -> Columns:
    """The examples, then another outcome for every third and none for every fifth of the rest."""
    rng = np.random.default_rng(seed)
    n = len(first.after)
    amended, withdrawn = np.arange(0, n, 3), np.arange(1, n, 15)
    other = rng.choice([-0.5, 2.0, 3.25], len(amended))
    gone = np.full(len(withdrawn), np.nan)
    changes = (
        first,
        first.at(amended)._replace(before=first.after[amended], after=other),
        first.at(withdrawn)._replace(before=first.after[withdrawn], after=gone),
    )
    return joined(*changes)


def settled(changes: Columns) -> Columns:
    """First outcomes alone that come to the same: each example once, with its last outcome."""
    last = {row.tobytes(): i for i, row in enumerate(changes.contexts)}
    kept = changes.at(np.array(sorted(last.values()), dtype=np.intp))
    kept = kept.at(~np.isnan(kept.after))
    return kept._replace(before=np.full(len(kept.after), np.nan))


def ridge(
    examples: Columns, *, prior_strength: float = 1.0, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """A and ``A⁻¹ Σ r x`` of first outcomes."""
    x = examples.contexts
    weights = np.ones(len(x)) if weights is None else weights
    prior: Floats = prior_strength * np.eye(x.shape[1])
    a: Floats = np.asarray((x * weights[:, None]).T @ x + prior, dtype=np.float64)
    mean: Floats = np.asarray(np.linalg.solve(a, (x * weights[:, None]).T @ examples.after))
    return a, mean
