"""The live driver of policies: ranks candidates by the replica's statistics, draws the slate."""

from __future__ import annotations

from typing import Any

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Decision
from streamer.ranking.features import Features
from streamer.ranking.logged_composition import composition_of
from streamer.ranking.policy import configured_policy
from streamer.scorer.policy.blend import BlendPolicy
from streamer.scorer.policy.boosts import Floats, boosts_of, logged_boosts
from streamer.scorer.policy.choice import Choice, Parameters, SlatePolicy
from streamer.scorer.policy.knowledge import Knowledge, LiveCounts, LiveLinear
from streamer_models.bandits.composition import Composition
from streamer_models.bandits.estimates import RewardEstimate, ShiftedEstimate
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.registry import POLICIES


class BanditPolicy:
    """The policy of a configuration (``bandit.policy``), over the replica's statistics.

    Raises
    ------
    ConfigError
        Where the policy lacks something it counts with.
    """

    def __init__(self, config: Config) -> None:
        self.policy = configured_policy(config)
        self.name: str = self.policy.name
        self.parameters: Parameters = self.policy.parameters
        self._objectives = tuple(config.objectives)
        linear = isinstance(self.policy, LinearPolicy)
        self._learned = LiveLinear(config) if linear else LiveCounts(config)

    def estimate(self, features: Features, knowledge: Knowledge) -> RewardEstimate:
        """Return what is expected of the candidates."""
        return self.policy.estimate(features.values, knowledge.keys, self._learned.of(knowledge))

    def by_objective(self, features: Features, knowledge: Knowledge) -> dict[str, Floats]:
        """Return what is expected of the candidates by objective, ``(n,)`` each."""
        if not self._objectives or not isinstance(self._learned, LiveLinear):
            return {}
        assert isinstance(self.policy, LinearPolicy)
        posteriors = self._learned.of(knowledge).by_objective(self.policy.prior)
        means = (each.expected(features.values) for each in posteriors)
        return dict(zip(self._objectives, means, strict=True))

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        estimate = self.estimate(features, knowledge)
        raised, n = knowledge.raised, min(k, len(features))
        boosts = None if raised is None else boosts_of(raised, estimate.expected)
        return _drawn(self.policy, estimate, n, seed, boosts, knowledge.composition)


def slate_policy(config: Config) -> SlatePolicy:
    """Return what orders the candidates under a configuration (``funnel.ranker``).

    Raises
    ------
    ConfigError
        Where the policy lacks something it counts with.
    """
    return BlendPolicy() if config.funnel.ranker == BlendPolicy.name else BanditPolicy(config)


def redraw(decision: Decision) -> Choice:
    """Draw a logged slate again, from the decision alone: the same slate and propensities, to the
    bit (with the same release of numpy, whose generators may change between releases).

    Raises
    ------
    BadMessage
        When the decision does not come from one of these policies or does not hold together.
    """
    if decision.policy == BlendPolicy.name:
        return BlendPolicy.redraw(decision)
    x, name, boosts = decision.feature_matrix(), decision.policy, logged_boosts(decision)
    if name not in POLICIES or decision.policy_state is None:
        known = ", ".join((*POLICIES, BlendPolicy.name))
        raise BadMessage(
            f"decision: policy {name!r} with{'out' if decision.policy_state is None else ''} a"
            f" policy_state can't be drawn again; known are {known}, with one"
        )
    try:
        kind = POLICIES[name]
        settings = kind.settings_type.logged(decision.policy_parameters)
        policy = kind(settings, ContextColumns.plain(x.shape[1]))
        estimate = policy.unpacked(decision.policy_state, x)
        n, composition = len(decision.items), composition_of(decision)
        return _drawn(policy, estimate, n, decision.seed, boosts, composition)
    except (KeyError, TypeError, ValueError) as error:
        raise BadMessage(f"decision: it can't be drawn again: {error}") from error


def _drawn(
    policy: Policy[Any],
    estimate: RewardEstimate,
    k: int,
    seed: int,
    boosts: Floats | None,
    composition: Composition,
) -> Choice:
    """Return the slate of an estimate: the one way to it, live and again."""
    lifted = estimate if boosts is None else ShiftedEstimate(estimate, boosts)
    draw = policy.draw(lifted, k, seed, composition)
    return Choice(
        draw.order,
        draw.propensities,
        draw.explored,
        estimate.expected,
        estimate.packed(),
        boosts,
        None if boosts is None else lifted.expected,
    )
