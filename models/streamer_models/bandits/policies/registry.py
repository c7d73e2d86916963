"""The registry of policies: a policy is one module beside it and one line below.

Configuration (``bandit.policy`` and the settings), logged decisions, drawing them again,
``streamer ope`` and the documentation follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamer_models.bandits.policies.base import Policy
from streamer_models.bandits.policies.beta_thompson import BetaThompson
from streamer_models.bandits.policies.epsilon_greedy import EpsilonGreedy
from streamer_models.bandits.policies.greedy import Greedy
from streamer_models.bandits.policies.linear_thompson import LinearThompson
from streamer_models.bandits.policies.linucb import LinUCB
from streamer_models.bandits.policies.plackett_luce import PlackettLuce
from streamer_models.bandits.policies.ucb1 import UCB1

_REGISTERED: Final[tuple[type[Policy[Any]], ...]] = (
    LinearThompson,
    LinUCB,
    EpsilonGreedy,
    PlackettLuce,
    BetaThompson,
    UCB1,
    Greedy,
)
POLICIES: Final[Mapping[str, type[Policy[Any]]]] = {each.name: each for each in _REGISTERED}
"""Name → policy; the first is the default."""
