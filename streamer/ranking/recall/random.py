"""Items of the catalogue at random, so that what is new can be shown at all."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import NOTHING, Channel, Recalled, RecallSettings


class RandomSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall at random."""

    candidates: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="drawn from the catalogue at random; without them, what had no feedback "
            "yet is not shown",
        ),
    ] = 20


class RandomChannel(Channel[RandomSettings]):
    """Items of the catalogue, each as likely, whether anybody has met it or not.

    Without them nothing would ever be shown but what had feedback before. A request that names its
    candidates gets none.
    """

    name = "random"
    reason = "at random"
    settings_type = RandomSettings
    columns = ()
    ordered = False
    needs_feedback = True

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        if context.request.candidates:
            return NOTHING
        return Recalled.of_ids(context, context.catalogue.drawn(n, context.seed), allowed)
