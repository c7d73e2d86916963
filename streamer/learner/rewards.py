"""What events are worth: types and values → rewards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.config import RewardConfig, RewardsConfig
from streamer.events import EVENT_TYPES


def rewards(
    config: RewardsConfig, types: NDArray[np.int8], values: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Reward of each event: ``weight * clip((value - zero) / (one - zero), -1, 1)``.

    Parameters
    ----------
    types
        ``(n,)`` indices into ``EVENT_TYPES``.
    values
        ``(n,)``, NaN where an event has none: it is worth the weight, as is any event of a type
        without a ``value_range``.

    Returns
    -------
    ``(n,)``; NaN for events of a type without a weight: no feedback. 0 is feedback that speaks
    neither for an item nor against it: the user has met it all the same.

    Examples
    --------
    A rating of 5 is worth the whole weight, one of 2.5 nothing, a lower one speaks against:

    >>> code = EVENT_TYPES.index("rating")
    >>> rewards(RewardsConfig(), np.full(3, code, np.int8), np.array([5.0, 2.5, 0.0])).tolist()
    [1.0, 0.0, -1.0]

    To be shown an item is no feedback:

    >>> code = EVENT_TYPES.index("impression")
    >>> rewards(RewardsConfig(), np.full(1, code, np.int8), np.full(1, np.nan)).tolist()
    [nan]
    """
    by_type: list[RewardConfig] = [getattr(config, name) for name in EVENT_TYPES]
    weight = np.array([each.weight for each in by_type])
    # NaN for a type without a range, as for an event without a value, makes the share NaN.
    zero, one = np.array([each.value_range or (np.nan, np.nan) for each in by_type]).T
    share = (values - zero[types]) / (one - zero)[types]
    share = np.where(np.isnan(share), 1.0, np.clip(share, -1.0, 1.0))
    reward: NDArray[np.float32] = (weight[types] * share).astype(np.float32)
    reward[weight[types] == 0] = np.nan
    return reward
