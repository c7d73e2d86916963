"""What a worker of the windowed features needs to know of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.config import Config, FeatureDefinition, feature_definitions
from streamer.errors import ConfigError
from streamer.events import EventTypes

TABLE: Final = "windows"
"""Name of the table that holds the state."""


@dataclass(frozen=True, slots=True)
class FeaturesSettings:
    """Names, bounds and times; see ``[windows]`` and ``[features.NAME]`` in the configuration.

    Attributes
    ----------
    app_id
        Of the Faust app: the consumer group, and prefix of its own topics.
    store_folder
        Of all workers of this machine, where records are on disk; None: they are in memory.
    """

    app_id: str
    bootstrap_servers: str
    events_topic: str
    features_topic: str
    dead_letters_topic: str
    n_partitions: int
    replication_factor: int
    event_types: EventTypes
    definitions: list[FeatureDefinition]
    flush_s: float
    batch_messages_max: int
    commit_interval_s: float
    idle_s: float
    dedup_window: int
    cells_max: int
    store_folder: Path | None

    @property
    def contributions_topic(self) -> str:
        return f"{self.app_id}-contributions"

    @property
    def changelog_topic(self) -> str:
        """As Faust names it."""
        return f"{self.app_id}-{TABLE}-changelog"


def features_settings(config: Config) -> FeaturesSettings:
    """The settings under a configuration.

    Raises
    ------
    ConfigError
        Where no feature is defined, or a folder is needed and not named.
    """
    definitions = [each for each in feature_definitions(config) if each.held_by == "windows"]
    if not definitions:
        raise ConfigError(
            "no feature over windows is defined (what fades is held by the learner): add a table"
            " [features.NAME] with a window, or set windows.default_features = true"
        )
    windows, topics = config.windows, config.topics
    on_disk = windows.store == "rocksdb"
    if on_disk and not windows.store_folder:
        raise ConfigError(
            "windows.store = 'rocksdb' needs a folder on a local disk: set windows.store_folder, or"
            " windows.store = 'memory'"
        )
    return FeaturesSettings(
        app_id=f"{topics.prefix}{config.kafka.group}-features",
        bootstrap_servers=config.kafka.bootstrap_servers,
        events_topic=topics.topic("events"),
        features_topic=topics.topic("features"),
        dead_letters_topic=topics.topic("dead_letters"),
        n_partitions=topics.partitions,
        replication_factor=topics.replication_factor,
        event_types=config.event_types,
        definitions=definitions,
        flush_s=windows.flush_ms / 1000,
        batch_messages_max=windows.batch_messages_max,
        commit_interval_s=windows.commit_interval_s,
        idle_s=windows.idle_s,
        dedup_window=windows.dedup_window,
        cells_max=windows.cells_max,
        store_folder=Path(windows.store_folder) if on_disk else None,
    )
