"""What another policy would have shown in place of a slate, and how likely it shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamer.ranking.variants import Settings
from streamer.scorer.policy.choice import SlatePolicy
from streamer.scorer.prepared_slate import PreparedSlate


@dataclass(frozen=True, slots=True)
class ShadowSlate:
    """A slate that is not shown, beside the one that is.

    Attributes
    ----------
    item_ids
        Best first.
    propensities
        Of each place of the slate that is shown: the probability, in [0, 1], that its item would
        have stood there, given the places before it as they are shown.
    candidates
        Ids that it would have been drawn from.
    settings
        Of the funnel, as decisions log them.
    """

    item_ids: list[str]
    propensities: list[float]
    candidates: list[str]
    settings: Settings


def shadow_slate(
    policy: SlatePolicy, prepared: PreparedSlate, k: int, shown: Sequence[str], settings: Settings
) -> ShadowSlate:
    """Draw the slate of a policy, and weigh one that is shown.

    The draw has the seed that it would have were it shown. The weights don't depend on it but for
    posterior draws, which the policy shows by, so over those a slate is weighed rightly whatever
    they are.

    Parameters
    ----------
    k
        Places that the policy draws.
    shown
        Items of the other slate, each once.

    Raises
    ------
    ValueError
        Where the policy can't say how likely it shows what it did not draw.
    """
    features, knowledge, seed = prepared.features, prepared.knowledge, prepared.context.seed
    own = policy.choose(features, knowledge, k, seed)
    ids = prepared.candidates.ids(prepared.context.items)
    place_of = {item_id: place for place, item_id in enumerate(ids)}
    given = np.array([place_of.get(item_id, -1) for item_id in shown], dtype=np.intp)
    composition = knowledge.composition._replace(shown=given)
    weighed = policy.choose(features, replace(knowledge, composition=composition), len(given), seed)
    n = len(weighed.order)  # with fewer candidates than places, the others stay empty
    if not np.array_equal(weighed.order, given[:n]):
        raise ValueError(
            f"policy {policy.name} draws a slate where it is told which one is shown; draw by"
            " streamer_models.bandits.slates, which take that from the composition"
        )
    return ShadowSlate(
        item_ids=[ids[place] for place in own.order.tolist()],
        propensities=weighed.propensities.tolist() + [0.0] * (len(given) - n),
        candidates=ids,
        settings=settings,
    )
