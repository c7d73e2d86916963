"""A policy with statistics of its own, in memory: the driver of evaluations and experiments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.composition import UNCOMPOSED, Composition
from streamer_models.bandits.counted_memory import CountedMemory
from streamer_models.bandits.estimates import RewardEstimate
from streamer_models.bandits.linear_memory import LinearMemory
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.bandits.protocols import Contexts, LearningBandit
from streamer_models.bandits.slates import Draw
from streamer_models.state.table import Keys

Floats = NDArray[np.float64]


class Memory(Protocol):
    """Statistics that one process learns."""

    def amend(
        self,
        x: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
        weights: Floats | None = None,
    ) -> None:
        """Bring outcomes from ``before`` to ``after``; NaN: not learned."""

    def merge(self, other: Any) -> None:
        """Add what another has learned of other examples."""

    def refresh(self) -> None:
        """Compute what is derived from the statistics afresh."""


class InMemoryBandit(LearningBandit):
    """A policy and what it has learned, kept in memory.

    The statistics are the integers that partitions keep as tables, so the policy draws from them
    what it would draw live. What it has learned depends on the examples alone; where evidence
    decays, now is the newest event time learned. Linear posteriors follow examples by steps: they
    differ from those solved afresh by a rounding (1e-7 of the greatest number) until
    :meth:`refresh`, and come to the same bits then.

    Parameters
    ----------
    policy
        Any of ours.
    half_life_s
        After which evidence counts half, in event time; 0: it does not decay.
    arms_max, sightings_min
        Bound of arms, and the examples at which one is admitted; see
        :class:`streamer_models.bandits.arms.ArmRows` for which are dropped. With models of single
        items an arm takes ``12 d²`` bytes, ``16 d²`` where evidence decays.
    refresh_every
        Examples of a model between two solutions from the integers.

    Attributes
    ----------
    policy, learned
        The policy, and the statistics.

    Examples
    --------
    >>> bandit = published_bandit("linucb", 2, form="shared")
    >>> arms, contexts = np.array([7, 8], dtype=np.uint64), np.eye(2)
    >>> bandit.update(contexts[:1], arms[:1], np.array([1.0]), np.zeros(1, dtype=np.int64))
    >>> estimate = bandit.estimate(contexts, arms)
    >>> estimate.expected.round(3).tolist(), estimate.deviations().round(3).tolist()
    ([0.5, 0.0], [0.707, 1.0])
    >>> bandit.choose(contexts, arms, 1, seed=1).order.tolist()
    [0]
    """

    def __init__(
        self,
        policy: Policy[Any],
        *,
        half_life_s: float = 0.0,
        arms_max: int = 10_000,
        sightings_min: int = 1,
        refresh_every: int = 10_000,
    ) -> None:
        self.name = policy.name
        self.policy = policy
        self.learned: Memory
        bounds = {"arms_max": arms_max, "sightings_min": sightings_min}
        if isinstance(policy, LinearPolicy):
            self.learned = LinearMemory(
                policy.prior,
                per_arm=policy.settings.form == "disjoint",
                pooled=policy.settings.pooled,
                half_life_s=half_life_s,
                refresh_every=refresh_every,
                **bounds,
            )
        else:
            self.learned = CountedMemory(half_life_s=half_life_s, **bounds)

    def estimate(self, contexts: Contexts, arms: Keys) -> RewardEstimate:
        """Return what is known of ``(n,)`` candidates; valid until more is learned."""
        return self.policy.estimate(contexts, arms, self.learned)

    def expected(self, contexts: Contexts, arms: Keys) -> Floats:
        """Return ``(n,)`` mean rewards, without optimism."""
        return self.estimate(contexts, arms).expected

    def choose(
        self,
        contexts: Contexts,
        arms: Keys,
        k: int,
        seed: int,
        composition: Composition = UNCOMPOSED,
    ) -> Draw:
        """Draw a slate of at most ``k`` candidates with its propensities."""
        return self.policy.draw(self.estimate(contexts, arms), k, seed, composition)

    def update(
        self,
        contexts: Contexts,
        arms: Keys,
        rewards: Floats,
        ts_ms: NDArray[np.int64],
        weights: Floats | None = None,
    ) -> None:
        """Learn first outcomes: :meth:`amend` from NaN to ``rewards``."""
        self.amend(contexts, arms, np.full(len(rewards), np.nan), rewards, ts_ms, weights)

    def amend(
        self,
        contexts: Contexts,
        arms: Keys,
        before: Floats,
        after: Floats,
        ts_ms: NDArray[np.int64],
        weights: Floats | None = None,
    ) -> None:
        """Bring outcomes from ``before`` to ``after``, exactly in the statistics; NaN: not learned.

        Parameters
        ----------
        contexts, arms, before, after, ts_ms
            See :meth:`streamer_models.bandits.protocols.LearningBandit.amend`.
        weights
            ``(n,)`` as how many examples each counts in linear models, the same for ``before`` and
            ``after``; None: as one. Counts of outcomes count each as one, as they do live.

        Raises
        ------
        ValueError
            Where a feature, a reward or a weight is out of bounds, or lengths differ; nothing is
            learned.
        """
        self.learned.amend(contexts, arms, before, after, ts_ms, weights)

    def merge(self, other: InMemoryBandit) -> None:
        """Add what another has learned from other examples: in any order the same statistics, and
        from them the same estimates, to the bit.

        Raises
        ------
        ValueError
            Where the settings differ, or all arms together are too many.
        """
        ours, theirs = self.policy, other.policy
        if type(ours) is not type(theirs) or ours.settings != theirs.settings:
            raise ValueError(
                f"{ours.name} with {ours.settings} and {theirs.name} with {theirs.settings} do not"
                " add up; merge bandits of the same settings"
            )
        self.learned.merge(other.learned)

    def refresh(self) -> None:
        """Compute what is derived from the statistics afresh, as :meth:`merge` does."""
        self.learned.refresh()


def published_bandit(
    name: str,
    n_features: int = 1,
    *,
    half_life_s: float = 0.0,
    arms_max: int = 10_000,
    sightings_min: int = 1,
    **settings: Any,
) -> InMemoryBandit:
    """Return a policy by name, with the settings of its publication but for those given.

    Raises
    ------
    ValueError
        Where there is no such policy, or a setting is unknown or out of its range.
    """
    policy = published_policy(name, ContextColumns.plain(n_features), settings)
    return InMemoryBandit(
        policy, half_life_s=half_life_s, arms_max=arms_max, sightings_min=sightings_min
    )


def published_policy(
    name: str, columns: ContextColumns, settings: Mapping[str, Any]
) -> Policy[Any]:
    """Return a policy by name, with the settings of its publication but for those given.

    Raises
    ------
    ValueError
        As :func:`published_bandit`.
    """
    if name not in POLICIES:
        raise ValueError(f"policy {name!r} is unknown; there are {', '.join(POLICIES)}")
    kind = POLICIES[name]
    unknown = {*settings} - {*kind.settings_type.described()}
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}")
    return kind(kind.settings_type(**{**kind.published, **settings}), columns)
