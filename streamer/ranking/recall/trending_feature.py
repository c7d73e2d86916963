"""What a configured feature of items says is on the rise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.config.feature_definition import Refused
from streamer.config.masking import toml_text
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel, Recalled, RecallSettings
from streamer.replica.columns import TOP_MIN
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.table import Keys


class TrendingFeatureSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by a configured feature."""

    candidates: Annotated[
        int, Meta(ge=0, le=10_000, description="recalled by the values of the feature")
    ] = 100
    feature: Annotated[
        str,
        Meta(
            max_length=64,
            description="a feature of items whose largest values (of a recency the smallest) are "
            'recalled; "": none',
        ),
    ] = ""


class TrendingFeatureChannel(Channel[TrendingFeatureSettings]):
    """The items with the largest values of a configured feature."""

    name = "trending_feature"
    reason = "trending"
    settings_type = TrendingFeatureSettings
    # A feature that ranks has columns of its own.
    columns = ("rank",)
    needs_feedback = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        (self._feature,) = (
            each for each in _of_items(config) if each.name == self.settings.feature
        )

    @classmethod
    def is_on(cls, config: Config) -> bool:
        return bool(cls.settings_of(config).feature) and super().is_on(config)

    @classmethod
    def check(cls, config: Config) -> None:
        feature = cls.settings_of(config).feature
        of_items = [each.name for each in _of_items(config)]
        if feature not in ("", *of_items):
            problem = (
                f"{toml_text(feature)} is no feature of items; choose one of"
                f' {", ".join(of_items) or "those you define"}, or ""'
            )
            raise Refused(problem, cls.key("feature"))

    @property
    def rank_from_topic(self) -> bool:
        return self._feature.held_by == "windows"

    def follows(self) -> Sequence[str]:
        return [self._feature.name]

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        rows = context.items.map.find(self._best(context, max(n, TOP_MIN)))
        rows = rows[rows >= 0]
        return Recalled(rows[allowed[rows]][:n])

    def _best(self, context: RequestContext, n: int) -> Keys:
        """Keys of the items with the best values, the best first; at most ``n``."""
        feature = self._feature.name
        if self._feature.held_by == "learner":
            # As of the version, so that it is looked for once for all requests to it.
            version = context.version
            return version.decayed.top(feature, n, version.watermark_ms)
        if context.logged is not None:
            return keys_of(context.logged.channel(self.column("rank")))
        return context.known.top(feature, n, context.at_ms)


def _of_items(config: Config) -> list[FeatureDefinition]:
    return [each for each in feature_definitions(config) if each.entity == "item"]
