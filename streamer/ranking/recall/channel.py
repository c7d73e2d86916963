"""The interface of a recall channel, and what is derived from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streamer.config import Config
from streamer.config.extensions import RECALL
from streamer.config.section import Section
from streamer.events import Item
from streamer.ranking.asked import Asked
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.model import Model
from streamer_models.state.table import Keys, Slots

Kind = Literal["score", "rank", "z"]
"""A channel's columns: its score, its order, its score standardized over the candidates."""
Scores = NDArray[np.float32]
_NO_KEYS: Final = np.zeros(0, dtype=np.uint64)


class RecallSettings(Section, frozen=True, kw_only=True):
    """What every channel is told."""

    candidates: Annotated[int, Meta(ge=0, le=10_000, description="recalled; 0: none")] = 0


class WeighedSettings(RecallSettings, frozen=True, kw_only=True):
    """What a channel with a standardized score is told."""

    weight: Annotated[
        float, Meta(ge=0, le=1_000, description="of a standard deviation of its score in the blend")
    ] = 0.0


S = TypeVar("S", bound=RecallSettings)


@dataclass(frozen=True, slots=True)
class Recalled:
    """Items that a channel brings, best first.

    Attributes
    ----------
    rows
        ``(n,)`` rows, none twice; -1 for an item that has no parameters yet.
    new_keys
        Keys of the items without a row, in the order of their -1 in ``rows``.
    """

    rows: Slots
    new_keys: Keys = field(default_factory=lambda: _NO_KEYS)

    @classmethod
    def of_ids(cls, asked: Asked, ids: Sequence[str], allowed: NDArray[np.bool_]) -> Recalled:
        """Return those items of the catalogue that may be shown, given by id, in their order."""
        return cls.of_keys(asked, keys_of(ids), allowed)

    @classmethod
    def of_keys(cls, asked: Asked, keys: Keys, allowed: NDArray[np.bool_]) -> Recalled:
        """Return those items of the catalogue that may be shown, given by key, in their order."""
        if not len(keys):
            return NOTHING
        rows = asked.item_rows(keys)
        shown, new = np.zeros(len(keys), dtype=np.bool_), rows < 0
        shown[~new] = allowed[rows[~new]]
        if not new.any():
            return cls(rows[shown])
        shown[new] = asked.may_be_shown(keys[new])
        return cls(rows[shown], keys[shown & new])

    def first(self, n: int) -> Recalled:
        """Return the best ``n`` of them."""
        rows = self.rows[:n]
        return Recalled(rows, self.new_keys[: int(np.count_nonzero(rows < 0))])


NOTHING: Final = Recalled(np.zeros(0, dtype=np.int32))


class Channel(ABC, Generic[S]):
    """A source of candidates, bound to a configuration.

    A subclass in a file of its own and a line in :mod:`streamer.ranking.recall.registry` make a
    channel. Its section ``[recall.NAME]``, its keys in replay, the bound of candidates, its ranking
    columns, the prior of the bandit and the reasons of slates follow from the class.

    One that is off no scorer or learner makes: it has no columns, and its models are not learned.

    Attributes
    ----------
    name
        Of its section, and of its columns ``NAME_score``, ``NAME_rank`` and ``NAME_z``.
    reason
        Why an item is recommended that this channel placed highest.
    reason_with
        The same where :meth:`because` names an item, whose title takes the place of ``{}``.
    reason_of
        The same where :meth:`category` names one, which takes the place of ``{}``.
    settings_type
        Its section; the docstring and the descriptions are its documentation.
    score_meaning
        What :meth:`score` returns, for the documentation of its columns.
    columns
        Those of its three columns that candidates are ranked by.
    weighed
        The one of them that its ``weight`` is of.
    crossed
        Whether its standardized score is crossed with what all candidates of a request share.
    ordered
        Whether its order says how good an item is. If not, its reason counts only for items that
        no ordered channel brought.
    needs_feedback
        Whether its reason is true only of items with positive feedback.
    related
        Whether what it brings goes with the user's last items: it is asked first for what goes with
        the seeds of a request.
    """

    name: ClassVar[str]
    reason: ClassVar[str]
    reason_with: ClassVar[str] = ""
    reason_of: ClassVar[str] = ""
    settings_type: type[S]
    score_meaning: ClassVar[str] = "its score"
    columns: ClassVar[tuple[Kind, ...]] = ("score", "rank", "z")
    weighed: ClassVar[Kind] = "z"
    crossed: ClassVar[bool] = False
    ordered: ClassVar[bool] = True
    needs_feedback: ClassVar[bool] = False
    related: ClassVar[bool] = False

    def __init__(self, config: Config) -> None:
        self.config = config
        self.settings: S = self.settings_of(config)

    @classmethod
    def settings_of(cls, config: Config) -> S:
        """Return the channel's section of a configuration."""
        given = config.recall.get(cls.name)
        if given is None:
            return cls.settings_type()
        assert isinstance(given, cls.settings_type), f"recall.{cls.name} is a {type(given)}"
        return given

    @classmethod
    def is_on(cls, config: Config) -> bool:
        """Whether the channel recalls candidates, or its score has a weight in the blend."""
        settings = cls.settings_of(config)
        return settings.candidates > 0 or getattr(settings, "weight", 0.0) > 0

    @classmethod
    def off(cls) -> dict[str, object]:
        """Return the dotted keys, with the values, that switch it off.

        >>> from streamer.ranking.recall.popular import PopularChannel
        >>> PopularChannel.off()
        {'recall.popular.candidates': 0}
        """
        fields = cls.settings_type.__struct_fields__
        return {cls.key(name): 0 for name in ("candidates", "weight") if name in fields}

    @classmethod
    def check(cls, config: Config) -> None:
        """Check what only several settings together show; nothing by default.

        Raises
        ------
        Refused
            With the dotted keys at fault.
        """

    @classmethod
    def key(cls, field: str) -> str:
        """Return the dotted key of a setting.

        >>> from streamer.ranking.recall.factorization import FactorizationChannel
        >>> FactorizationChannel.key("candidates")
        'recall.mf.candidates'
        """
        return f"{RECALL}.{cls.name}.{field}"

    @classmethod
    def column(cls, kind: Kind) -> str:
        """Return the name of one of its columns."""
        return f"{cls.name}_{kind}"

    @property
    def scores(self) -> bool:
        """Whether anything is ranked by its score."""
        return self.crossed or "score" in self.columns or "z" in self.columns

    def prior_weight(self, kind: Kind) -> float:
        """Return the reward of a step of a column, in units of ``bandit.prior_reward``."""
        return float(getattr(self.settings, "weight", 0.0)) if kind == self.weighed else 0.0

    @property
    def rank_from_topic(self) -> bool:
        """Whether its order comes from the features topic, whose past is not kept."""
        return False

    @property
    def candidates_max(self) -> int:
        """Most candidates that it brings."""
        return self.settings.candidates

    def beside(self, channels: Sequence[Channel[Any]]) -> None:
        """Take note of the channels that are on, itself among them; nothing by default."""

    def models(self) -> Sequence[Model]:
        """Return the models it needs beside those that every learner has."""
        return ()

    def follows(self) -> Sequence[str]:
        """Return the configured features that it reads."""
        return ()

    @abstractmethod
    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        """Return at most ``n`` items, best first.

        Changes nothing. Kernels compile before the first request: a scorer begins by asking for a
        made-up user over made-up rows of every table.

        Parameters
        ----------
        allowed
            ``(n_rows,)`` rows that may be in the slate.
        """

    def because(self, context: RequestContext, keys: Keys) -> Keys:
        """Return ``(n,)`` for each of some items the item that speaks for it most; 0: none."""
        return np.zeros_like(keys)

    def category(self, context: RequestContext, item: Item) -> str | None:
        """Return the category of an item that speaks for it most; None: none does."""
        return None

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        """Return ``(n_candidates,)`` scores of candidates of any channel; 0 where unknown."""
        return candidates.zeros()
