"""The interface of a policy: an estimate of candidates' rewards, and slates drawn from it.

Modules of policies import numba's kernels where they compute and not at their top: configuration,
documentation and clients read settings from here without waiting for a compiler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.policies.settings import (
    BoundSettings,
    ExploringSettings,
    PolicySettings,
    Value,
)

if TYPE_CHECKING:
    from streamer_models.bandits.arm_counts import Counts
    from streamer_models.bandits.composition import Composition
    from streamer_models.bandits.estimates import RewardEstimate
    from streamer_models.bandits.linear_posterior import LinearPosterior, LinearPrior
    from streamer_models.bandits.protocols import Contexts
    from streamer_models.bandits.slates import Draw
    from streamer_models.state.table import Keys

Floats = NDArray[np.float64]
S = TypeVar("S", bound=PolicySettings)
E = TypeVar("E", bound=ExploringSettings)


class LinearLearned(ABC):
    """Statistics of linear models at one moment, wherever they are kept."""

    @abstractmethod
    def posterior(self, prior: LinearPrior) -> LinearPosterior:
        """Return the posterior of the model that all items share; valid until more is learned."""

    @abstractmethod
    def arm_estimates(
        self, x: Contexts, arms: Keys, prior: LinearPrior, mean: Floats
    ) -> tuple[Floats, Floats]:
        """Return ``(n,)`` means and widths of ``n`` candidates under models of their own items.

        The prior's mean is ``mean``, its strength and its precisions are those of ``prior``.
        """


class CountedLearned(ABC):
    """Counts of outcomes by item at one moment, wherever they are kept."""

    @abstractmethod
    def counts(self, arms: Keys) -> Counts:
        """Return outcomes of ``(n,)`` arms; zeros where one is unknown."""

    @abstractmethod
    def total(self) -> Counts:
        """Return outcomes of all arms, in columns of length 1."""


@dataclass(frozen=True, slots=True, eq=False)
class ContextColumns:
    """Meaning of the contexts' columns, as far as estimates depend on it.

    Attributes
    ----------
    prior_mean
        ``(d,)`` reward that a step of each column is worth before anything is learned.
    standardized
        Whether the first column is a constant 1 and the prior is that of standardized columns.
    """

    prior_mean: Floats
    standardized: bool = False

    @classmethod
    def plain(cls, n_features: int) -> Self:
        """Return columns of which nothing is known."""
        return cls(np.zeros(n_features))


class Policy(ABC, Generic[S]):
    """Ranks candidates by an estimate of their rewards and draws slates from it.

    A policy holds settings and no statistics: drivers give it what was learned. The same
    statistics, contexts and seed give the same slate and propensities, to the bit.

    Parameters
    ----------
    settings
        Of the policy's ``settings_type``.
    columns
        Meaning of the contexts' columns; policies over counts read none.

    Attributes
    ----------
    name
        In configuration, on the command line and in logged decisions.
    takes
        What a slot takes, for the documentation.
    source
        Where it was published.
    settings_type
        Type of its settings; their defaults are those of the live system.
    published
        Settings of the publication that differ from the defaults: where an evaluation starts on
        the logs of others.
    """

    name: ClassVar[str]
    takes: ClassVar[str]
    source: ClassVar[str]
    settings_type: ClassVar[type[PolicySettings]]
    published: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, settings: S, columns: ContextColumns) -> None:
        self.settings = settings
        self.columns = columns

    @property
    def parameters(self) -> dict[str, Value]:
        """Settings as decisions log them."""
        return self.settings.parameters()

    @abstractmethod
    def estimate(self, contexts: Contexts, arms: Keys, learned: Any) -> RewardEstimate:
        """Return what statistics say of ``(n,)`` candidates with ``(n, d)`` contexts."""

    @abstractmethod
    def unpacked(self, state: bytes, contexts: Contexts) -> RewardEstimate:
        """Return the estimate that a decision logged of its candidates.

        Raises
        ------
        ValueError
            Where ``state`` is not an estimate of so many candidates and columns.
        """

    @abstractmethod
    def draw(self, estimate: RewardEstimate, k: int, seed: int, composition: Composition) -> Draw:
        """Draw a slate of at most ``k`` candidates, with the propensity of each slot.

        Parameters
        ----------
        composition
            What slots ask of each other; draws of :mod:`streamer_models.bandits.slates` take it.
        """


def draw_best(
    scores: Floats, k: int, seed: int, settings: ExploringSettings, composition: Composition
) -> Draw:
    """Return the best by ``scores``, mixed with a uniform share."""
    from streamer_models.bandits import slates

    share, slots = settings.uniform_share, settings.explore_slots
    return slates.draw_best(
        scores, k, seed, uniform_share=share, slots=slots, composition=composition
    )


def draw_by_bounds(
    estimate: RewardEstimate, k: int, seed: int, settings: BoundSettings, composition: Composition
) -> Draw:
    """Return the best by upper confidence bounds, mixed with a uniform share."""
    bounds = settings.alpha * estimate.deviations() + estimate.expected
    return draw_best(bounds, k, seed, settings, composition)
