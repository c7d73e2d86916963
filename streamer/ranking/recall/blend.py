"""The blend: what the channels say of a candidate, weighed by what users took up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.config.extensions import RECALL, extensions
from streamer.config.feature_definition import Refused
from streamer.ranking.asked import Asked, RowReader, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import NOTHING, Channel, Recalled, Scores, WeighedSettings
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer_models.counters.history import UserHistory
from streamer_models.ranking.blend import BlendWeights, ListwiseBlend
from streamer_models.ranking.blend_kernels import (
    N_CONTEXTS,
    blend_columns,
    user_context,
)
from streamer_models.state.model import Model

Floats = NDArray[np.float64]

_PRIOR_WEIGHT = 1 / 8


class BlendSettings(WeighedSettings, frozen=True, kw_only=True):
    """The blend of what all channels say, learned from what users take up."""

    candidates: Annotated[
        int, Meta(ge=0, le=0, description="none: it scores those of other channels")
    ] = 0
    weight: Annotated[
        float, Meta(ge=0, le=1_000, description="of the blend in the bandit's prior; 0: no blend")
    ] = 1.0
    rate: Annotated[float, Meta(gt=0, le=100, description="of a Newton step")] = 5.0
    precision: Annotated[
        float, Meta(gt=0, le=1e9, description="of the weights it begins with: how slowly they move")
    ] = 30.0
    window: Annotated[
        int, Meta(ge=1, le=1_024, description="steps of a partition between two sets of weights")
    ] = 32


class BlendChannel(Channel[BlendSettings]):
    """Scores candidates by all measures of the channels; it brings none itself."""

    name = "blend"
    reason = "for you"
    settings_type = BlendSettings
    score_meaning = "logit of the blend"
    columns = ("z",)
    crossed = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._history = UserHistory(length=config.mf.history)
        self.measuring: list[MeasuringChannel[Any]] = []
        self._model: ListwiseBlend | None = None
        self._solved: tuple[RowReader, BlendWeights] | None = None

    def beside(self, channels: Sequence[Channel[Any]]) -> None:
        """Blend the measures of these channels."""
        self.measuring = [each for each in channels if isinstance(each, MeasuringChannel)]
        shares = [name for each in self.measuring for name in each.measures.shares]
        raw = [name for each in self.measuring for name in each.measures.raw]
        columns = [f"{name}_{part}" for name in shares for part in ("low", "high")] + raw
        if not columns:
            return
        prior = np.zeros((len(columns), N_CONTEXTS))
        prior[[*range(1, 2 * len(shares), 2), *range(2 * len(shares), len(columns))], 0] = (
            _PRIOR_WEIGHT
        )
        self._model = ListwiseBlend(
            columns=columns,
            prior=prior,
            rate=self.settings.rate,
            precision=self.settings.precision,
            window=self.settings.window,
        )

    @classmethod
    def check(cls, config: Config) -> None:
        if config.funnel.ranker != cls.name:
            return
        if not cls.is_on(config):
            problem = "0: what is to rank is switched off; give it a weight, or let the bandit rank"
            raise Refused(problem, cls.key("weight"), "funnel.ranker")
        channels = cast(Sequence[type[Channel[Any]]], extensions(RECALL))
        measuring = [each for each in channels if issubclass(each, MeasuringChannel)]
        if not any(each.is_on(config) for each in measuring):
            names = ", ".join(each.name for each in measuring)
            problem = f"no channel that the blend weighs is on; switch on one of {names}"
            raise Refused(problem, "funnel.ranker")

    @property
    def model(self) -> ListwiseBlend | None:
        """The model of its weights; None where no channel has measures."""
        return self._model

    def models(self) -> Sequence[Model]:
        """Return the model of its weights."""
        return [] if self._model is None else [self._model]

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        return NOTHING

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        if self._model is None or not len(candidates):
            return candidates.zeros()
        columns = self.measured(context, candidates)
        return self.weights(context).scores(columns, self.who(context)).astype(np.float32)

    def measured(self, asked: Asked, candidates: Candidates) -> Floats:
        """Return the ``(n_candidates, n_columns)`` columns that are blended."""
        found = [each.measure(asked, candidates) for each in self.measuring]
        shares = np.concatenate([each.shares for each in found])
        raw = np.concatenate([each.raw for each in found])
        columns: Floats = blend_columns(shares, raw)
        return columns

    def who(self, asked: Asked) -> Floats:
        """Return the ``(8,)`` contexts of the user who asks."""
        before = met(asked, self._history)
        gap_ms = asked.at_ms - int(before.ts_ms[0]) if len(before.ts_ms) else 0
        context: Floats = user_context(before.n_events, gap_ms)
        return context

    def weights(self, context: RequestContext) -> BlendWeights:
        """Return what candidates are scored with, solved once for all versions that share the
        statistics."""
        assert self._model is not None, "no channel has measures"
        statistics = context.tables.read(self._model.statistics)
        if self._solved is None or self._solved[0] is not statistics:
            self._solved = statistics, self._model.merged_weights(statistics.row(0))
        return self._solved[1]
