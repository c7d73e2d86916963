"""The section ``[slate]``: what the places of a slate ask of each other."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from streamer.config.section import Section
from streamer_models.bandits.composition import CAP, Cap, CompositionSettings

CAPS_MAX: Final = 16


class SlateConfig(Section, frozen=True, kw_only=True):
    """How slates are composed, inside their propensities."""

    diversity: Annotated[
        float,
        Meta(
            ge=0,
            le=0.99,
            description="share that an item's likeness to those above it has, by Jaccard's "
            "similarity of categories, against its score (maximal marginal relevance); 0: none",
        ),
    ] = 0.0
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
            'may have: `["categories<=2 in 5", "brand<=1"]`; they give way where nothing else is '
            "left",
        ),
    ] = ()

    @property
    def settings(self) -> CompositionSettings:
        """As draws take them."""
        return CompositionSettings(
            diversity=self.diversity,
            calibration=self.calibration,
            caps=tuple(map(Cap.parsed, self.caps)),
        )
