"""Shadow variants of a logged decision, made again: do they come out as they were logged?"""

from __future__ import annotations

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.events import Decision, Request, Shadow
from streamer.ranking.columns import followed_definitions
from streamer.ranking.features import Logged
from streamer.ranking.recall.registry import channels_on
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel


def is_same(
    shadow: Shadow,
    funnel: Funnel,
    decision: Decision,
    request: Request,
    version: Version,
    catalogue: Catalogue,
    logged: Logged | None,
) -> bool | None:
    """Whether a shadow's slate and its probabilities are those that its decision logged.

    Parameters
    ----------
    funnel
        By the settings of the shadow.
    logged
        Of the decision; None where it has other columns than the configuration.

    Returns
    -------
    None where that can't be told: the shadow ranked or recalled by what the features topic said of
    items that were no candidates of the decision, which is not kept; or the decision shows an item
    twice, as no scorer does.
    """
    if len({*decision.items}) < len(decision.items):
        return None
    if _recalls_by_topic(funnel.config):
        return None
    made = funnel.shadow(decision.items, request, version, catalogue, logged=logged)
    is_known = logged is not None and {*made.candidates} <= {*logged.candidates}
    if not is_known and followed_definitions(funnel.config):
        return None
    return (made.item_ids, made.propensities) == (shadow.items, shadow.propensities)


def _recalls_by_topic(config: Config) -> bool:
    return any(channel.rank_from_topic for channel in channels_on(config))
