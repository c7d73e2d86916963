"""Off-policy evaluation: what a policy would have earned, from a log that another one made.

The estimators are :class:`ReplayMatching`, :class:`IPS`, :class:`SNIPS`, :class:`DM`, :class:`DR`
and :class:`SwitchDR` over a :class:`WeighedLog`; the reward model behind the last three is
:class:`CrossFittedRidge`.
"""

from streamer_models.evaluation.ope.estimators import (
    DM,
    DR,
    IPS,
    SNIPS,
    Estimator,
    ReplayMatching,
    SwitchDR,
)
from streamer_models.evaluation.ope.intervals import Estimate, Interval, estimate, paired_difference
from streamer_models.evaluation.ope.reward_model import CrossFittedRidge
from streamer_models.evaluation.ope.weighed_log import Terms, WeighedLog

__all__ = [
    "DM",
    "DR",
    "IPS",
    "SNIPS",
    "CrossFittedRidge",
    "Estimate",
    "Estimator",
    "Interval",
    "ReplayMatching",
    "SwitchDR",
    "Terms",
    "WeighedLog",
    "estimate",
    "paired_difference",
]
