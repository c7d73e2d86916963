"""Files whose ids are not of the same things are found, and how they differ is said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from streamer.events import Event, Item, User
from streamer_producers import common_ids
from streamer_producers.common_ids import CommonIds


def counted(
    met: Iterable[str],
    items: Iterable[str],
    *,
    chosen: Sequence[str] = (),
    categories: Sequence[str] = (),
    active: str = "ann",
    users: Sequence[str] = (),
) -> CommonIds:
    ids = CommonIds()
    for item in items:
        ids.add_item(Item(item_id=item, categories=[*categories]))
    for user in users:
        ids.add_user(User(user_id=user, categories=[*chosen]))
    for n, item in enumerate(met):
        ids.add_event(Event(event_id=str(n), type="click", user_id=active, item_id=item, ts=n))
    return ids


def said(ids: CommonIds) -> str:
    return "\n".join(map(str, ids.faults()))


def test_what_is_common_is_counted_without_a_fault() -> None:
    ids = counted(["a", "b", "a", "c"], ["a", "b", "x"], chosen=["Tea"], categories=["Tea", "Cup"])
    assert [*ids.counts()] == ["2 of 3 items of the events are in the catalogue"]
    assert said(ids) == ""


@pytest.mark.parametrize("ids", [counted(["a"], []), counted([], ["b"]), counted([], [])])
def test_a_file_alone_has_no_fault(ids: CommonIds) -> None:
    assert [*ids.counts(), *ids.faults()] == []


@pytest.mark.parametrize(("n_common", "is_fault"), [(0, True), (9, True), (10, False)])
def test_numbers_may_be_common_by_chance(n_common: int, is_fault: bool) -> None:
    met = [f"p{n}" for n in range(200)]
    found = said(counted(met, [*met[:n_common], "SKU-1"]))
    assert bool(found) == is_fault
    if is_fault:
        assert f"{n_common} of 200 items of the events are in the catalogue" in found
        assert "the catalogue has 'SKU-1'" in found or n_common
        assert "map item_id of both" in found


@pytest.mark.parametrize(
    ("mine", "other"), [("sku-098", "SKU-098"), ("98", "0098"), (" x", "x"), ("x", "x\u00a0")]
)
def test_a_difference_in_spelling_is_named(mine: str, other: str) -> None:
    found = said(counted([mine, "common"], [other, "common"]))
    assert found == (
        "1 of 2 items of the events are in the catalogue, and 1 in another spelling alone, as"
        f" {mine!r} for {other!r}; write them alike: case, leading zeros and blanks count"
    )


def test_a_few_spellings_among_many_may_be_items_of_their_own() -> None:
    met = [f"p{n}" for n in range(100)]
    assert said(counted(met, [*met[:50], "P99", "P98"])) == ""
    assert "3 in another spelling alone" in said(counted(met, [*met[:50], "P99", "P98", "P97"]))


def test_users_who_said_something_are_others_than_those_of_the_events() -> None:
    found = said(counted(["a"], ["a"], users=["C-1", "C-2"]))
    assert "0 of 1 users of the events said something of themselves: events are of 'ann'" in found
    assert said(counted(["a"], ["a"], users=["C-1", "ann"])) == ""
    assert "as 'ann' for 'Ann'" in said(counted(["a"], ["a"], users=["Ann"]))


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (["Tea"], "0 of 2 categories that users chose are items': users chose 'Cups', items are"),
        ([], "users chose 'Cups', items have none; map categories of both"),
        (["Cups"], ""),
        (["Tea", "CUPS"], "and 1 in another spelling alone, as 'Cups' for 'CUPS'; write them"),
    ],
)
def test_chosen_categories_are_those_of_items(categories: list[str], expected: str) -> None:
    found = said(
        counted(["a"], ["a"], chosen=["Cups", "Pots"], categories=categories, users=["ann"])
    )
    assert expected in found if expected else found == ""


def test_very_many_ids_are_estimated_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_ids, "KEPT_MAX", 500)
    ids = counted((f"p{n}" for n in range(10_000)), (f"P{n}" for n in range(4_000, 9_000)))
    found = ids.items()
    assert found is not None
    # Some 300 names are kept of 10,000: a standard error of 5 %, and the hashes are the same ones.
    assert found.n == pytest.approx(10_000, rel=0.25)
    assert found.n_common == 0
    assert found.n_spelled == pytest.approx(5_000, rel=0.25)
    many = counted((f"p{n}" for n in range(10_000)), (f"p{n}" for n in range(10_000))).items()
    assert many is not None
    assert many.n_common == many.n == pytest.approx(10_000, rel=0.25)
    assert len(ids._met.kept) <= 500
