"""Items of the catalogue at random, so that what is new can be shown at all."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel, Recalled, RecallSettings


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

    Without them nothing would ever be shown but what had feedback before. Where a request names its
    candidates, they are drawn from those of them that the catalogue knows.
    """

    name = "random"
    reason = "at random"
    settings_type = RandomSettings
    columns = ()
    ordered = False
    needs_feedback = True

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        catalogue, named = context.catalogue, context.request.candidates
        keys = (
            catalogue.drawn_among(named, n, context.seed)
            if named
            else catalogue.drawn(n, context.seed)
        )
        return Recalled.of_keys(context, keys, allowed)
