"""Compositions: propensities against enumeration and frequencies, and each part by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer_models.bandits.composition import (
    NO_VECTORS,
    NOTHING_WANTED,
    UNCOMPOSED,
    Composition,
    Groups,
    Wanted,
    composed,
)
from streamer_models.bandits.composition_bytes import packed, unpacked
from streamer_models.bandits.composition_kernels import places_of
from streamer_models.bandits.composition_settings import NOT_NEW, Cap, CompositionSettings
from streamer_models.bandits.slates import Draw, draw_best, draw_plackett_luce, draw_thompson
from streamer_models.evaluation.ranking_metrics import calibration
from tests.chi_square import assert_frequencies

N = 6
K = 4
SHARE = 0.2
SCORES = np.array([0.3, 1.0, -0.5, 0.9, 0.9, 0.2])
SAMPLES = SCORES + np.random.default_rng(1).normal(scale=0.6, size=(16, N))
CATEGORIES = ((0,), (0, 1), (2,), (0, 1), (1,), (), (0, 2), (1,))
BRANDS = ((0,), (0,), (0,), (1,), (1,), (1,), (0,), (1,))
AGES = ((0,), (0,), (0,), (0,), (0,), (), (0,), ())
"""Of the candidates, and of two pinned items behind them."""
VECTORS = np.zeros((N + 2, 8), dtype=np.float32)
"""Two almost alike, one across, one against the first, two without; of the pinned items one."""
VECTORS[:4, :3] = ((1.0, 0.0, 0.0), (0.8, 0.6, 0.0), (0.0, 0.6, 0.8), (-1.0, 0.0, 0.0))
VECTORS[N, :2] = (0.6, 0.8)
WANTED = Wanted(np.array([0, 2]), np.array([0.75, 0.25], dtype=np.float32))

Drawer = Callable[[int, Composition], Draw]


def groups(of_items: tuple[tuple[int, ...], ...]) -> Groups:
    numbers = [number for each in of_items for number in each]
    counts = np.array([len(each) for each in of_items])
    return Groups(counts, np.array(numbers, dtype=np.int64))


TABLES = {"categories": CATEGORIES, "brand": BRANDS, NOT_NEW: AGES}


class Case(NamedTuple):
    settings: CompositionSettings
    pinned_at: tuple[int, ...] = ()

    @property
    def n_items(self) -> int:
        return N + len(self.pinned_at)


ALL = CompositionSettings(
    diversity=0.3, calibration=0.3, caps=(Cap("brand", 1, 2), Cap("categories", 2, 3))
)
ALL_BY_EMBEDDING = CompositionSettings(
    diversity=0.5, diversity_by="embedding", calibration=0.3, caps=(Cap("brand", 1, 2),)
)
CASES = {
    "caps": Case(CompositionSettings(caps=(Cap("categories", 1, 2), Cap("brand", 2, 4)))),
    "a cap that can't be met before one that can": Case(
        CompositionSettings(caps=(Cap("categories", 1), Cap("brand", 2)))
    ),
    "and behind it": Case(CompositionSettings(caps=(Cap("brand", 2), Cap("categories", 1)))),
    "fresh that can't be met, with a cap that can and one that can't": Case(
        CompositionSettings(
            diversity=0.3, caps=(Cap("brand", 1, 2), Cap("categories", 1, 3), Cap(NOT_NEW, 1, 4))
        )
    ),
    "the same, pinned": Case(
        CompositionSettings(
            caps=(Cap("categories", 1, 4), Cap("brand", 2, 5), Cap.for_new("3 in 5"))
        ),
        (0, 3),
    ),
    "variety": Case(CompositionSettings(diversity=0.6)),
    "calibration": Case(CompositionSettings(calibration=0.5)),
    "all, pinned": Case(ALL, (0, 2)),
    "all by embedding, pinned": Case(ALL_BY_EMBEDDING, (1, 9)),
}


def composition_of(case: Case) -> Composition:
    settings, n_items = case.settings, case.n_items
    fields = [groups(TABLES[field][:n_items]) for field in settings.fields]
    vectors = VECTORS[:n_items] if settings.by_vectors else NO_VECTORS
    wanted = WANTED if settings.calibration else NOTHING_WANTED
    return composed(settings, N, fields, wanted, vectors=vectors, pinned_at=case.pinned_at)


DRAWERS: dict[str, Drawer] = {
    "best": lambda seed, given: draw_best(SCORES, K, seed, uniform_share=SHARE, composition=given),
    "plackett-luce": lambda seed, given: draw_plackett_luce(
        SCORES, K, seed, temperature=0.4, uniform_share=SHARE, composition=given
    ),
    "thompson": lambda seed, given: draw_thompson(
        SAMPLES, K, seed, scores=SCORES, uniform_share=SHARE, composition=given
    ),
}
every_drawer = pytest.mark.parametrize("drawer", DRAWERS)
every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


# --- the same, item by item -----------------------------------------------------------------------


def likeness(settings: CompositionSettings, a: int, b: int) -> float:
    if settings.by_vectors:  # to 1/255, as decisions log it
        return round(255 * max(0.0, float(VECTORS[a] @ VECTORS[b]))) / 255
    both = set(CATEGORIES[a]) & set(CATEGORIES[b])
    return len(both) / len({*CATEGORIES[a], *CATEGORIES[b]}) if both else 0.0


def divergence(items: list[int]) -> float:
    shares = np.zeros(3)
    known = [item for item in items if CATEGORIES[item]]
    for item in known:
        shares[list(CATEGORIES[item])] += 1 / len(CATEGORIES[item]) / len(known)
    pairs = zip(WANTED.groups.tolist(), WANTED.shares.tolist(), strict=True)
    return float(sum(p * math.log(p / (0.99 * shares[g] + 0.01 * p)) for g, p in pairs))


def page(case: Case, placed: list[int]) -> list[int]:
    """All that stands above the place that is drawn next."""
    found: list[int] = []
    chosen, pins = list(placed), list(enumerate(case.pinned_at))
    while chosen or (pins and pins[0][1] == len(found)):
        pinned = bool(pins) and pins[0][1] == len(found)
        found.append(N + pins.pop(0)[0] if pinned else chosen.pop(0))
    return found


def keeps(cap: Cap, item: int, above: list[int]) -> bool:
    of = TABLES[cap.field]
    n_most = max((sum(g in of[other] for other in above) for g in of[item]), default=0)
    return len(above) >= cap.depth or n_most < cap.most


def allowed(case: Case, placed: list[int]) -> list[int]:
    """What keeps those caps that can be kept together: of all such sets the one with the first cap,
    if any has it, among these the one with the second, and so on."""
    left = [item for item in range(N) if item not in placed]
    above, caps = page(case, placed), case.settings.caps
    for chosen in itertools.product((True, False), repeat=len(caps)):
        kept = list(itertools.compress(caps, chosen))
        found = [item for item in left if all(keeps(cap, item, above) for cap in kept)]
        if found:
            return found
    raise AssertionError("without caps all are left")


def costs(case: Case, placed: list[int], choices: list[int]) -> list[float]:
    """In units of the scores."""
    spread = float(np.std(SCORES[choices])) or 1.0
    a, b = case.settings.diversity, case.settings.calibration
    above = page(case, placed)
    return [
        spread
        * (
            a
            / (1 - a)
            * max((likeness(case.settings, item, other) for other in above), default=0.0)
            + b / (1 - b) * divergence([*above, item])
        )
        for item in choices
    ]


def probabilities(name: str, case: Case, placed: list[int]) -> dict[int, float]:
    choices = allowed(case, placed)
    less = np.array(costs(case, placed, choices))
    adjusted = SCORES[choices] - less
    if name == "plackett-luce":
        weights = np.exp(adjusted / 0.4)
        greedy = weights / weights.sum()
    elif name == "thompson":
        bests = (SAMPLES[:, choices] - less).argmax(axis=1)
        greedy = np.bincount(bests, minlength=len(choices)) / len(SAMPLES)
    else:
        greedy = np.eye(len(choices))[adjusted.argmax()]
    mixed = (1 - SHARE) * greedy + SHARE / len(choices)
    return dict(zip(choices, mixed.tolist(), strict=True))


@every_drawer
@every_case
def test_propensities_are_those_of_enumeration_and_frequencies(drawer: str, case: Case) -> None:
    given, n = composition_of(case), 20_000
    orders = np.empty((n, K), dtype=np.intp)
    propensities, enumerated = np.empty((n, K)), np.empty((n, K))
    known: dict[tuple[int, ...], dict[int, float]] = {}
    for seed in range(n):
        drawn = DRAWERS[drawer](seed, given)
        orders[seed], propensities[seed] = drawn.order, drawn.propensities
        placed: list[int] = []
        for slot, item in enumerate(drawn.order.tolist()):
            before = tuple(placed)
            if before not in known:
                known[before] = probabilities(drawer, case, placed)
                assert sum(known[before].values()) == pytest.approx(1)
            enumerated[seed, slot] = known[before][item]
            placed.append(item)
    np.testing.assert_allclose(propensities, enumerated, rtol=1e-9)
    assert_frequencies(orders, propensities, mass_min=0.5)


@every_drawer
@pytest.mark.parametrize("case", [None, *CASES.values()], ids=["none", *CASES])
def test_a_slate_that_is_shown_is_weighed_slot_by_slot(drawer: str, case: Case | None) -> None:
    """As each draw would have had it: the same bits where it did draw it, by another seed too."""
    given = UNCOMPOSED if case is None else composition_of(case)
    rules = case or Case(CompositionSettings())
    rng = np.random.default_rng(2)
    for seed in range(60):
        drawn = DRAWERS[drawer](seed, given)
        again = DRAWERS[drawer](seed + 1, given._replace(shown=drawn.order))
        assert again.order.tolist() == drawn.order.tolist()
        assert again.propensities.tolist() == drawn.propensities.tolist()
        shown = rng.permutation(N)[:K]
        weighed = DRAWERS[drawer](seed, given._replace(shown=shown))
        assert weighed.order.tolist() == shown.tolist()
        for place, propensity in enumerate(weighed.propensities):
            known = probabilities(drawer, rules, shown[:place].tolist())
            assert propensity == pytest.approx(known.get(int(shown[place]), 0.0), rel=1e-9)


@every_drawer
def test_what_is_no_candidate_has_no_chance_and_takes_no_place(drawer: str) -> None:
    shown = np.array([1, -1, 3, 0])
    found = DRAWERS[drawer](0, UNCOMPOSED._replace(shown=shown))
    without = DRAWERS[drawer](0, UNCOMPOSED._replace(shown=np.array([1, 3, 0, 2])))
    assert found.propensities[1] == 0
    assert found.propensities[[0, 2, 3]].tolist() == without.propensities[:3].tolist()
    capped = composition_of(Case(CompositionSettings(caps=(Cap("brand", 1, 2),))))
    above, below = DRAWERS[drawer](0, capped._replace(shown=np.array([0, -1, 1, 3]))).propensities[
        1:3
    ]
    assert above == 0 < below  # the cap is of the first two places, which both are taken


def test_of_slots_that_explore_nothing_the_best_is_certain() -> None:
    shown = UNCOMPOSED._replace(shown=np.array([1, 0, 3]))
    found = draw_best(SCORES, 3, 0, uniform_share=SHARE, slots=[2], composition=shown)
    assert found.propensities[:2].tolist() == [1.0, 0.0]
    assert found.propensities[2] == pytest.approx(1 - SHARE + SHARE / 4)


@pytest.mark.parametrize("shown", [[0, 1], [0, 1, 1, 2], [0, 1, 2, N]])
def test_what_can_not_be_shown_is_refused(shown: list[int]) -> None:
    given = UNCOMPOSED._replace(shown=np.array(shown, dtype=np.intp))
    with pytest.raises(ValueError, match="name for each slot one of the 6 candidates"):
        draw_best(SCORES, K, 0, uniform_share=SHARE, composition=given)


@every_drawer
def test_what_costs_and_bars_nothing_changes_no_bit(drawer: str) -> None:
    brands = groups(BRANDS[:N])
    free = composed(CompositionSettings(caps=(Cap("brand", 3, 10),)), N, [brands])
    assert free.on
    for seed in range(300):
        drawn, plain = (DRAWERS[drawer](seed, given) for given in (free, UNCOMPOSED))
        assert drawn.order.tolist() == plain.order.tolist()
        if drawer == "plackett-luce":  # weighs anew at each place, relative to its best
            assert drawn.propensities == pytest.approx(plain.propensities, rel=1e-12)
        else:
            assert drawn.propensities.tolist() == plain.propensities.tolist()
        assert drawn.explored.tolist() == plain.explored.tolist()


def test_the_scale_of_scores_does_not_matter() -> None:
    given = composition_of(CASES["all, pinned"])
    for seed in range(100):
        wide: dict[str, Any] = {"uniform_share": SHARE, "composition": given}
        assert np.array_equal(
            draw_best(8 * SCORES, K, seed, **wide).order, DRAWERS["best"](seed, given).order
        )
        assert np.array_equal(
            draw_thompson(8 * SAMPLES, K, seed, scores=8 * SCORES, **wide).order,
            DRAWERS["thompson"](seed, given).order,
        )


# --- each part ------------------------------------------------------------------------------------


def slate(scores: NDArray[np.float64], k: int, given: Composition) -> list[int]:
    order: list[int] = draw_best(scores, k, 0, uniform_share=0.0, composition=given).order.tolist()
    return order


def test_variety_takes_the_best_of_another_kind() -> None:
    kinds = groups(((0,), (0,), (0,), (1,), (2,)))
    scores = np.array([5.0, 4.9, 4.8, 4.0, 1.0])
    orders = [
        slate(scores, 3, composed(CompositionSettings(diversity=share), 5, [kinds]))
        for share in (0.01, 0.5, 0.95)
    ]
    assert orders == [[0, 1, 2], [0, 3, 1], [0, 3, 4]]


def test_what_has_no_vector_or_points_away_is_like_nothing() -> None:
    scores = np.arange(6.0, 0.0, -1.0)
    by_embedding = CompositionSettings(diversity=0.95, diversity_by="embedding")
    given = composed(by_embedding, N, [], vectors=VECTORS[:N])
    # Behind the first, what stands across, points away or has none costs nothing.
    assert slate(scores, 6, given) == [0, 2, 3, 4, 5, 1]
    assert slate(scores, 6, given._replace(vectors=np.zeros_like(VECTORS[:N]))) == list(range(6))


def test_caps_hold_to_their_depth_and_give_way_where_nothing_is_left() -> None:
    kinds = groups(((0,), (0,), (0,), (0,), (1,), (1, 2)))
    scores = np.arange(6.0, 0.0, -1.0)
    capped = composed(CompositionSettings(caps=(Cap("categories", 2, 4),)), 6, [kinds])
    assert slate(scores, 6, capped) == [0, 1, 4, 5, 2, 3]
    strict = composed(CompositionSettings(caps=(Cap("categories", 1, 6),)), 6, [kinds])
    assert slate(scores, 6, strict) == [0, 4, 1, 2, 3, 5]


def test_a_cap_that_can_not_be_met_leaves_the_others_in_force() -> None:
    kinds, brands = groups(((0,), (0,), (0,), (1,), (2,))), groups(((0,), (1,), (0,), (0,), (0,)))
    scores = np.array([5.0, 2.0, 4.0, 3.0, 1.0])
    one_kind, two_of_brand = Cap("categories", 1), Cap("brand", 2, 3)
    for caps, expected in (
        ((one_kind, two_of_brand), [0, 3, 4]),  # one of a kind leaves the brand's alone
        ((two_of_brand, one_kind), [0, 3, 1]),  # the brand's first: of the kinds that are left
        ((one_kind,), [0, 3, 4]),
        ((two_of_brand,), [0, 2, 1]),
    ):
        settings = CompositionSettings(caps=caps)
        fields = [{"categories": kinds, "brand": brands}[field] for field in settings.fields]
        assert slate(scores, 3, composed(settings, 5, fields)) == expected


def test_places_for_new_items_that_are_none_change_nothing_of_the_caps() -> None:
    kinds, old = groups(((0,), (0,), (0,), (1,), (2,))), groups(((0,),) * 5)
    caps = (Cap("categories", 1, 3),)
    without = composed(CompositionSettings(caps=caps), 5, [kinds])
    fresh = CompositionSettings(caps=(*caps, Cap.for_new("2 in 3")))
    given = composed(fresh, 5, [kinds, old])
    scores = np.arange(5.0, 0.0, -1.0)
    assert slate(scores, 5, without) == slate(scores, 5, given) == [0, 3, 4, 1, 2]


def test_calibration_is_the_greedy_choice_of_the_metric() -> None:
    rng = np.random.default_rng(3)
    of_items = rng.random((12, 4)) < 0.4
    of_items[of_items.sum(axis=1) == 0, 0] = True
    kinds = groups(tuple(tuple(np.flatnonzero(row).tolist()) for row in of_items))
    shares = np.array([0.5, 0.3, 0.2, 0.0])
    wanted = Wanted(np.arange(4), shares.astype(np.float32))
    found = slate(
        np.ones(12), 8, composed(CompositionSettings(calibration=0.5), 12, [kinds], wanted)
    )
    placed: list[int] = []
    for item in found:
        left = [other for other in range(12) if other not in placed]
        lists = np.array([[*placed, other] for other in left], dtype=np.int32)
        values = calibration(lists, of_items, np.tile(shares, (len(left), 1)))
        at = values[left.index(item)]
        assert at == pytest.approx(values.min(), abs=1e-6)
        placed.append(item)
    assert len({tuple(of_items[item]) for item in found}) > 2


@every_case
def test_a_slate_can_be_told_place_by_place_afterwards(case: Case) -> None:
    given = composition_of(case)
    order = DRAWERS["best"](5, given).order
    possible, found = places_of(given, order, N)
    for place in range(K):
        placed = order[:place].tolist()
        choices = allowed(case, placed)
        assert np.flatnonzero(possible[place]).tolist() == choices
        spread = float(np.std(SCORES[choices]))
        assert found[place, choices] * spread == pytest.approx(costs(case, placed, choices))


# --- settings and bytes ---------------------------------------------------------------------------


@every_case
def test_what_is_logged_gives_the_composition_again(case: Case) -> None:
    settings, first = case.settings, composition_of(case)
    drawn = DRAWERS["thompson"](7, first)
    state = packed(first, drawn.order)
    logged = CompositionSettings.logged(settings.parameters())
    assert logged == settings
    again = unpacked(logged, state, N, K, case.pinned_at)
    for name in Composition._fields:
        if name not in ("vectors", "alike"):
            assert np.array_equal(getattr(again, name), getattr(first, name)), name
    # Above the last of the chosen stand K - 1 others, and the one that is pinned among them.
    n_rows = K - 1 + sum(at < K for at in case.pinned_at)
    assert again.alike.shape == ((n_rows, N) if settings.by_vectors else (0, 0))
    redrawn = DRAWERS["thompson"](7, again)
    for name in ("order", "propensities", "explored"):
        assert getattr(redrawn, name).tolist() == getattr(drawn, name).tolist()
    for one, other in zip(
        *(places_of(each, drawn.order, N) for each in (first, again)), strict=True
    ):
        assert np.array_equal(one, other)
    n_groups = sum(len(of) for field in settings.fields for of in TABLES[field][: case.n_items])
    n_counts = len(settings.fields) * case.n_items
    n_wanted = 2 if settings.calibration else 0
    n_alike = n_rows * N if settings.by_vectors else 0
    assert len(state) == 2 + 6 * n_wanted + n_counts + 2 * n_groups + n_alike
    for wrong in (state[:-1], state + b"x", b""):
        with pytest.raises(ValueError, match="composition"):
            unpacked(logged, wrong, N, K, case.pinned_at)


def test_a_decision_of_before_pinned_items_counted_is_drawn_without_them() -> None:
    given = composition_of(Case(ALL))
    state = packed(given, DRAWERS["best"](3, given).order)
    again = unpacked(ALL, state, N, K, pinned_at=(0, 2))
    for name in Composition._fields:
        assert np.array_equal(getattr(again, name), getattr(given, name)), name


def test_off_logs_nothing() -> None:
    assert CompositionSettings().parameters() == {}
    assert not CompositionSettings().on
    assert not CompositionSettings(diversity_by="embedding").on


def test_caps_are_read_and_refused() -> None:
    assert Cap.parsed("brand <= 1") == Cap("brand", 1)
    assert Cap.parsed(str(Cap("shop kind", 3, 7))) == Cap("shop kind", 3, 7)
    for text in ("brand", "brand<=0", "brand<=x in 3", "a<=1; b<=2"):
        with pytest.raises(ValueError, match="no cap"):
            Cap.parsed(text)


def test_what_likeness_is_taken_from_is_refused_where_it_is_not_known() -> None:
    with pytest.raises(ValueError, match="one of categories, embedding"):
        CompositionSettings.logged({"slate_diversity_by": "colour"})


def test_a_composition_of_other_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="of 6 candidates for 2 scores"):
        draw_best(SCORES[:2], 1, 0, uniform_share=0.0, composition=composition_of(CASES["caps"]))
