"""Candidates with every channel's score: what ranking columns are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.recall.channel import Channel, Scores


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """The candidates of a request, and what each channel that is on says of all of them.

    Attributes
    ----------
    scores, z
        Channel's name → ``(n,)`` scores, and those standardized over the candidates.
    crossed
        ``(n_crossed, n)`` standardized scores of the channels that are crossed with what all
        candidates of a request share.
    """

    context: RequestContext
    candidates: Candidates
    scores: Mapping[str, Scores]
    z: Mapping[str, Scores]
    crossed: NDArray[np.float32]


def scored(
    context: RequestContext, candidates: Candidates, channels: Sequence[Channel[Any]]
) -> ScoredCandidates:
    """Have every candidate scored by every channel."""
    scoring = [each for each in channels if each.scores]
    values = np.empty((len(scoring), len(candidates)), dtype=np.float32)
    for row, channel in zip(values, scoring, strict=True):
        row[:] = channel.score(context, candidates)
    standard = standardized(values)
    names = [each.name for each in scoring]
    return ScoredCandidates(
        context,
        candidates,
        dict(zip(names, values, strict=True)),
        dict(zip(names, standard, strict=True)),
        standard[[i for i, each in enumerate(scoring) if each.crossed]],
    )


def standardized(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each row with zero mean and unit deviation; all zero where all values are equal."""
    n = channels.shape[1]
    if not n:
        return channels
    centred = channels - channels.sum(axis=1, keepdims=True) / np.float32(n)
    deviations = np.sqrt((centred**2).sum(axis=1, keepdims=True) / np.float32(n))
    deviations[np.ptp(channels, axis=1) == 0] = np.inf
    scaled: NDArray[np.float32] = centred / deviations
    return scaled
