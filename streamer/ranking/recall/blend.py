"""The blend: what the channels say of a candidate, weighed by what users took up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

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
from streamer_models.ranking.answer_kernels import LOGGED_MAX
from streamer_models.ranking.answers import AnsweredSlates
from streamer_models.ranking.blend import BlendWeights, ListwiseBlend
from streamer_models.ranking.blend_kernels import (
    N_CONTEXTS,
    NO_LIMIT,
    blend_columns,
    blend_scores,
    user_context,
)
from streamer_models.state.model import Model

Floats = NDArray[np.float64]

_PRIOR_WEIGHT: Final = 1 / 8
_POSITION: Final = "ln_position"
_BEHIND: Final = ("logit", "correction")
"""What is logged of an item behind its columns; ``streamer_models.ranking.answer_kernels`` reads
it."""

_ALWAYS: Final = np.ones(1)
_UNLIMITED: Final = np.array([[-NO_LIMIT], [NO_LIMIT]])
"""One context, of 1: what answers taught does not depend on who asks."""


@dataclass(frozen=True, slots=True)
class BlendedSlate:
    """What the blend learns from once a slate is answered.

    Attributes
    ----------
    names
        Of the columns.
    values
        ``(k, n_names)`` of the items, in the order shown.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BlendedCandidates:
    """What the blend says of the candidates of a request, and from what.

    Attributes
    ----------
    columns
        ``(n, n_columns)``.
    logits
        ``(n,)``.
    correction
        ``(n,)`` the part of the logits that answers to slates taught.
    attention
        Weight of the logarithm of an item's position among the items shown.
    undue
        ``(n,)`` what was taken off the logits of candidates that nobody met.
    """

    columns: Floats
    logits: Floats
    correction: Floats
    attention: float
    undue: Floats

    def logged(self, order: NDArray[np.intp], places: NDArray[np.intp]) -> NDArray[np.float32]:
        """``(k, n_logged)`` what is logged of the candidates that are shown, in their order."""
        ln_position = np.log1p(places.astype(np.float64))
        seen = self.attention * ln_position
        logged = np.column_stack(
            [
                self.columns[order],
                ln_position,
                self.logits[order] + seen,
                self.correction[order] + seen,
            ]
        )
        found: NDArray[np.float32] = np.clip(logged, -LOGGED_MAX, LOGGED_MAX).astype(np.float32)
        return found


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
    answers: Annotated[
        bool,
        Meta(
            description="learn from answered slates too; an event that names a request does not"
            " practise then"
        ),
    ] = True
    answers_rate: Annotated[
        float, Meta(gt=0, le=100, description="of a Newton step that an answer takes")
    ] = 1.0
    attention: Annotated[
        float,
        Meta(
            ge=0,
            le=10,
            description="how steeply attention falls with the position, (1 + position)^-attention,"
            " before answers say so",
        ),
    ] = 0.3


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
        self._is_share = np.zeros(0, dtype=np.bool_)
        self._model: ListwiseBlend | None = None
        self._answers: AnsweredSlates | None = None
        self._solved: tuple[RowReader, BlendWeights] | None = None
        self._corrected: tuple[RowReader, Floats] | None = None

    def beside(self, channels: Sequence[Channel[Any]]) -> None:
        """Blend the measures of these channels."""
        self.measuring = [each for each in channels if isinstance(each, MeasuringChannel)]
        shares = [name for each in self.measuring for name in each.measures.shares]
        raw = [name for each in self.measuring for name in each.measures.raw]
        columns = [f"{name}_{part}" for name in shares for part in ("low", "high")] + raw
        self._is_share = np.arange(len(columns)) < 2 * len(shares)
        if not columns:
            return
        prior = np.zeros((len(columns), N_CONTEXTS))
        low = self._is_share & (np.arange(len(columns)) % 2 == 0)
        prior[~low, 0] = _PRIOR_WEIGHT
        self._model = ListwiseBlend(
            columns=columns,
            prior=prior,
            rate=self.settings.rate,
            precision=self.settings.precision,
            window=self.settings.window,
        )
        if self.settings.answers:
            of_slate = np.zeros(len(columns) + 1)
            of_slate[-1] = -self.settings.attention
            self._answers = AnsweredSlates(
                columns=[*columns, _POSITION],
                prior=of_slate,
                rate=self.settings.answers_rate,
                precision=self.settings.precision,
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

    @property
    def slate_names(self) -> tuple[str, ...]:
        """Names of what is logged of each item shown; none where no answer is learned from."""
        return () if self._answers is None else (*self._answers.columns, *_BEHIND)

    def models(self) -> Sequence[Model]:
        """Return the models of its weights."""
        return [each for each in (self._model, self._answers) if each is not None]

    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        return NOTHING

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        if self._model is None or not len(candidates):
            return candidates.zeros()
        return self.blended(context, candidates).logits.astype(np.float32)

    def blended(self, context: RequestContext, candidates: Candidates) -> BlendedCandidates:
        """Return what it says of the candidates of a request, found once."""
        found: BlendedCandidates = context.once(
            BlendedCandidates, lambda: self._blended(context, candidates)
        )
        return found

    def slate(
        self,
        context: RequestContext,
        candidates: Candidates,
        order: NDArray[np.intp],
        places: NDArray[np.intp],
    ) -> BlendedSlate | None:
        """Return what is logged of the candidates that are shown, at ``(k,)`` places; None where it
        learns from no slate."""
        if self._answers is None:
            return None
        values = np.zeros((0, len(self.slate_names)), dtype=np.float32)
        if len(order):
            values = self.blended(context, candidates).logged(order, places)
        return BlendedSlate(self.slate_names, values)

    def _blended(self, context: RequestContext, candidates: Candidates) -> BlendedCandidates:
        assert self._model is not None, "nothing measures"
        columns = self.measured(context, candidates)
        practised, who = self._practised(self._model, context), self.who(context)
        logits = practised.scores(columns, who)
        correction, attention = np.zeros(len(logits)), 0.0
        if self._answers is not None:
            learned = self._learned(self._answers, context)
            weights_of_all = learned[:-1].reshape(-1, 1)
            correction = blend_scores(columns, weights_of_all, _UNLIMITED, _ALWAYS)
            attention = float(learned[-1])
        undue, n_known = np.zeros(len(logits)), len(candidates.rows)
        if 0 < n_known < len(candidates):
            undue = _undue(practised.scores(self._unpractised(columns, n_known), who), n_known)
        logits += correction - undue
        return BlendedCandidates(columns, logits, correction, attention, undue)

    def _unpractised(self, columns: Floats, n_known: int) -> Floats:
        """``(n, n_columns)`` columns of shares of which each of the ``n_known`` first candidates,
        those met, has more than any other; the rest are 0.

        Nobody practised with so little: that what a user met never led to an item is so of items
        met too, and has been weighed; that nobody took an item up is not.
        """
        unheard = columns[n_known:].max(axis=0) < columns[:n_known].min(axis=0)
        found: Floats = np.where(unheard & self._is_share, columns, 0.0)
        return found

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

    def weights(self, context: RequestContext) -> Floats:
        """Return the ``(n_columns,)`` weights of the columns for who asks now."""
        assert self._model is not None, "no channel has measures"
        each = np.eye(len(self._model.columns))
        found: Floats = self._practised(self._model, context).scores(each, self.who(context))
        if self._answers is not None:
            found += self._learned(self._answers, context)[:-1]
        return found

    def _practised(self, model: ListwiseBlend, context: RequestContext) -> BlendWeights:
        """Solved once for all versions that share the statistics."""
        statistics = context.tables.read(model.statistics)
        if self._solved is None or self._solved[0] is not statistics:
            self._solved = statistics, model.merged_weights(statistics.row(0))
        return self._solved[1]

    def _learned(self, model: AnsweredSlates, context: RequestContext) -> Floats:
        """What answers taught, solved once for all versions that share the statistics."""
        statistics = context.tables.read(model.statistics)
        if self._corrected is None or self._corrected[0] is not statistics:
            self._corrected = statistics, model.weights(statistics.row(0))
        return self._corrected[1]


def _undue(unpractised: Floats, n_known: int) -> Floats:
    """``(n,)`` by how much candidates that nothing is known of stand above the last of the
    ``n_known`` first, which were met, by what nobody practised with alone.

    Where few events have weighed the counts, having none would else be a merit.
    """
    undue: Floats = np.maximum(unpractised - unpractised[:n_known].min(), 0.0)
    undue[:n_known] = 0.0
    return undue


def blend_of(channels: Sequence[Channel[Any]]) -> BlendChannel | None:
    """Return the blend among the channels that are on."""
    return next((each for each in channels if isinstance(each, BlendChannel)), None)
