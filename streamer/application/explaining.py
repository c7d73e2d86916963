"""Why an item stands where it stands, and what settings would change, by the configured store and
topics."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.application.committed import committed_version, present_catalogue
from streamer.application.services.features import published_features
from streamer.application.starting import await_broker
from streamer.clock import SystemClock
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.events import Request
from streamer.ranking.columns import followed_definitions
from streamer.ranking.variants import served_to, tried
from streamer.replica.version import Version
from streamer.scorer.explanation import Explanation, explain
from streamer.scorer.funnel import Funnel
from streamer.scorer.slate_change import SlateChange, slate_change

Context = Mapping[str, str | float | bool]


def explain_configured(
    config: Config,
    user_id: str,
    item_id: str,
    k: int | None,
    *,
    surface: str | None = None,
    context: Context | None = None,
    settings: Mapping[str, object] | None = None,
) -> Explanation:
    """Explain an item's place for a user now; nobody is asked and nothing is logged.

    Parameters
    ----------
    k, surface, context
        Of the request that it is explained for.
    settings
        Dotted key → value of what is to be other than it is.

    Raises
    ------
    ConfigError
        Where nothing is learned yet, or a setting can't be tried.
    """
    served = served_to(config, user_id).config
    asked = tried(served, settings) if settings else served
    request = _request(user_id, k, surface, context)
    version = _version(config)
    known = published_features(config, followed_definitions(config))
    return explain(asked, request, item_id, version, present_catalogue(config), known=known)


def change_configured(
    config: Config,
    user_id: str,
    k: int | None,
    settings: Mapping[str, object],
    *,
    surface: str | None = None,
    context: Context | None = None,
) -> SlateChange:
    """Compare a user's slate now with what settings would make it; nothing is logged.

    Parameters and errors are those of :func:`explain_configured`.
    """
    served = served_to(config, user_id).config
    funnels = Funnel(served), Funnel(tried(served, settings))
    request = _request(user_id, k, surface, context)
    version = _version(config)
    known = published_features(config, followed_definitions(config))
    return slate_change(
        request, *funnels, settings.keys(), version, present_catalogue(config), known=known
    )


def _version(config: Config) -> Version:
    await_broker(config)
    version = committed_version(config)
    if version is None:
        raise ConfigError(
            f"store.url = {config.store.url!r} holds nothing yet: start a learner (`streamer"
            " learn`) with this store, or name another one"
        )
    return version


def _request(user_id: str, k: int | None, surface: str | None, context: Context | None) -> Request:
    return Request(
        request_id="explain",
        user_id=user_id,
        ts=SystemClock().now_ms(),
        k=k,
        surface=surface,
        context=None if context is None else dict(context),
        preview=True,
    )
