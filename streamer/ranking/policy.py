"""The policy that a configuration names, for all that draw with it: live, and over logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamer.config import Config
from streamer.ranking.columns import prior_mean
from streamer_models.bandits.policies.base import ContextColumns, Policy
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.bandits.policies.settings import settings_from


def configured_policy(config: Config, name: str = "", **settings: Any) -> Policy[Any]:
    """Return the policy of ``[bandit]`` for the columns of a configuration.

    The prior is the blend (:func:`streamer.ranking.columns.prior_mean`) over columns of which the
    first is a constant.

    Parameters
    ----------
    name
        Of the policy; empty: ``bandit.policy``.
    **settings
        Of the policy, in place of those configured.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """
    kind = POLICIES[name or config.bandit.policy]
    configured = settings_from(kind.settings_type, config.bandit)
    columns = ContextColumns(prior_mean(config), standardized=True)
    return kind(replace(configured, **settings), columns)
