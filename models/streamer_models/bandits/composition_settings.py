"""Settings of a composition: caps, variety, calibration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

from streamer_models.bandits.policies.settings import SLOTS_MAX, Value

CATEGORIES: Final = "categories"
"""The field that shares are taken from, and likeness where it is by categories."""
CAP: Final = re.compile(r"([^<>=;]{1,100}?) *<= *([1-9]\d{0,2})(?: +in +([1-9]\d{0,2}))?")
"""``FIELD<=MOST in DEPTH``; without ``in``, of the whole slate."""
NOT_NEW: Final = "not new"
"""The field of caps that has one group: what is not new."""
FRESH: Final = re.compile(r"([1-9]\d{0,2}) +in +([1-9]\d{0,2})")
"""``LEAST in DEPTH`` places for what is new."""

LikenessBy = Literal["categories", "embedding"]
"""What likeness is: Jaccard's similarity of categories, or the cosine of embeddings."""
LIKENESS_BY: Final[tuple[LikenessBy, ...]] = get_args(LikenessBy)


@dataclass(frozen=True, slots=True)
class Cap:
    """A bound on how many of the first places have items of one group.

    Attributes
    ----------
    field
        What an item's groups are taken from: ``categories``, ``tags`` or the name of an attribute,
        or ``NOT_NEW``.
    most
        Items of each group.
    depth
        Places that count, the first ones.
    """

    field: str
    most: int
    depth: int = SLOTS_MAX

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Return the cap that a text says.

        Raises
        ------
        ValueError
            Where it says none.

        Examples
        --------
        >>> Cap.parsed("categories<=2 in 5")
        Cap(field='categories', most=2, depth=5)
        """
        found = CAP.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no cap; write FIELD<=MOST in DEPTH, categories<=2 in 5")
        return cls(found[1], int(found[2]), int(found[3] or SLOTS_MAX))

    @classmethod
    def for_new(cls, text: str) -> Self:
        """Return the cap that keeps so many of the first places for what is new: the others have
        what is left.

        Raises
        ------
        ValueError
            Where the text says none, or leaves no place to the others.

        Examples
        --------
        >>> str(Cap.for_new("1 in 5"))
        'not new<=4 in 5'
        """
        found = FRESH.fullmatch(text.strip())
        if found is None or int(found[1]) >= int(found[2]):
            raise ValueError(f"{text!r} is no LEAST in DEPTH with fewer than all; write 1 in 5")
        return cls(NOT_NEW, int(found[2]) - int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.field}<={self.most} in {self.depth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionSettings:
    """Settings of a composition.

    Attributes
    ----------
    diversity
        1 - λ of maximal marginal relevance (Carbonell & Goldstein 1998), in [0, 1): the share that
        an item's likeness to those above it has, against its score.
    diversity_by
        What likeness is taken from.
    calibration
        λ of calibrated recommendations (Steck 2018), in [0, 1): the share that the divergence of
        the slate's categories from the user's own has.
    """

    diversity: float = 0.0
    calibration: float = 0.0
    caps: tuple[Cap, ...] = ()
    diversity_by: LikenessBy = "categories"

    @property
    def on(self) -> bool:
        """True where anything is composed."""
        return self.by_vectors or bool(self.fields)

    @property
    def by_vectors(self) -> bool:
        """True where embeddings are compared."""
        return self.diversity > 0 and self.diversity_by == "embedding"

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields that groups are taken from, ``categories`` first."""
        capped = dict.fromkeys(cap.field for cap in self.caps)
        by_categories = self.diversity > 0 and not self.by_vectors
        first = by_categories or self.calibration > 0 or CATEGORIES in capped
        others = [field for field in capped if field != CATEGORIES]
        return ((CATEGORIES,) if first else ()) + tuple(others)

    def parameters(self) -> dict[str, Value]:
        """Return what a decision logs; nothing where nothing is composed."""
        if not self.on:
            return {}
        found: dict[str, Value] = {
            "slate_diversity": self.diversity,
            "slate_calibration": self.calibration,
        }
        if self.caps:
            found["slate_caps"] = "; ".join(map(str, self.caps))
        if self.by_vectors:
            found["slate_diversity_by"] = self.diversity_by
        return found

    @classmethod
    def logged(cls, parameters: Mapping[str, Value]) -> Self:
        """Return the settings that :meth:`parameters` gave.

        Raises
        ------
        ValueError
            Where a cap can't be read, a number, or what likeness is taken from.
        """
        caps = str(parameters.get("slate_caps", ""))
        said = parameters.get("slate_diversity_by", "categories")
        by = next((each for each in LIKENESS_BY if each == said), None)
        if by is None:
            raise ValueError(f"likeness by {said!r} is not one of {', '.join(LIKENESS_BY)}")
        return cls(
            diversity_by=by,
            diversity=float(parameters.get("slate_diversity", 0.0)),
            calibration=float(parameters.get("slate_calibration", 0.0)),
            caps=tuple(Cap.parsed(each) for each in caps.split(";") if each.strip()),
        )
