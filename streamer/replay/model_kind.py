"""How a model that is known by name is made from what is typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class ModelKind(Generic[M]):
    """One kind of model.

    Attributes
    ----------
    make
        Called with the parameters and ``seed``.
    parameters
        Name → how its text becomes a value.
    """

    make: Callable[..., M]
    parameters: Mapping[str, Callable[[str], Any]]
