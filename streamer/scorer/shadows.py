"""Shadow variants of one answer, computed while it is on its way, for its decisions to log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from streamer.catalogue.catalogue import Catalogue
from streamer.errors import is_interruption
from streamer.events import Shadow
from streamer.ranking.known_features import FeatureSource
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel
from streamer.scorer.metrics import ScorerMetrics
from streamer.scorer.rows import RowSlate
from streamer.scorer.shadow_slate import ShadowSlate
from streamer.scorer.variants import Variants

log = logging.getLogger(__name__)


class Shadows:
    """What shadow variants would have shown in place of the slates of one answer.

    Parameters
    ----------
    slates
        Those that decisions are made of.
    """

    def __init__(
        self, variants: Variants, slates: Sequence[RowSlate], metrics: ScorerMetrics
    ) -> None:
        self._slates = slates
        self._wanted = [
            list(variants.shadows_of(each.request.request_id, each.slate.variants))
            if each.slate.item_ids
            else []
            for each in slates
        ]
        self._counter = metrics.experiment_shadows

    def __bool__(self) -> bool:
        """Whether there is anything to compute."""
        return any(self._wanted)

    def computed(
        self,
        version: Version,
        catalogue: Catalogue,
        known: FeatureSource,
        *,
        awaited: Callable[[], bool],
    ) -> list[list[Shadow]]:
        """Return of each slate what was computed, by what the slate was made from.

        One after the other, while no other request waits; those that are left are shed. One that
        fails is logged and left out: it has no part in the answer.

        Parameters
        ----------
        awaited
            Whether other requests wait behind this one.
        """
        found: list[list[Shadow]] = []
        for slate, wanted in zip(self._slates, self._wanted, strict=True):
            found.append([])
            for experiment, variant, funnel in wanted:
                outcome = "shed"
                if not awaited():
                    made = _made(funnel, slate, version, catalogue, known)
                    outcome = "failed" if made is None else "computed"
                    if made is not None:
                        found[-1].append(_message(experiment, variant, made))
                self._counter.labels(experiment, variant, outcome).inc()
        return found


def _made(
    funnel: Funnel, slate: RowSlate, version: Version, catalogue: Catalogue, known: FeatureSource
) -> ShadowSlate | None:
    """Return what a funnel would have shown; None: it failed."""
    shown = slate.slate.item_ids
    try:
        return funnel.shadow(shown, slate.request, version, catalogue, known=known)
    except Exception as error:
        if is_interruption(error):
            raise
        log.exception("shadow_failed", extra={"request_id": slate.request.request_id})
        return None


def _message(experiment: str, variant: str, made: ShadowSlate) -> Shadow:
    return Shadow(
        experiment=experiment,
        variant=variant,
        items=made.item_ids,
        propensities=made.propensities,
        settings=dict(made.settings) or None,
    )
