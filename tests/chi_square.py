"""Stated probabilities of slates against how often each slate came: Pearson's chi-square test."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

EXPECTED_MIN = 10.0
"""Cells expected less often are thrown together."""
DEVIATIONS_MAX = 3.7
"""Of a standard normal: one run in 10,000 would fail by chance, and seeds are fixed."""


def assert_frequencies(
    orders: NDArray[np.intp], propensities: NDArray[np.float64], *, mass_min: float = 0.99
) -> None:
    """Assert that each slot's item came as often as stated, given the items of the slots before.

    Parameters
    ----------
    orders, propensities
        ``(n_draws, k)`` of draws from one set of candidates.
    mass_min
        Stated probabilities of what was seen after the same slots must add up to 1, and after few
        draws to not less than this.
    """
    for slot in range(orders.shape[1]):
        counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        stated: dict[tuple[int, ...], dict[int, float]] = defaultdict(dict)
        for row, propensity in zip(
            orders[:, : slot + 1].tolist(), propensities[:, slot], strict=True
        ):
            *prefix, item = row
            counts[tuple(prefix)][item] += 1
            known = stated[tuple(prefix)].setdefault(item, propensity)
            assert known == propensity, (row, known, propensity)
        deviations, freedom = 0.0, 0
        for prefix, items in stated.items():
            n = counts[prefix].total()
            mass = sum(items.values())
            assert mass < 1 + 1e-9, (prefix, items)
            if n * min(items.values()) > EXPECTED_MIN:
                assert mass > mass_min, (prefix, items)
            observed = np.array([counts[prefix][item] for item in items] + [0.0])
            expected = n * np.array([*items.values(), max(1 - mass, 0.0)])
            rare = expected < EXPECTED_MIN
            observed = np.append(observed[~rare], observed[rare].sum())
            expected = np.append(expected[~rare], expected[rare].sum())
            kept = expected >= EXPECTED_MIN
            if kept.sum() > 1:
                deviations += float(((observed - expected)[kept] ** 2 / expected[kept]).sum())
                freedom += int(kept.sum()) - 1
        assert _normal(deviations, freedom) < DEVIATIONS_MAX, (slot, deviations, freedom)


def _normal(chi_square: float, freedom: int) -> float:
    """Wilson & Hilferty (1931): the cube root of chi-square is nearly normal."""
    if freedom == 0:
        return 0.0
    spread = 2 / (9 * freedom)
    return float(((chi_square / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5)
