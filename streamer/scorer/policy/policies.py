"""The bandit policies that rank candidates and draw slates, and drawing a logged slate again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.errors import BadMessage
from streamer.events import Decision
from streamer.ranking.features import Features
from streamer.scorer.policy.beliefs import Belief, BetaBelief, Floats, IndependentBelief, Values
from streamer.scorer.policy.evidence import (
    Believe,
    BetaBeliefs,
    Knowledge,
    LinearBeliefs,
    UpperBounds,
)
from streamer_models.bandits.linear_posterior import LinearPosterior
from streamer_models.bandits.slates import Draw, draw_best, draw_plackett_luce, draw_thompson

Parameters = dict[str, str | int | float | bool]
"""What a policy is set to, as decisions log it."""

LINEAR_THOMPSON: Final = "linear-thompson"
LINUCB: Final = "linucb"
EPSILON_GREEDY: Final = "epsilon-greedy"
PLACKETT_LUCE: Final = "plackett-luce"
BETA_THOMPSON: Final = "beta-thompson"
UCB1: Final = "ucb1"
GREEDY: Final = "greedy"


@dataclass(frozen=True, slots=True)
class Choice:
    """A slate, and all that is needed to draw it again and to evaluate it.

    Attributes
    ----------
    order
        Candidates in the order shown, at most k.
    propensities
        Of each slot: the probability, in (0, 1], that it got its item given the slots before.
    explored
        Whether each slot got another item than the best that remained.
    expected
        ``(n_candidates,)`` rewards the policy expects, finite.
    state
        What it believed, as :meth:`streamer.scorer.policy.beliefs.Belief.packed`.
    """

    order: NDArray[np.intp]
    propensities: Floats
    explored: NDArray[np.bool_]
    expected: Floats
    state: bytes


class Policy(Protocol):
    """Ranks candidates and draws the slate; what a scorer is given to decide with.

    Attributes
    ----------
    name, parameters
        As decisions log them.
    """

    name: str
    parameters: Parameters

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        """Choose at most ``k`` of the candidates; a function of the arguments alone."""


class BanditPolicy:
    """The policy of a configuration.

    - ``linear-thompson`` (Agrawal & Goyal 2013): the best under draws of the linear posterior,
      ``bandit.noise_scale`` times as wide;
    - ``linucb`` (Li et al. 2010): the best by ``x·θ + alpha √(xᵀ A⁻¹ x)``;
    - ``epsilon-greedy``, ``plackett-luce`` and ``greedy`` over the linear posterior's mean;
    - ``beta-thompson`` (Chapelle & Li 2011) and ``ucb1`` (Auer et al. 2002) over outcomes by item;
      the features of the request do not matter to them.

    All but ``greedy`` fill a slot at random with probability ``bandit.uniform_share``, so that no
    candidate's chance is zero, and only ``bandit.explore_slots`` explore.

    Raises
    ------
    ConfigError
        Where the policy lacks something it counts with.
    """

    def __init__(self, config: Config) -> None:
        self.name: str = config.bandit.policy
        self.parameters: Parameters = _parameters(config)
        self._believe: Believe = _believe(config)

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        belief = self._believe(features.values, knowledge)
        k = min(k, len(features))
        return _drawn(self.name, self.parameters, belief, features.values, k, seed)


def redraw(decision: Decision) -> Choice:
    """Draw a logged slate again, from the decision alone: the same slate and propensities, to the
    bit (with the same release of numpy, whose generators may change between releases).

    Raises
    ------
    BadMessage
        When the decision does not come from one of these policies or does not hold together.
    """
    x, name, parameters = decision.feature_matrix(), decision.policy, decision.policy_parameters
    if name not in _DRAWS or decision.policy_state is None:
        raise BadMessage(
            f"decision: policy {name!r} with{'out' if decision.policy_state is None else ''} a"
            f" policy_state can't be drawn again; known are {', '.join(_DRAWS)}, with one"
        )
    try:
        belief = _unpacked(name, parameters, decision.policy_state, x)
        return _drawn(name, parameters, belief, x, len(decision.items), decision.seed)
    except (KeyError, ValueError) as error:
        raise BadMessage(f"decision: it can't be drawn again: {error}") from error


# --- parts --------------------------------------------------------------------------------------

_EXPLORING: Final = ("uniform_share", "explore_slots")


def _parameters(config: Config) -> Parameters:
    bandit = config.bandit
    slots = " ".join(map(str, bandit.explore_slots))
    every: Parameters = {
        "form": bandit.form,
        "alpha": bandit.alpha,
        "noise_scale": bandit.noise_scale,
        "n_draws": bandit.n_draws,
        "temperature": bandit.temperature,
        "uniform_share": bandit.uniform_share,
        "explore_slots": slots,
    }
    own = {
        LINEAR_THOMPSON: ("form", "noise_scale", "n_draws", *_EXPLORING),
        LINUCB: ("form", "alpha", *_EXPLORING),
        EPSILON_GREEDY: ("form", *_EXPLORING),
        PLACKETT_LUCE: ("form", "temperature", *_EXPLORING),
        BETA_THOMPSON: ("n_draws", *_EXPLORING),
        UCB1: ("alpha", *_EXPLORING),
        GREEDY: ("form",),
    }
    return {name: every[name] for name in own[bandit.policy]}


def _believe(config: Config) -> Believe:
    if config.bandit.policy == BETA_THOMPSON:
        return BetaBeliefs(config)
    return UpperBounds(config) if config.bandit.policy == UCB1 else LinearBeliefs(config)


def _unpacked(name: str, parameters: Parameters, state: bytes, x: Values) -> Belief:
    n, n_features = x.shape
    if name == BETA_THOMPSON:
        return BetaBelief.unpacked(state, n)
    if name == UCB1 or parameters["form"] == "disjoint":
        return IndependentBelief.unpacked(state, n)
    return LinearPosterior.unpacked(state, n_features)


def _drawn(
    name: str, parameters: Parameters, belief: Belief, x: Values, k: int, seed: int
) -> Choice:
    """The one way to a slate, live and again."""
    expected = belief.expected(x)
    draw = _DRAWS[name](belief, expected, x, k, seed, parameters)
    return Choice(draw.order, draw.propensities, draw.explored, expected, belief.packed())


def _thompson(
    belief: Belief, expected: Floats, x: Values, k: int, seed: int, given: Parameters
) -> Draw:
    samples = belief.sample(
        x,
        int(given["n_draws"]),
        scale=float(given.get("noise_scale", 1.0)),
        rng=np.random.Generator(np.random.PCG64(seed)),
    )
    share, slots = _exploring(given)
    return draw_thompson(samples, k, seed, scores=expected, uniform_share=share, slots=slots)


def _upper_bound(
    belief: Belief, expected: Floats, x: Values, k: int, seed: int, given: Parameters
) -> Draw:
    bounds = expected + float(given["alpha"]) * belief.deviations(x)
    share, slots = _exploring(given)
    return draw_best(bounds, k, seed, uniform_share=share, slots=slots)


def _epsilon_greedy(
    belief: Belief, expected: Floats, x: Values, k: int, seed: int, given: Parameters
) -> Draw:
    share, slots = _exploring(given)
    return draw_best(expected, k, seed, uniform_share=share, slots=slots)


def _plackett_luce(
    belief: Belief, expected: Floats, x: Values, k: int, seed: int, given: Parameters
) -> Draw:
    share, slots = _exploring(given)
    temperature = float(given["temperature"])
    return draw_plackett_luce(
        expected, k, seed, temperature=temperature, uniform_share=share, slots=slots
    )


def _greedy(
    belief: Belief, expected: Floats, x: Values, k: int, seed: int, given: Parameters
) -> Draw:
    return draw_best(expected, k, seed, uniform_share=0.0)


def _exploring(given: Parameters) -> tuple[float, list[int]]:
    return float(given["uniform_share"]), [int(s) for s in str(given["explore_slots"]).split()]


_DRAWS: Final[dict[str, Callable[[Belief, Floats, Values, int, int, Parameters], Draw]]] = {
    LINEAR_THOMPSON: _thompson,
    LINUCB: _upper_bound,
    EPSILON_GREEDY: _epsilon_greedy,
    PLACKETT_LUCE: _plackett_luce,
    BETA_THOMPSON: _thompson,
    UCB1: _upper_bound,
    GREEDY: _greedy,
}
