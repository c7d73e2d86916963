"""The commands ``streamer features run`` and ``streamer features show``."""

from __future__ import annotations

from typing import Annotated, get_args

import typer
from rich.markup import escape
from rich.table import Table

from streamer.commands.options import (
    BrokerOption,
    ConfigOption,
    MetricsOption,
    StoreOption,
    configured,
)
from streamer.commands.screen import output
from streamer.events import FeatureEntity
from streamer.logs import log_to_stderr


def features_run(
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    metrics_port: MetricsOption = None,
) -> None:
    """Compute windowed features from events until SIGTERM; start more to share the work."""
    from streamer.application.services.features import run_features

    settings = configured(config, bootstrap_servers, None, metrics_port)
    log_to_stderr(settings.logs.format)
    run_features(settings)


def features_show(
    entity: Annotated[
        str, typer.Argument(help="user, item, category, user_category, surface or global.")
    ],
    entity_id: Annotated[
        str, typer.Argument(help='Its id; of user_category ["USER","CATEGORY"], of global *.')
    ] = "*",
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
    store: StoreOption = None,
) -> None:
    """Print the features of an entity that are known now, and how old those of windows are."""
    from streamer.application.services.features import known_features

    if entity not in get_args(FeatureEntity):
        known_kinds = ", ".join(get_args(FeatureEntity))
        raise typer.BadParameter(f"{entity!r} is none of {known_kinds}", param_hint="ENTITY")
    if entity_id == "*" and entity != "global":
        raise typer.BadParameter(f"say which {entity}", param_hint="ENTITY_ID")
    settings = configured(config, bootstrap_servers, store)
    found, held, missing = known_features(settings, entity, entity_id)  # type: ignore[arg-type]
    table = Table(
        "feature", "value", "age of its window", "", title=escape(f"{entity} {entity_id}")
    )
    for each in found:
        state = "stale: counts as missing" if each.stale else ""
        table.add_row(escape(each.name), f"{each.value:g}", f"{each.age_s:,.0f} s", state)
    for feature, value in held:
        shown, how = f"{value:g}", "fades"
        if feature.measure == "recency":
            shown, how = f"{value:,.1f} s", "since the last one"
        table.add_row(escape(feature.name), shown, "-", f"{how}; as the learner has committed it")
    for name in missing:
        table.add_row(escape(name), "-", "-", "missing", style="dim")
    output.print(table)
    if not found and not held:
        output.print(
            f"nothing is known of {escape(f'{entity} {entity_id}')}: check how it is spelled, that"
            " learners (`streamer learn`) and workers (`streamer features run`) run, and that a"
            " window has ended since",
            highlight=False,
            soft_wrap=True,
        )
