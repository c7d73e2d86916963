"""The interface of ranking columns, and what is derived from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.ranking.recall.channel import Channel
from streamer.ranking.scored import ScoredCandidates

Block = NDArray[np.float32]
"""``(n_columns, n_candidates)`` of a family."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    name
        As decisions carry it.
    meaning
        What its numbers say, transformation included.
    prior_weight
        Reward of a step of 1, in units of ``bandit.prior_reward``, before anything is learned.
    from_topic
        Whether it is read from the features topic, whose past is not kept; all others follow from
        the request, the catalogue and the commits that a decision was made from.
    """

    name: str
    meaning: str
    prior_weight: float = 0.0
    from_topic: bool = False


class Family(ABC):
    """Columns that are computed together, bound to a configuration.

    A subclass in a file of its own and a line in :mod:`streamer.ranking.columns.registry` make
    columns. The documentation, the prior of the bandit, what decisions log and what of it comes
    from the features topic follow from the class.

    What all candidates of a request share (who asks, from where) cannot change their order in a
    linear model that they share too. So such things are crossed: times the standardized score of a
    channel, they say for whom, where and when that channel is to be trusted more or less. The
    position in the slate is not known before the slate is drawn; see
    :mod:`streamer.ranking.columns.position`.

    Attributes
    ----------
    columns
        In the order in which :meth:`fill` writes them; a function of the configuration alone, so
        that learner and scorer agree without asking each other. None: the family is off.
    """

    def __init__(self, config: Config, channels: Sequence[Channel[Any]]) -> None:
        self.config = config
        self.channels = channels
        self.columns: tuple[Column, ...] = tuple(self.describe())

    @abstractmethod
    def describe(self) -> Sequence[Column]:
        """Return the columns under the configuration."""

    @abstractmethod
    def fill(self, out: Block, scored: ScoredCandidates) -> None:
        """Write every column, as float32 whatever it is computed in; ±8 is cut off afterwards.

        Not called where there are no columns. A function of ``scored`` alone.

        Parameters
        ----------
        out
            ``(n_columns, n_candidates)``, of undefined content.
        """


def crossed(feature: str, channel: Channel[Any]) -> str:
    """Return the name of what candidates share times the standardized score of a channel."""
    return f"{feature}*{channel.column('z')}"


def by_half_life(feature: str, half_life_s: float) -> str:
    """Return the name of the column of one half-life.

    >>> by_half_life("ctr", 3_600.0)
    'ctr_3600s'
    """
    return f"{feature}_{half_life_s:.12g}s"
