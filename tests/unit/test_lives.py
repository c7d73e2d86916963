"""Whatever happens to its learners, what a store holds is what its schedule says."""

from __future__ import annotations

import pytest

from tests.lives import Life


@pytest.mark.parametrize("seed", [0, 14, 15, 31])
def test_any_life_of_its_learners_is_confirmed_by_the_schedule(seed: int) -> None:
    life = Life(seed, **{"join.feedback_max": 20})
    life.live_through(80)
    assert life.problems() == []
    assert life.n_deaths + life.n_fenced > 0
