"""Expressions are read with their faults named, and say over columns what CEL says item by item."""

from __future__ import annotations

from itertools import product
from typing import Any

import celpy
import numpy as np
import pytest
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.columns import COLUMNS_MAX
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.events import Item, encode
from streamer.expressions.reading import read
from streamer.expressions.syntax import BadExpression
from streamer.expressions.tree import Condition
from streamer.ranking.rules import remembered
from streamer.ranking.rules.remembered import Verdicts
from streamer.ranking.rules.verdicts import Question, Verdict, verdict
from streamer_models.state.ids.id_table import keys_of

NOW_MS = 1_000
REQUEST: dict[str, str | float | bool] = {
    "user_id": "ann",
    "context.text": "a",
    "context.number": 2.0,
    "context.truth": True,
}


def _catalogue(items: list[Item]) -> Catalogue:
    found = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()))
    for item in items:
        found.apply(item.item_id.encode(), encode(item))
    return found


def _held(
    verdicts: Verdicts, text: str, catalogue: Catalogue, ids: list[str], *, at_ms: int = NOW_MS
) -> list[bool | None]:
    """Of each item whether a text holds; None: it can't be said."""
    question = Question(catalogue.columns, REQUEST, at_ms)
    found, slots = verdicts(read(text), question), catalogue.columns.slots(keys_of(ids))
    n_slots = catalogue.columns.n_slots
    holds, fails = (np.broadcast_to(each, n_slots)[slots] for each in (found.holds, found.fails))
    assert not (holds & fails).any()
    return [True if h else False if f else None for h, f in zip(holds, fails, strict=True)]


# --- the same as CEL's own evaluator -------------------------------------------------------------

NUMBERS = st.sampled_from(["item.attributes.n", "item.attributes.m", "request.context.number"])
NUMBERS |= st.sampled_from(["1.0", "2.5", "-1.0", "0.0", "now_ms", "item.created_ts"])
NUMBERS |= st.sampled_from(["request.context.nowhere"])
NUMBERS |= st.builds("({} {} {})".format, NUMBERS, st.sampled_from("+-*"), NUMBERS)
TEXTS = st.sampled_from(["item.title", "item.attributes.t", "item.attributes['a-b']"])
TEXTS |= st.sampled_from(["request.context.text", "request.user_id", "request.surface"])
TEXTS |= st.sampled_from(["'a'", '"b"', "'é\\n'"])
LISTS = st.sampled_from(["item.categories", "item.tags"])
FIELDS = st.sampled_from(["item.title", "item.attributes.n", "request.context.text"])
FIELDS |= st.sampled_from(["request.surface", "request.context.nowhere", "item.created_ts"])
LEAVES = st.one_of(
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["<", "<=", ">", ">="]), NUMBERS),
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["==", "!="]), NUMBERS),
    st.builds("{} {} {}".format, TEXTS, st.sampled_from(["==", "!="]), TEXTS),
    st.builds("{} in {}".format, TEXTS, LISTS),
    st.builds("{} in [{}, {}]".format, TEXTS, TEXTS, TEXTS),
    st.builds("size({}) > {}".format, LISTS, st.sampled_from(["0", "1", "2"])),
    st.builds("has({})".format, FIELDS),
    st.sampled_from(["item.attributes.b == true", "request.context.truth == true", "true"]),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("({}) && ({})".format, inner, inner),
        st.builds("({}) || ({})".format, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=6,
)
SOME = st.sampled_from(["a", "b", "é\n"])
CEL = celpy.Environment()  # made here: it changes the interpreter's limit of recursion
OPTIONAL = {
    "title": SOME,
    "categories": st.lists(SOME, max_size=3),
    "tags": st.lists(SOME, max_size=3),
    "created_ts": st.sampled_from([0, 1, 1_000]),
    "attributes": st.fixed_dictionaries(
        {},
        optional={
            "n": st.sampled_from([-1, 0, 1, 2.5]),
            "m": st.sampled_from([0.0, 2.0]),
            "t": SOME,
            "a-b": SOME,
            "b": st.booleans(),
        },
    ),
}
ITEMS = st.lists(st.fixed_dictionaries({}, optional=OPTIONAL), min_size=1, max_size=5)


def _by_cel(text: str, given: dict[str, Any]) -> bool | None:
    """What cel-python says of one item; None for an error."""
    single = {k: v for k, v in given.items() if k not in ("attributes", "categories", "tags")}
    item = {
        **_plain(single),
        "attributes": _plain(given.get("attributes", {})),
        "categories": list(dict.fromkeys(given.get("categories", []))),
        "tags": list(dict.fromkeys(given.get("tags", []))),
    }
    context = {k.removeprefix("context."): v for k, v in REQUEST.items() if k.startswith("context")}
    request = {"user_id": "ann", "context": context}
    names: dict[str, Any] = {"item": item, "request": request, "now_ms": float(NOW_MS)}
    activation: Any = {name: json_to_cel(value) for name, value in names.items()}
    try:
        found = CEL.program(CEL.compile(text)).evaluate(activation)
    except CELEvalError:
        return None
    return bool(found)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: float(v) if type(v) is int else v for k, v in fields.items()}


@settings(max_examples=300, deadline=None)
@given(text=CONDITIONS, items=ITEMS)
def test_columns_say_what_cel_says_of_each_item(text: str, items: list[dict[str, Any]]) -> None:
    ids = [f"i{n}" for n in range(len(items))]
    made = [Item(item_id=i, **given) for i, given in zip(ids, items, strict=True)]
    held = _held(Verdicts(), text, _catalogue(made), ids)
    assert held == [_by_cel(text, given) for given in items]


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(CONDITIONS, min_size=1, max_size=3), rounds=st.lists(ITEMS, max_size=6))
def test_what_is_remembered_follows_the_catalogue(
    texts: list[str], rounds: list[list[dict[str, Any]]]
) -> None:
    """Items come, change, go and come back as time passes; a catalogue read anew says the same."""
    verdicts, catalogue = Verdicts(), _catalogue([])
    ids = [f"i{n}" for n in range(6)]
    for n, items in enumerate(rounds):
        for place, fields in enumerate(items):
            item = Item(item_id=ids[(n + place) % 6], **fields)
            catalogue.apply(item.item_id.encode(), encode(item))
        if n % 2:
            catalogue.apply(ids[n % 6].encode(), None)
        anew = _catalogue([each for i in ids if (each := catalogue.get(i)) is not None])
        for text, at_ms in product(texts, (NOW_MS + 400 * n, NOW_MS + 400 * n + 1)):
            held = _held(verdicts, text, catalogue, ids, at_ms=at_ms)
            assert held == _held(Verdicts(), text, anew, ids, at_ms=at_ms)


def test_what_the_time_decides_is_remembered_where_it_does_not_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_ms = {"old": 0, "turns": 500_000, "new": 10_000_000, "unsaid": None}
    ids, text = list(made_ms), "now_ms - item.created_ts < 1000000"
    catalogue = _catalogue([Item(item_id=i, created_ts=ms) for i, ms in made_ms.items()])
    verdicts, looked_at = Verdicts(), list[int | None]()

    def noted(condition: Condition, question: Question) -> Verdict:
        looked_at.append(None if question.slots is None else len(question.slots))
        return verdict(condition, question)

    monkeypatch.setattr(remembered, "verdict", noted)
    for at_ms, held in (
        (1_490_000, [False, True, True, None]),
        (1_499_999, [False, True, True, None]),
        (1_500_000, [False, False, True, None]),
        (1_549_999, [False, False, True, None]),
    ):
        assert _held(verdicts, text, catalogue, ids, at_ms=at_ms) == held
    assert looked_at == [None, None, 1, 1, 1], "all now and a minute ahead, then what turns"
    catalogue.apply(b"old", encode(Item(item_id="old", created_ts=1_540_000)))
    assert _held(verdicts, text, catalogue, ids, at_ms=1_549_999) == [True, False, True, None]
    assert _held(verdicts, text, catalogue, ids, at_ms=1_550_000) == [True, False, True, None]
    assert _held(verdicts, text, catalogue, ids, at_ms=1_490_000) == [True, True, True, None]
    assert looked_at[5:] == [2, None, None, None, None], "of a time before or after, all again"


def test_columns_grow_and_are_forgotten_at_their_bound() -> None:
    items = [Item(item_id=f"i{n}", attributes={f"f{n % 100}": n}) for n in range(3_000)]
    catalogue, verdicts = _catalogue(items[:5]), Verdicts()
    for n in range(100):
        assert _held(verdicts, f"item.attributes.f{n} >= 0", catalogue, ["i3"]) == [
            True if n == 3 else None
        ]
    assert len(catalogue.columns._values) == COLUMNS_MAX
    for item in items[5:]:
        catalogue.apply(item.item_id.encode(), encode(item))
    for n in range(100):
        held = _held(verdicts, f"item.attributes.f{n} >= 0", catalogue, [f"i{2_900 + n}", "i5"])
        assert held[0] is True
        assert held[1] is (True if n == 5 else None)


def test_labels_left_behind_are_cleared_away() -> None:
    catalogue, verdicts = _catalogue([Item(item_id="still", tags=["kept"])]), Verdicts()
    for n in range(5_000):
        item = Item(item_id="busy", tags=[f"t{n}", "same"])
        catalogue.apply(b"busy", encode(item))
        if n in (0, 4_999):
            assert _held(verdicts, f"'t{n}' in item.tags", catalogue, ["busy", "still"]) == [1, 0]
    assert _held(verdicts, "'kept' in item.tags", catalogue, ["busy", "still"]) == [False, True]
    assert catalogue.columns.labels("tags")._n_entries < 4_000


def test_values_of_two_kinds_are_not_the_same() -> None:
    item = Item(item_id="i", attributes={"one": 1, "yes": True, "text": "1"})
    catalogue = _catalogue([item])
    for text, held in {
        "item.attributes.one == true": False,
        "item.attributes.yes == 1": False,
        "item.attributes.text == 1": False,
        "item.attributes.text < item.attributes.one": None,
        "item.attributes.one": None,
        "item.attributes.yes": True,
        "!item.attributes.yes": False,
        "item.attributes.one * 0 == -0.0": True,
        "item.attributes.one * 1e300 * 1e300 > 0": None,
        "item.attributes.one in item.tags": False,
        "item.attributes.nothing in item.tags": None,
    }.items():
        assert _held(Verdicts(), text, catalogue, ["i"]) == [held], text


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("item.title ==", "it is no CEL at column 12, near '=='"),
        ("'a' in item.tags\n  && $", "it is no CEL at line 2, column 6, near '$'"),
        ("", "it is no CEL"),
        ("item.colour == 'x'", "at column 1: item has no field 'colour'; there are item_id,"),
        ("item.colour == 'x'", "did you mean item.attributes.colour?"),
        ("item.titel == 'x'", "did you mean title?"),
        (
            "itm.title == 'a'",
            "'itm' is not known; there are item, request, user, now_ms; did you mean",
        ),
        ("true && request.region == 'eu'", "at column 9: request has no field 'region'"),
        ("item.attributes == 'a'", "item has no field 'attributes'"),
        ("item == 'a'", "write item.FIELD or item.attributes.NAME"),
        ("item.title < 'b'", "at column 1: order is kept of numbers alone; 'b' is none"),
        ("item.attributes.a / 2 > 1", "multiply the other side"),
        ("item.attributes.a % 2 == 1", "a remainder is not computed"),
        ("item.title.startsWith('a')", "functions are not computed over columns"),
        ("item.tags.exists(t, t == 'a')", "functions are not computed over columns"),
        ("matches(item.title, 'a')", "matches() is not computed; has(FIELD) and size(LIST) are"),
        ("true ? true : false", "`a ? b : c` is not computed"),
        ("now_ms", "a number is no condition"),
        ("'a'", "'a' is no condition"),
        ("item.tags == 1", "item.tags is a list: write 'a' in item.tags"),
        ("'a' in item.title", "at column 8: `in` needs a list"),
        ("item.title == ['a']", "a list stands behind `in` alone"),
        ("item.attributes.a == null", "has(item.attributes.NAME) says if it is there"),
        ("item.title == b'a'", "bytes are not compared"),
        ("(1 < 2) == true", "a condition is no value here"),
        ("has(1)", "has() needs a field"),
        ("size(item.title) > 1", "size() is computed of item.categories and item.tags"),
        ("item.attributes.a > 1" + "0" * 400, "beyond the largest finite number"),
        ("item.title == '\\ud800'", "holds what is no character"),
        ("item.title == '\\U00110000'", "holds what is no character"),
        ("!" * 100 + "true", "over 60 one inside the other"),
        (" || ".join(["true"] * 150), "make it simpler"),
        (" || ".join(f"item.attributes.a{n}" for n in range(17)), "it reads 17 fields of the item"),
        ("'" + "x" * 2_000 + "' == item.title", "2,016 characters are over the bound of 2,000"),
    ],
)
def test_what_columns_cannot_say_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(BadExpression) as refused:
        read(text)
    assert complaint in str(refused.value)


def test_a_thousand_brackets_are_read_or_refused_and_nothing_else() -> None:
    assert read("(" * 400 + "true" + ")" * 400) == read("true")
    with pytest.raises(BadExpression):
        read("[" * 900 + "]" * 900 + " == 1")


def test_expressions_without_the_package_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "celpy.celparser", None)
    with pytest.raises(BadExpression, match=r"pip install '\.\[rules\]'"):
        read("item.title == 'not read yet'")
