"""Channels that say something of every candidate, whoever brought it: the blend is made of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.asked import Asked
from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.channel import Channel, Kind, Recalled, RecallSettings

Floats = NDArray[np.float64]


S = TypeVar("S", bound=RecallSettings)


@dataclass(frozen=True, slots=True)
class MeasureNames:
    """Names of a channel's measures.

    Attributes
    ----------
    shares
        How many times as likely a candidate is as any item, one for each way to say it.
    raw
        Scores that are logits already.
    """

    shares: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of candidates.

    Attributes
    ----------
    shares
        ``(n_shares, n)``, at least 0.
    raw
        ``(n_raw, n)``.
    """

    shares: Floats
    raw: Floats


def unmeasured(n: int) -> Floats:
    """Return no measures of ``n`` candidates."""
    return np.zeros((0, n))


class MeasuringChannel(Channel[S]):
    """A channel that the blend is made of, and that practises.

    It is asked in the learner too, before an event is learned: nothing but what is :class:`Asked`
    may tell the two apart. It has no ranking columns of its own: the blend weighs what it says, and
    a bandit that weighed it again would only lose by it.
    """

    columns: ClassVar[tuple[Kind, ...]] = ()

    @property
    @abstractmethod
    def measures(self) -> MeasureNames:
        """Names of what it says of a candidate; a function of the configuration."""

    @abstractmethod
    def recall(self, context: Asked, allowed: NDArray[np.bool_], n: int) -> Recalled:
        """Return at most ``n`` items, best first; see :meth:`Channel.recall`."""

    @abstractmethod
    def measure(self, asked: Asked, candidates: Candidates) -> Measures:
        """Return its measures of candidates of any channel; 0 of an item without parameters."""
