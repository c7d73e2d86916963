"""Window arithmetic on examples small enough to be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from streamer_models.windows.distinct import PaneSketches, Sketch, distinct
from streamer_models.windows.panes import UNIT, Closed, PaneWindow, as_amounts, fading_window
from streamer_models.windows.sessions import SessionSums
from streamer_models.windows.sums import PaneSums

MINUTE = 60_000


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def ones(n: int) -> np.ndarray:
    return as_amounts(np.ones((n, 1)))


def sums(window: PaneWindow, *, lateness_ms: int = 0, cells_max: int = 1_000) -> PaneSums:
    return PaneSums(window, n_measures=1, lateness_ms=lateness_ms, cells_max=cells_max)


def read(closed: list[Closed]) -> list[tuple[int, dict[int, float], list[int]]]:
    """(end, key → sum, forgotten) of each window's end; 0 where it has no keys."""
    return [
        (
            int(each.end_ms[0]) if len(each.end_ms) else 0,
            dict(zip(each.rows.tolist(), each.sums[:, 0].tolist(), strict=True)),
            each.forgotten.tolist(),
        )
        for each in closed
    ]


def test_a_tumbling_window_counts_each_event_once() -> None:
    counted = sums(PaneWindow(10, 10))
    assert counted.add(ints(1, 1, 2), ints(3, 9, 10), ones(3)).all()
    assert read(list(counted.close(19))) == [(10, {1: 2.0}, [])]
    # The key that is not in the next window is forgotten at that window's end.
    assert read(list(counted.close(20))) == [(20, {2: 1.0}, [1])]
    assert read(list(counted.close(1_000))) == [(0, {}, [2])]
    assert counted.n_cells == 0


def test_a_hopping_window_counts_an_event_in_each_window_it_is_in() -> None:
    counted = sums(PaneWindow(30, 10))
    counted.add(ints(7, 7), ints(5, 25), ones(2))
    assert read(list(counted.close(100))) == [
        (10, {7: 1.0}, []),
        (20, {7: 1.0}, []),
        (30, {7: 2.0}, []),
        (40, {7: 1.0}, []),
        (50, {7: 1.0}, []),
        (0, {}, [7]),
    ]


def test_a_fading_window_weighs_by_the_age_of_the_event_itself() -> None:
    counted = sums(fading_window(100, 10))
    counted.add(ints(1, 1), ints(0, 13), ones(2))
    (first, second, *_) = read(list(counted.close(20)))
    assert first[1][1] == pytest.approx(2**-0.1, abs=2e-6)
    assert second[1][1] == pytest.approx(2**-0.2 + 2**-0.07, abs=2e-6)


def test_a_window_stays_open_for_the_lateness_and_no_longer() -> None:
    counted = sums(PaneWindow(10, 10), lateness_ms=5)
    counted.add(ints(1), ints(2), ones(1))
    assert not list(counted.close(14))
    assert counted.add(ints(1), ints(9), ones(1)).all()
    assert read(list(counted.close(15))) == [(10, {1: 2.0}, [])]
    assert counted.add(ints(1, 1), ints(9, 10), ones(2)).tolist() == [False, True]
    assert counted.n_late == 1


def test_beyond_the_bound_sums_are_refused_and_counted() -> None:
    counted = sums(PaneWindow(10, 10), cells_max=3)
    assert counted.add(ints(1, 2, 1, 1), ints(1, 2, 3, 4), ones(4)).tolist() == [True] * 3 + [False]
    # Three events were two sums, so there is room for one more.
    assert counted.add(ints(3, 4), ints(1, 1), ones(2)).tolist() == [True, False]
    assert (counted.n_refused, counted.n_cells) == (2, 3)


def test_what_left_its_window_is_forgotten_though_later_events_have_come_already() -> None:
    rows, ts_ms = ints(1, 2, 2, 1), ints(1, 2, 11, 25)
    at_once, in_turn = sums(PaneWindow(10, 10)), sums(PaneWindow(10, 10))
    at_once.add(rows, ts_ms, ones(4))
    closed = list(at_once.close(40))
    assert read(closed)[1] == (20, {2: 1.0}, [1])
    assert [each.left.tolist() for each in closed] == [[], [], [2], [1]]
    one_by_one = []
    for row, ts in zip(rows, ts_ms, strict=True):
        one_by_one += list(in_turn.close(int(ts)))
        in_turn.add(ints(row), ints(ts), ones(1))
    assert read(one_by_one + list(in_turn.close(40))) == read(closed)
    sketches = PaneSketches(PaneWindow(10, 10), lateness_ms=0, cells_max=100)
    sketches.add(rows, ts_ms // 10, ["a", "b", "c", "d"])
    assert [each.forgotten.tolist() for each in sketches.close(40)] == [[], [1], [2], [1]]


def test_a_long_silence_costs_nothing() -> None:
    counted = sums(PaneWindow(10, 1))
    counted.add(ints(1, 1), ints(5, 10**12), ones(2))
    closed = read(list(counted.close(10**12 + 5)))
    # Ten windows each, the second event's up to now; forgetting comes with the next end.
    assert closed[10] == (0, {}, [1])
    assert len(closed) == 10 + 1 + 5
    assert closed[-1] == (10**12 + 5, {1: 1.0}, [])


def test_what_is_restored_closes_as_if_it_had_never_left() -> None:
    window = PaneWindow(20, 10)
    one, other = sums(window), sums(window)
    rows, ts_ms = ints(1, 2, 1), ints(1, 12, 13)
    one.add(rows, ts_ms, ones(3))
    other.restore(rows, window.panes(ts_ms), window.weighed(ts_ms, ones(3)))
    assert read(list(one.close(50))) == read(list(other.close(50)))


def test_amounts_are_cut_where_sums_could_overflow() -> None:
    values = np.array([np.inf, -1e300, np.nan, 0.5])
    assert (as_amounts(values) * UNIT).tolist() == [1e9, -1e9, 0.0, 0.5]


@pytest.mark.parametrize(("length", "hop"), [(10, 3), (10, 0), (10, 20), (10**9, 1)])
def test_a_window_that_cant_be_is_refused(length: int, hop: int) -> None:
    with pytest.raises(ValueError, match="hop"):
        PaneWindow(length, hop)


# --- sessions ---------------------------------------------------------------------------------


def sessions(gap_ms: int = 10, *, lateness_ms: int = 0, sessions_max: int = 100) -> SessionSums:
    return SessionSums(gap_ms, n_measures=1, lateness_ms=lateness_ms, sessions_max=sessions_max)


def test_a_session_ends_a_gap_after_its_last_event() -> None:
    counted = sessions()
    counted.add(ints(1, 1, 1, 2), ints(0, 9, 19, 5), ones(4))
    (closed,) = counted.close(18)
    assert read([closed]) == [(15, {2: 1.0}, [])]
    # 9 and 19 lie a whole gap apart: two sessions.
    (closed,) = counted.close(29)
    assert closed.start_ms.tolist() == [0, 19]
    assert closed.end_ms.tolist() == [19, 29]
    assert (closed.sums[:, 0]).tolist() == [2.0, 1.0]
    assert counted.n_cells == 0


def test_a_late_event_joins_two_sessions() -> None:
    counted = sessions(lateness_ms=20)
    counted.add(ints(1, 1), ints(0, 15), ones(2))
    assert not list(counted.close(25))
    assert counted.n_cells == 2
    counted.add(ints(1), ints(8), ones(1))
    assert counted.n_cells == 1
    (closed,) = counted.close(45)
    assert (closed.start_ms.tolist(), closed.end_ms.tolist()) == ([0], [25])
    assert closed.sums.tolist() == [[3.0]]


def test_sessions_of_many_keys_in_any_order() -> None:
    rng = np.random.default_rng(0)
    rows, ts_ms = rng.integers(0, 20, 2_000), rng.integers(0, 20_000, 2_000)
    one, other = (sessions(30, sessions_max=2_000) for _ in range(2))
    one.add(rows, ts_ms, ones(2_000))
    for part in np.array_split(rng.permutation(2_000), 17):
        other.add(rows[part], ts_ms[part], ones(len(part)))
    (first,), (second,) = one.close(10**6), other.close(10**6)
    for field in ("rows", "start_ms", "end_ms", "sums"):
        assert np.array_equal(getattr(first, field), getattr(second, field))
    assert first.sums.sum() == 2_000


def test_at_the_bound_open_sessions_go_on_and_none_is_opened() -> None:
    counted = sessions(sessions_max=2)
    assert counted.add(ints(1, 2), ints(0, 0), ones(2)).all()
    taken = counted.add(ints(2, 1, 3, 1), ints(5, 50, 3, 9), ones(4))
    assert taken.tolist() == [True, False, False, True]
    assert (counted.n_refused, counted.n_cells) == (2, 2)


def test_sessions_are_bounded_and_late_events_counted() -> None:
    counted = sessions(sessions_max=1)
    assert counted.add(ints(1, 2), ints(0, 0), ones(2)).tolist() == [True, False]
    assert counted.add(ints(1, 2), ints(5, 5), ones(2)).tolist() == [True, False]
    list(counted.close(100))
    assert not counted.add(ints(1), ints(90), ones(1)).any()
    assert (counted.n_refused, counted.n_late) == (2, 1)


# --- distinct ---------------------------------------------------------------------------------


def test_users_are_counted_once_a_window() -> None:
    window = PaneWindow(20, 10)
    counted = PaneSketches(window, lateness_ms=0, cells_max=10)
    users = ["ann", "bob", "ann", "cid"]
    counted.add(ints(1, 1, 1, 2), window.panes(ints(1, 2, 11, 12)), users)
    found = [
        (end, {k: round(v) for k, v in of.items()}, f)
        for end, of, f in read(list(counted.close(40)))
    ]
    assert found == [
        (10, {1: 2}, []),
        (20, {1: 2, 2: 1}, []),
        (30, {1: 1, 2: 1}, []),
        (0, {}, [1, 2]),
    ]


def test_sketches_are_bounded() -> None:
    counted = PaneSketches(PaneWindow(10, 10), lateness_ms=0, cells_max=1)
    panes = ints(0, 0, 0)
    assert counted.add(ints(1, 2, 1), panes, ["a", "b", "c"]).tolist() == [True, False, True]
    list(counted.close(10))
    assert not counted.add(ints(1), ints(0), ["d"]).any()
    assert (counted.n_refused, counted.n_late) == (1, 1)


@pytest.mark.parametrize("n", [10, 500, 20_000])
def test_an_estimate_is_near_and_knows_no_order(n: int) -> None:
    ids, rng = [f"user-{i}" for i in range(n)], np.random.default_rng(n)
    estimates = set()
    for n_parts in (1, 2, 5):
        parts = [Sketch() for _ in range(n_parts)]
        for i in rng.permutation(n).tolist():
            parts[i % n_parts].add([ids[i]])
        estimates.add(distinct([Sketch.from_bytes(part.to_bytes()) for part in parts]))
    (estimate,) = estimates
    assert abs(estimate - n) < 4 * 0.023 * n
