"""The section ``[slate]``: what the places of a slate ask of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from msgspec import Meta

from streamer.config.section import Section
from streamer.events import Item
from streamer_models.bandits.composition_settings import (
    CAP,
    CATEGORIES,
    FRESH,
    Cap,
    CompositionSettings,
    LikenessBy,
)

CAPS_MAX: Final = 16
LISTS: Final = frozenset({CATEGORIES, "tags"})
"""Fields of an item that caps read beside its attributes."""
_NO_ATTRIBUTES: Final = frozenset(Item.__struct_fields__) - LISTS


class SlateConfig(Section, frozen=True, kw_only=True):
    """How slates are composed, inside their propensities."""

    diversity: Annotated[
        float,
        Meta(
            ge=0,
            le=0.99,
            description="share that an item's likeness to those above it has against its score "
            "(maximal marginal relevance); 0: none",
        ),
    ] = 0.0
    diversity_by: Annotated[
        LikenessBy,
        Meta(
            description="what likeness is: Jaccard's similarity of `categories`, or the cosine of "
            "embeddings (`catalogue.embedding`), a negative one as 0",
        ),
    ] = "categories"
    calibration: Annotated[
        float,
        Meta(
            ge=0,
            le=0.99,
            description="share that the divergence of a slate's categories from those of the "
            "user's last items has, against scores; 0: none",
        ),
    ] = 0.0
    caps: Annotated[
        tuple[Annotated[str, Meta(pattern=f"^{CAP.pattern}$")], ...],
        Meta(
            max_length=CAPS_MAX,
            description="items of one category, tag or value of an attribute that the first places "
            'may have: `["categories<=2 in 5", "brand<=1"]`; a place that can not keep all keeps '
            "the first ones",
        ),
    ] = ()

    fresh: Annotated[
        tuple[Annotated[str, Meta(pattern=f"^{FRESH.pattern}$")], ...],
        Meta(
            max_length=CAPS_MAX,
            description="how many of the first places are for new items (`recall.fresh.days` after "
            '`created_ts`) at least: `["1 in 5"]`; they give way where no candidate is new, or '
            "caps leave no new one",
        ),
    ] = ()

    @property
    def settings(self) -> CompositionSettings:
        """As draws take them."""
        return CompositionSettings(
            diversity=self.diversity,
            diversity_by=self.diversity_by,
            calibration=self.calibration,
            caps=(*map(Cap.parsed, self.caps), *map(Cap.for_new, self.fresh)),
        )


def slate_problems(slate: SlateConfig, n_numbers: int) -> Iterator[tuple[str, str]]:
    """Yield the keys of a slate that can't be, each with what is wrong.

    Parameters
    ----------
    n_numbers
        Of each item's embedding (``catalogue.embedding``); 0: items have none.
    """
    if slate.diversity and slate.diversity_by == "embedding" and not n_numbers:
        problem = "catalogue.embedding is 0: items have no vectors to compare; set both"
        yield "slate.diversity_by", problem
    for text in slate.caps:
        if (why := _cap_problem(Cap.parsed(text))) is not None:
            yield "slate.caps", f"{text!r}: {why}"
    for text in slate.fresh:
        try:
            Cap.for_new(text)
        except ValueError as error:
            yield "slate.fresh", str(error)


def _cap_problem(cap: Cap) -> str | None:
    """Say why a cap bounds nothing, whatever the items are; None: it may bound something."""
    if cap.field in _NO_ATTRIBUTES:
        return (
            f"{cap.field} is no attribute: caps read categories, tags and the names of attributes"
        )
    if cap.most >= cap.depth:
        return (
            f"it bounds nothing: {cap.depth} places have {cap.depth} items at most; write less than"
            f" {cap.depth}, or leave it out"
        )
    return None
