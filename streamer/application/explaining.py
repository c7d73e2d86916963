"""Why an item stands where it stands, by the configured store and topics."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.application.committed import committed_version, present_catalogue
from streamer.application.features import published_features
from streamer.application.starting import await_broker
from streamer.clock import SystemClock
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.events import Request
from streamer.ranking.columns import followed_definitions
from streamer.ranking.variants import served_to
from streamer.scorer.explanation import Explanation, explain


def explain_configured(
    config: Config,
    user_id: str,
    item_id: str,
    k: int | None,
    *,
    surface: str | None = None,
    context: Mapping[str, str | float | bool] | None = None,
) -> Explanation:
    """Explain an item's place for a user now; nobody is asked and nothing is logged.

    Parameters
    ----------
    k, surface, context
        Of the request that it is explained for.

    Raises
    ------
    ConfigError
        Where nothing is learned yet.
    """
    await_broker(config)
    version = committed_version(config)
    if version is None:
        raise ConfigError(
            f"store.url = {config.store.url!r} holds nothing yet: start a learner (`streamer"
            " learn`) with this store, or name another one"
        )
    request = Request(
        request_id="explain",
        user_id=user_id,
        ts=SystemClock().now_ms(),
        k=k,
        surface=surface,
        context=None if context is None else dict(context),
        preview=True,
    )
    known = published_features(config, followed_definitions(config))
    served = served_to(config, user_id).config
    return explain(served, request, item_id, version, present_catalogue(config), known=known)
