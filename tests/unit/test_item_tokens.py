"""Tokens of items: how they are taken from a catalogue, kept and followed."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.catalogue.content import CatalogueContent
from streamer.catalogue.tokens import item_tokens
from streamer.config import CatalogueConfig
from streamer.events import Item, encode
from streamer.protocols import MessageBatch
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.items.item_tokens import NO_TOKEN, TOKENS_MAX, ItemTokens, token_of

FIELDS = ("categories", "tags", "brand", "year", "price")


def _said(tokens: ItemTokens, item_id: str) -> dict[int, float]:
    found, weights = tokens.of(keys_of([item_id]))
    known = found[0] != NO_TOKEN
    return dict(zip(found[0][known].tolist(), weights[0][known].tolist(), strict=True))


def test_the_values_of_a_field_share_a_weight_and_numbers_weigh_less() -> None:
    item = Item(
        item_id="a",
        categories=["Drama", "Crime", "Drama"],
        tags=["slow"],
        attributes={"brand": "Acme", "year": 1994, "price": 7, "colour": "red"},
    )
    tokens, weights = item_tokens(item, FIELDS)
    assert dict(zip(tokens, weights, strict=True)) == {
        token_of("categories=Drama"): 0.5,
        token_of("categories=Crime"): 0.5,
        token_of("tags=slow"): 1.0,
        token_of("brand=Acme"): 1.0,
        token_of("year=year 1990", number=True): pytest.approx(0.14),
        token_of("year=year 1995", number=True): pytest.approx(0.56),
        token_of("price=6", number=True): 0.7,
    }
    assert item_tokens(item, ()) == item_tokens(Item(item_id="b"), FIELDS) == ([], [])


def test_words_of_a_title_are_those_of_three_letters_in_any_case() -> None:
    item = Item(item_id="a", title="The lord of the RINGS: Über-Müller, 2 (2003)")
    assert item_tokens(item, FIELDS) == ([], [])
    tokens, weights = item_tokens(item, ("title",))
    assert tokens == [
        token_of(f"title={word}") for word in ("the", "lord", "rings", "über", "müller")
    ]
    assert weights == [0.2] * 5
    long = Item(item_id="b", title=" ".join(f"word{chr(97 + n)}" for n in range(20)))
    assert len(item_tokens(long, ("title",))[0]) == 8


def _nearness(name: str, one: float, other: float) -> float:
    """Weight that two numbers of an attribute share, of .7."""
    said = []
    for value in (one, other):
        tokens, weights = item_tokens(Item(item_id="a", attributes={name: value}), FIELDS)
        assert sum(weights) == pytest.approx(0.7)
        assert len(tokens) <= 2
        said.append(dict(zip(tokens, weights, strict=True)))
    return sum(min(weight, said[1].get(token, 0.0)) for token, weight in said[0].items())


def test_the_nearer_numbers_are_the_more_weight_they_share() -> None:
    for year in range(1980, 2000):  # none of them is a border
        shared = [_nearness("year", year, year + years) for years in (0, 1, 2, 5, 10)]
        assert shared[0] == pytest.approx(0.7)
        assert shared[1] == pytest.approx(0.56)
        assert shared == sorted(shared, reverse=True)
        assert shared[-1] == 0
    for price in np.geomspace(0.5, 500, 20).tolist():
        assert _nearness("price", price, 1.02 * price) > 0.6
        assert _nearness("price", -price, -1.02 * price) > 0.6
        assert _nearness("price", price, 2.5 * price + 1) == 0
        assert _nearness("price", price, -price - 2) == 0


def test_what_is_said_again_replaces_what_was_said_and_what_is_gone_is_forgotten() -> None:
    tokens = ItemTokens()
    tokens.put("a", [1, 2], [0.5, 0.5])
    tokens.put("b", [3], [1.0])
    tokens.put("a", [7], [0.25])
    assert (_said(tokens, "a"), _said(tokens, "b"), len(tokens)) == ({7: 0.25}, {3: 1.0}, 2)
    tokens.put("a", [], [])
    tokens.remove("nobody")
    assert (_said(tokens, "a"), _said(tokens, "b"), len(tokens)) == ({}, {3: 1.0}, 1)
    tokens.put("c", [4, 5], [0.5, 0.5])  # in the place of a
    assert (_said(tokens, "c"), _said(tokens, "a")) == ({4: 0.5, 5: 0.5}, {})


def test_tokens_of_an_item_and_items_are_bounded() -> None:
    tokens = ItemTokens(items_max=2)
    tokens.put("a", range(2 * TOKENS_MAX), [1.0] * 2 * TOKENS_MAX)
    assert list(_said(tokens, "a")) == list(range(TOKENS_MAX))
    for item_id in "bcd":
        tokens.put(item_id, [1], [1.0])
    assert (len(tokens), tokens.rows.n_refused) == (2, 2)
    tokens.put("b", [2], [1.0])  # known, so it is no other item
    assert (_said(tokens, "b"), _said(tokens, "c")) == ({2: 1.0}, {})


@pytest.mark.parametrize("n", [3_000])
def test_many_items_keep_their_own_tokens(n: int) -> None:
    tokens = ItemTokens()
    for item in range(n):
        tokens.put(f"i{item}", [item % 4_096, (item + 1) % 4_096], [0.5, 0.25])
    for item in range(0, n, 3):
        tokens.remove(f"i{item}")
    found, weights = tokens.of(keys_of([f"i{item}" for item in range(n)]))
    numbers = np.arange(n)
    kept = numbers % 3 != 0
    assert (found[kept, 0] == numbers[kept]).all()
    assert (weights[kept, 1] == 0.25).all()
    assert (found[~kept] == NO_TOKEN).all()
    assert (weights[~kept] == 0).all()


def test_the_topic_is_followed_tombstones_and_all() -> None:
    catalogue = CatalogueContent(CatalogueConfig(fields=("categories",)))
    drama = encode(Item(item_id="a", categories=["Drama"]))
    crime = encode(Item(item_id="b", categories=["Crime"]))
    values = [drama, b"{", crime, None, None]
    keys: list[bytes | None] = [b"a", b"x", b"b", b"a", b"\xff"]
    offsets = np.array([3, 4, 7, 8, 9])
    catalogue.apply(MessageBatch("items", 2, values, offsets, np.full(5, -1), keys))
    assert _said(catalogue.tokens, "a") == {}
    assert _said(catalogue.tokens, "b") == {token_of("categories=Crime"): 1.0}
    assert catalogue.offsets == {2: 10}
