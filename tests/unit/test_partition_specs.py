"""Models whose tables cannot stand side by side are refused before a store is laid out."""

from __future__ import annotations

import pytest

from streamer_models.counters.history import UserHistory
from streamer_models.factorization.mf import ImplicitMF
from streamer_models.state.partition import all_specs


def test_tables_of_all_models_are_named() -> None:
    names = [spec.name for spec in all_specs([UserHistory(length=4), ImplicitMF(n_factors=2)])]
    assert {"user_meta", "item_meta", "user_history", "item_factors"} <= set(names)


def test_two_tables_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'user_history' is used twice"):
        all_specs([UserHistory(length=4), UserHistory(length=8)])
