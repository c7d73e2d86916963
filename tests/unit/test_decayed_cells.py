"""Forward decay in cells, for everyone who uses it: the naive sum, whatever the order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer_models.bandits.arm_counts import ArmCounts
from streamer_models.bandits.bandit import N_RATES, _amend_rates
from streamer_models.bandits.linear_statistics import (
    FADING_UNIT,
    amend_fading,
    fading_statistics,
    statistics_width,
)
from streamer_models.bandits.objectives import _count
from streamer_models.counters.decay import (
    VALUE_MAX,
    add_counted,
    add_decayed,
    decayed_values,
    forward_weights,
)
from streamer_models.state.decayed_cells import (
    CELLS_WIDTH,
    EPOCH_HALF_LIVES,
    MANTISSA_MAX,
    WEIGHT_BITS,
    add_to_counter,
    log_of_counter,
    whole,
)
from streamer_models.state.table import Merge, TableSpec, fold

NOW_MS = 1_700_000_000_000
X = (1.0, -0.25)
"""Features of every example."""
Cells = NDArray[np.int64]
Floats = NDArray[np.float64]


class Changes(NamedTuple):
    """Outcomes brought from ``before`` to ``after``, NaN: none, in columns."""

    ts_ms: NDArray[np.int64]
    before: Floats
    after: Floats

    def at(self, index: Sequence[int] | NDArray[np.intp]) -> Changes:
        rows = np.array(index, np.intp)
        return Changes(self.ts_ms[rows], self.before[rows], self.after[rows])


@dataclass(frozen=True, slots=True)
class User:
    """Someone who keeps one row of cells.

    Attributes
    ----------
    learn
        (cells of one row, changes, half-life): in place.
    amounts
        Reward → what an outcome adds to each number; none for NaN.
    takes_back
        Whether it brings an outcome from ``before`` to ``after``; otherwise ``after`` comes anew.
    """

    width: int
    learn: Callable[[Cells, Changes, int], None]
    read: Callable[[Cells, int, int], Floats]
    amounts: Callable[[float], Sequence[float]]
    takes_back: bool
    unit: float = 1.0


def read_counters(cells: Cells, half_life_ms: int, at_ms: int) -> Floats:
    half_lives = np.full(cells.shape[1] // CELLS_WIDTH, half_life_ms)
    values: Floats = decayed_values(cells, half_lives, at_ms)[0]
    return values


def learn_popularity(cells: Cells, changes: Changes, half_life_ms: int) -> None:
    rows = np.zeros(len(changes.ts_ms), np.int32)
    rewards = changes.after.astype(np.float32)
    add_decayed(cells, rows, changes.ts_ms, rewards, np.array([half_life_ms]))


def learn_features(cells: Cells, changes: Changes, half_life_ms: int) -> None:
    n = len(changes.ts_ms)
    counters = np.array([[1, 0, 0], [1, 0, 1]])  # how many events of type 0, and their values
    dated = forward_weights(changes.ts_ms, np.array([half_life_ms]))
    types = np.zeros(n, np.int8)
    add_counted(cells, np.zeros(n, np.int32), np.arange(n), types, changes.after, *dated, counters)


def learn_rates(cells: Cells, changes: Changes, half_life_ms: int) -> None:
    rows = np.zeros(len(changes.ts_ms), np.int32)
    half_lives = np.array([half_life_ms])
    _amend_rates(cells, rows, changes.before, changes.after, changes.ts_ms, half_lives)


def learn_gains(cells: Cells, changes: Changes, half_life_ms: int) -> None:
    rows = np.zeros(len(changes.ts_ms), np.int32)
    before, after = changes.before[:, None], changes.after[:, None]
    _count(cells, rows, before, after, changes.ts_ms, half_life_ms)


def learn_statistics(cells: Cells, changes: Changes, half_life_ms: int) -> None:
    n = len(changes.ts_ms)
    x = np.tile(np.array(X, np.float32), (n, 1))
    rows = np.zeros(n, np.int32)
    amend_fading(cells, rows, x, changes.before, changes.after, changes.ts_ms, half_life_ms)


def read_statistics(cells: Cells, half_life_ms: int, at_ms: int) -> Floats:
    found = fading_statistics(cells[0], len(X), half_life_ms=half_life_ms, at_ms=at_ms)
    upper = found.a[np.triu_indices(len(X))]
    return np.array([found.n, found.reward_squares, *found.b, *upper])


def learn_arms(cells: Cells, changes: Changes, half_life_ms: int) -> None:
    counts = ArmCounts(arms_max=1, half_life_s=half_life_ms / 1000)
    arms = np.ones(len(changes.ts_ms), np.uint64)
    counts.amend(arms, changes.before, changes.after, changes.ts_ms)
    _, rows = counts.snapshot()
    if len(rows):
        cells[:] = rows


USERS = {
    "popularity": User(
        CELLS_WIDTH, learn_popularity, read_counters, lambda r: [r] if r > 0 else [0.0], False
    ),
    "features": User(
        2 * CELLS_WIDTH,
        learn_features,
        read_counters,
        lambda r: [1.0, 0.0 if np.isnan(r) else r],
        False,
    ),
    "rates": User(
        N_RATES * CELLS_WIDTH, learn_rates, read_counters, lambda r: [1.0, float(r > 0)], True
    ),
    "gains": User(CELLS_WIDTH, learn_gains, read_counters, lambda r: [r] if r > 0 else [0.0], True),
    "statistics": User(
        CELLS_WIDTH * statistics_width(len(X)),
        learn_statistics,
        read_statistics,
        lambda r: [1, r * r, r * X[0], r * X[1], X[0] ** 2, X[0] * X[1], X[1] ** 2],
        True,
        FADING_UNIT,
    ),
    "arms": User(
        3 * CELLS_WIDTH,
        learn_arms,
        lambda cells, half_life_ms, at_ms: FADING_UNIT * read_counters(cells, half_life_ms, at_ms),
        lambda r: [1.0, float(r > 0), r],
        True,
        FADING_UNIT,
    ),
}

rewards = st.sampled_from([1.0, 0.0, 2.5, -1.0, -0.375, 1_000.0]) | st.floats(-10, 10, width=32)
outcomes = st.tuples(
    st.floats(0, 3 * EPOCH_HALF_LIVES),  # half-lives before now
    rewards,
    st.none() | st.just(np.nan) | rewards,  # stays, is taken back, or is amended
)


def changes_of(
    user: User, given_: Sequence[tuple[float, float, float | None]], half_life_ms: int, now_ms: int
) -> Changes:
    """Every outcome comes; some are amended or taken back afterwards."""
    rows: list[tuple[int, float, float]] = []
    for age, first, then in given_:
        ts_ms = now_ms - int(age * half_life_ms)
        rows.append((ts_ms, np.nan, first))
        if then is not None and user.takes_back:
            rows.append((ts_ms, first, then))
    ts_ms_, before, after = zip(*rows, strict=True)
    return Changes(np.array(ts_ms_), np.array(before), np.array(after))


def naive(user: User, changes: Changes, half_life_ms: int, at_ms: int) -> tuple[Floats, Floats]:
    """The sums in floats, and the bound that is stated: 2^-13 units an amount, and 2^-20 of it."""
    n_numbers = len(user.amounts(1.0))
    sums, bound = np.zeros(n_numbers), np.zeros(n_numbers)
    for ts_ms, before, after in zip(*changes, strict=True):
        for reward, sign in ((before, -1.0), (after, 1.0)):
            if sign < 0 and (np.isnan(reward) or not user.takes_back):
                continue
            if np.isnan(reward) and user.takes_back:
                continue
            amounts = np.array(user.amounts(reward), np.float64)
            sums += sign * amounts * 2.0 ** ((ts_ms - at_ms) / half_life_ms)
            bound += user.unit * 2.0**-13 + np.abs(amounts) * (2.0**-EPOCH_HALF_LIVES + 1e-12)
    return sums, bound


def cells_of(user: User, changes: Changes, half_life_ms: int) -> Cells:
    cells = np.zeros((1, user.width), np.int64)
    user.learn(cells, changes, half_life_ms)
    return cells


@pytest.mark.parametrize("name", USERS)
@settings(max_examples=60)
@given(data=st.data())
def test_every_user_has_the_naive_sum_in_any_order_and_over_any_partitions(
    name: str, data: st.DataObject
) -> None:
    user = USERS[name]
    half_life_ms = data.draw(st.sampled_from([1, 1_000, 90_000, 86_400_000]))
    now_ms = NOW_MS + data.draw(st.integers(0, EPOCH_HALF_LIVES * 90_000))
    changes = changes_of(
        user, data.draw(st.lists(outcomes, min_size=1, max_size=30)), half_life_ms, now_ms
    )
    n = len(changes.ts_ms)
    in_time = cells_of(user, changes.at(np.argsort(changes.ts_ms, kind="stable")), half_life_ms)

    order = data.draw(st.permutations(range(n)))  # late events, and take-backs that come first
    np.testing.assert_array_equal(cells_of(user, changes.at(order), half_life_ms), in_time)

    parts = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    spec = TableSpec("cells", "item", Merge.DECAYED, "i8", user.width)
    merged = np.zeros_like(in_time)
    for part in data.draw(st.permutations(range(4))):
        own = [i for i in order if parts[i] == part]
        if own:
            learned = cells_of(user, changes.at(own), half_life_ms)
            fold(spec, merged, np.zeros(1, np.int32), learned)
    np.testing.assert_array_equal(merged, in_time)

    at_ms = int(changes.ts_ms.max()) + data.draw(st.integers(0, 2 * half_life_ms))
    expected, bound = naive(user, changes, half_life_ms, at_ms)
    found = user.read(in_time, half_life_ms, at_ms)
    assert (np.abs(found - expected) <= bound).all(), (found - expected, bound)


@pytest.mark.parametrize("name", [name for name, user in USERS.items() if user.takes_back])
def test_what_is_taken_back_leaves_nothing(name: str) -> None:
    user = USERS[name]
    ts_ms = NOW_MS - 7_000 * np.arange(40)
    rewards_ = np.linspace(-3, 3, 40)
    nothing = np.full(40, np.nan)
    both = Changes(
        np.concatenate([ts_ms, ts_ms]),
        np.concatenate([nothing, rewards_]),
        np.concatenate([rewards_, nothing]),
    )
    for order in (np.arange(80), np.arange(80)[::-1]):
        assert not cells_of(user, both.at(order), 60_000)[:, 1::2].any()


@settings(max_examples=60)
@given(data=st.data())
def test_logarithms_of_counters_differ_as_those_of_their_values(data: st.DataObject) -> None:
    user, half_life_ms = USERS["popularity"], 1_000
    given_ = st.lists(outcomes.filter(lambda each: each[0] < EPOCH_HALF_LIVES - 1), max_size=8)
    logs, values = [], []
    for _ in range(2):
        cells = np.zeros((1, CELLS_WIDTH), np.int64)
        if drawn := data.draw(given_):
            cells = cells_of(user, changes_of(user, drawn, half_life_ms, NOW_MS), half_life_ms)
        logs.append(log_of_counter(cells[0], 0))
        values.append(float(read_counters(cells, half_life_ms, NOW_MS)[0]))
        assert (logs[-1] == -np.inf) == (values[-1] == 0)
    if min(values) > 0:
        assert logs[0] - logs[1] == pytest.approx(np.log2(values[0] / values[1]), abs=1e-6)


def test_a_cell_stops_at_its_bound_and_does_not_overflow() -> None:
    half_life_ms = 1_000
    length = half_life_ms * EPOCH_HALF_LIVES
    last_ms = NOW_MS // length * length + length - 1  # where an amount weighs most
    for sign in (1, -1):
        largest = sign * VALUE_MAX * 2.0 ** (WEIGHT_BITS + EPOCH_HALF_LIVES)
        row = np.zeros(CELLS_WIDTH, np.int64)
        epoch = last_ms // length
        for n in range(1, 3_000):
            add_to_counter(row, 0, epoch, whole(largest))
            if n == 1_000:  # as many as are stated fit
                assert row[2 * (epoch & 1) + 1] == n * int(largest)
        assert set(row.tolist()) == {0, epoch, sign * MANTISSA_MAX}
        spec = TableSpec("cells", "item", Merge.DECAYED, "i8", CELLS_WIDTH)
        whole_row = np.zeros((1, CELLS_WIDTH), np.int64)
        fold(spec, whole_row, np.zeros(9, np.int32), np.tile(row, (9, 1)))
        np.testing.assert_array_equal(whole_row[0], row)
        value = decayed_values(whole_row, np.array([half_life_ms]), last_ms)[0, 0]
        assert value == pytest.approx(sign * 2.0**30, rel=1e-3)
