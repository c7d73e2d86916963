"""Made-up requests before the first real one, so that none waits for a compiler."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import Config
from streamer.events import Item, Request, encode
from streamer.model_set import MADE_UP_IDS, MADE_UP_MS, made_up_changes
from streamer.ranking.known_features import FeatureSource
from streamer.replica.merged_state import MergedState
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel
from streamer_models.state.model import Model


def warm_up(config: Config, models: Sequence[Model], known: FeatureSource) -> None:
    """Answer a known and an unknown user from made-up parameters.

    Every recall channel, column and policy of the configuration has then run on rows of every
    table, so its kernels are compiled, whichever they are.
    """
    merged = MergedState(models)
    for change in made_up_changes(models, config):
        merged.apply(0, change)
    tables = merged.publish(MADE_UP_MS)
    version = Version.of("p0:1", MADE_UP_MS, models, tables, before=None)
    catalogue = Catalogue(
        metrics=CatalogueMetrics(CollectorRegistry()), token_fields=config.catalogue.fields
    )
    for item_id in (*MADE_UP_IDS, "unmet"):
        item = Item(item_id=item_id, categories=["made up"], created_ts=MADE_UP_MS)
        catalogue.apply(item_id.encode(), encode(item))
    funnel = Funnel(config)  # of its own: a funnel remembers what rows it has seen
    for user_id in (MADE_UP_IDS[0], "nobody"):
        request = Request(request_id=user_id, user_id=user_id, ts=MADE_UP_MS)
        funnel.recommend(request, version, catalogue, known=known)
