"""One configuration: defaults < ``streamer.toml`` < ``STREAMER_SECTION__KEY`` < flags."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar, get_args

import msgspec

from streamer.config.bandit import BanditConfig
from streamer.config.bridges import bridge_problems
from streamer.config.events import EventConfig
from streamer.config.experiments import ExperimentConfig, experiment_problems
from streamer.config.extensions import REGISTRIES, default_section, extensions
from streamer.config.feature_definition import FeatureDefinition, Refused, definition
from streamer.config.features import FeatureConfig
from streamer.config.files import FileConfig
from streamer.config.keys import (
    BRIDGES,
    CLIENT,
    EVENTS,
    FEATURES,
    FILES,
    NAMED,
    OPTION_TABLES,
    REGISTRY_CLIENT,
    Key,
    NamedTables,
    known_keys,
    named_key,
    option_table,
    value_of,
)
from streamer.config.masking import masked, toml_text
from streamer.config.objectives import ObjectiveConfig, objective_problems
from streamer.config.rules import rule_problems
from streamer.config.section import Section
from streamer.config.settings import (
    CatalogueConfig,
    Config,
    JoinConfig,
    KafkaConfig,
    LearnerConfig,
    MetricsConfig,
    MFConfig,
    PopularityConfig,
    RegistryConfig,
    ScorerConfig,
    StoreConfig,
    TopicRole,
    TopicsConfig,
    WindowsConfig,
)
from streamer.config.slate import SlateConfig, slate_problems
from streamer.config.sources import Given, from_environment, from_file, from_flags, from_record
from streamer.errors import ConfigError
from streamer.masking import without_secrets

__all__ = [
    "BanditConfig",
    "CatalogueConfig",
    "Config",
    "EventConfig",
    "ExperimentConfig",
    "FeatureConfig",
    "FeatureDefinition",
    "FileConfig",
    "JoinConfig",
    "KafkaConfig",
    "Key",
    "LearnerConfig",
    "MFConfig",
    "MetricsConfig",
    "ObjectiveConfig",
    "PopularityConfig",
    "RegistryConfig",
    "ScorerConfig",
    "SlateConfig",
    "StoreConfig",
    "TopicRole",
    "TopicsConfig",
    "WindowsConfig",
    "changed",
    "config_of",
    "describe",
    "feature_definitions",
    "known_keys",
    "load_config",
    "masked",
    "value_of",
    "values_of",
]

S = TypeVar("S", bound=Section)


def load_config(
    path: Path | str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Put the configuration together; the later source wins, key by key.

    Parameters
    ----------
    path
        The file; None: ``./streamer.toml`` where there is one.
    env
        None: the environment of the process.
    flags
        Dotted key → value, as text or as it is; None values are flags that were not given.

    Raises
    ------
    ConfigError
        For a key that is not known, a value of a wrong type or out of range, a file that can't be
        read: with the key, the value, its origin and what would be right.
    """
    keys = known_keys()
    given: Given = {}
    for source in (
        from_file(path, keys),
        from_environment(os.environ if env is None else env, keys),
        from_flags(flags or {}, keys),
    ):
        given |= source
    return _resolved(given, keys)


def config_of(values: Mapping[str, object], *, origin: str) -> Config:
    """Make a configuration of recorded values alone, the rest at its defaults.

    Parameters
    ----------
    values
        Dotted key → value, as :func:`values_of` gives them.
    origin
        Where they were recorded, for messages.

    Raises
    ------
    ConfigError
        As :func:`load_config`.
    """
    keys = known_keys()
    return _resolved(from_record(values, keys, origin=origin), keys)


def changed(config: Config, given: Mapping[str, object], *, origin: str = "flag") -> Config:
    """Return a configuration with some keys changed; what it has of features stays.

    Parameters
    ----------
    given
        Dotted key → value, as text or as it is.
    origin
        Where they come from, for messages.

    Raises
    ------
    ConfigError
        As :func:`load_config`.
    """
    keys = known_keys()
    values: Given = {
        name: (value_of(config, name), config.origins.get(name, "default"))
        for name in keys
        if name.partition(".")[0] not in NAMED and name not in OPTION_TABLES
    }
    values |= {
        key: (text, "default") for table in OPTION_TABLES for key, text in _options(config, table)
    }
    for section, tables in NAMED.items():
        values |= {
            name: (value, config.origins.get(name, "default"))
            for name, value in tables.shown(getattr(config, section)).items()
        }
    values |= from_flags(given, keys, origin=origin)
    return msgspec.structs.replace(_resolved(values, keys), features=config.features)


def values_of(config: Config, sections: Sequence[str]) -> dict[str, object]:
    """Return dotted key → value, as JSON has them, of all that is in effect in some sections."""
    found = {
        name: value_of(config, name)
        for name in known_keys()
        if name.partition(".")[0] in sections and name.partition(".")[0] not in NAMED
    }
    for section, tables in NAMED.items():
        if section in sections:
            found |= tables.shown(getattr(config, section))
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(found))
    return plain


def _resolved(given: Given, keys: Mapping[str, Key]) -> Config:
    """The configuration of some values and their origins."""
    values: dict[str, object] = {}
    origins = {name: "default" for name in keys if name not in OPTION_TABLES}
    options: dict[str, dict[str, str]] = {table: {} for table in OPTION_TABLES}
    for name, (value, origin) in given.items():
        if table := option_table(name):
            option = name.removeprefix(f"{table}.")
            options[table][option] = _client_option(table, option, value, origin)
        else:
            key = keys.get(name) or named_key(name)
            assert key is not None, "the sources give known keys alone"
            values[name] = _typed(key, value, origin)
        origins[name] = origin
    values |= options
    config = _built("", Config(), values)
    with_default = dict.fromkeys(NAMED, True) | {FEATURES: config.windows.default_features}
    tables = {
        section: _named(tables, values, with_default=with_default[section])
        for section, tables in NAMED.items()
    }
    tables |= {table: _added(table, values) for table in REGISTRIES}
    config = msgspec.structs.replace(config, **tables, origins=origins)
    _check(config)
    return config


def _built(path: str, default: S, values: Mapping[str, object]) -> S:
    """The section at ``path``: ``default`` with the values that were given."""
    changed: dict[str, object] = {}
    for name in default.__struct_fields__:
        inner = getattr(default, name)
        if isinstance(inner, Section):
            changed[name] = _built(f"{path}{name}.", inner, values)
        elif f"{path}{name}" in values:
            changed[name] = values[f"{path}{name}"]
    return msgspec.structs.replace(default, **changed)


def _added(table: str, values: Mapping[str, object]) -> dict[str, Section]:
    """The sections of a table whose entries other rooms register."""
    return {
        each.name: _built(f"{table}.{each.name}.", default_section(each), values)
        for each in extensions(table)
    }


def _named(
    tables: NamedTables, values: Mapping[str, object], *, with_default: bool
) -> dict[str, Section]:
    """The default tables of a section, changed and added to by those that were given."""
    found = dict(tables.default) if with_default else {}
    for dotted, value in values.items():
        section, _, rest = dotted.partition(".")
        if section == tables.section:
            name, _, field = rest.partition(".")
            found[name] = tables.changed(found.get(name, tables.table()), field, value)
    return found


def feature_definitions(config: Config) -> list[FeatureDefinition]:
    """What the features of a configuration mean, in the order of their names.

    Raises
    ------
    ConfigError
        Where a definition contradicts itself; a configuration that was loaded does not.
    """
    definitions, types = [], config.event_types
    for name, feature in sorted(config.features.items()):
        try:
            each = definition(name, feature, types, lateness_s=config.windows.lateness_s)
        except Refused as refused:
            keys = [f"{FEATURES}.{name}.{field}" for field in refused.fields]
            raise _conflict(config, keys, str(refused)) from refused
        definitions.append(each)
    return definitions


# --- values -----------------------------------------------------------------------------------


def _typed(key: Key, value: object, origin: str) -> object:
    try:
        return msgspec.convert(value, key.type)  # NaN and infinities are in no range
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{origin}: {key.name} = {masked(key.name, value)} is refused: give {key.allowed} "
            f"({key.description}; default {masked(key.name, key.default)})"
        ) from error


def _options(config: Config, table: str) -> Iterator[tuple[str, str]]:
    """The options of a client's table, by their dotted keys."""
    options = value_of(config, table)
    assert isinstance(options, dict)
    for option, text in options.items():
        yield f"{table}.{option}", text


def _client_option(table: str, option: str, value: object, origin: str) -> str:
    name = f"{table}.{option}"
    if instead := _OWN_OPTIONS[table].get(option):
        raise ConfigError(f"{origin}: {name} can't be set: {instead}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(
        f"{origin}: {name} = {masked(name, value)} is refused: options of a client are text"
    )


_OWN_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    CLIENT: {
        "bootstrap.servers": "use kafka.bootstrap_servers",
        "group.id": "use kafka.group",
        "enable.auto.commit": "offsets are committed with the parameters",
        "enable.auto.offset.store": "offsets are committed with the parameters",
        "enable.idempotence": "messages are always produced idempotently",
        "partitioner": "a user's messages must all land on one partition",
        "partition.assignment.strategy": "a learner must own the same partitions of every topic",
    },
    REGISTRY_CLIENT: {
        "url": "use registry.url",
        "basic.auth.user.info": "use registry.user and registry.password",
        "ssl.ca.location": "use registry.ca_file",
        "timeout": "use registry.timeout_s",
        **dict.fromkeys(
            ("max.retries", "retries.wait.ms", "retries.max.wait.ms"),
            "a registry that does not answer is asked until it does",
        ),
    },
}


def _check(config: Config) -> None:
    """What only several settings together show."""
    topics: dict[str, str] = {}
    for role in get_args(TopicRole):
        name = config.topics.topic(role)
        if name in topics:
            problem = f"both are {toml_text(name)}; give each topic its own name"
            raise _conflict(config, [f"topics.{topics[name]}", f"topics.{role}"], problem)
        topics[name] = role
    half_lives_s = config.popularity.half_lives_s
    if list(half_lives_s) != sorted(set(half_lives_s)):
        problem = f"{toml_text(half_lives_s)} does not rise; sort it"
        raise _conflict(config, ["popularity.half_lives_s"], problem)
    join = config.join
    if join.window_s > join.horizon_s:
        problem = f"{join.window_s} is over {join.horizon_s}; an item is given up before it is late"
        raise _conflict(config, ["join.window_s", "join.horizon_s"], problem)
    bandit = config.bandit
    if bandit.drift_rate_boost > 1 and bandit.drift_delta == 0:
        problem = (
            f"{bandit.drift_rate_boost} with a delta of 0: nothing watches for drift; give both"
        )
        raise _conflict(config, ["bandit.drift_rate_boost", "bandit.drift_delta"], problem)
    _check_events(config)
    _check_files(config)
    feature_definitions(config)  # raises where one contradicts itself
    for key, problem in (
        *_rule_problems(config),
        *objective_problems(
            config.objectives,
            config.events,
            ranker=config.funnel.ranker,
            policy=config.bandit.policy,
            form=config.bandit.form,
        ),
        *experiment_problems(config.experiments),
        *slate_problems(config.slate, config.catalogue.embedding),
    ):
        raise _conflict(config, [key], problem)
    for extension in (each for table in REGISTRIES for each in extensions(table)):
        try:
            extension.check(config)
        except Refused as refused:
            raise _conflict(config, refused.fields, str(refused)) from refused


def _rule_problems(config: Config) -> Iterator[tuple[str, str]]:
    for name, rule in config.rules.items():
        yield from rule_problems(name, rule)


def _check_events(config: Config) -> None:
    if config.http.reward_type not in config.events:
        problem = f"{toml_text(config.http.reward_type)} is no type of event; add it to [events]"
        raise _conflict(config, ["http.reward_type"], problem)
    for name, event in config.events.items():
        value_range, key = event.value_range, f"{EVENTS}.{name}"
        if name not in NAMED[EVENTS].default and f"{key}.weight" not in config.origins:
            problem = "a type that is added needs a weight; 0: its events are no feedback"
            raise _conflict(config, [f"{key}.weight"], problem)
        if len(value_range) == 1 or (value_range and value_range[0] == value_range[1]):
            problem = f"{toml_text(value_range)}: give two different numbers, or none"
            raise _conflict(config, [f"{key}.value_range"], problem)
    try:
        config.event_types  # noqa: B018 - too many of them raise
    except ValueError as error:
        last = max(set(config.events) - set(NAMED[EVENTS].default))
        raise _conflict(config, [f"{EVENTS}.{last}.weight"], str(error)) from error


def _check_files(config: Config) -> None:
    for name, table in config.files.items():
        if not table.file:
            problem = 'the table names no file; give the name of one, as file = "clicks.csv"'
            raise _conflict(config, [f"{FILES}.{name}.file"], problem)
    own = {config.topics.topic(role) for role in get_args(TopicRole)}
    for name, bridge in config.bridges.items():
        if not bridge.topic or bridge.topic in own:
            problem = f"{toml_text(bridge.topic)}: name the topic to read, one that is not ours"
            raise _conflict(config, [f"{BRIDGES}.{name}.topic"], problem)
        for field, problem in bridge_problems(bridge, has_registry=bool(config.registry.url)):
            raise _conflict(config, [f"{BRIDGES}.{name}.{field}"], problem)


def _conflict(config: Config, keys: Sequence[str], problem: str) -> ConfigError:
    origins = dict.fromkeys(config.origins[key] for key in keys if key in config.origins)
    if set(origins) <= {"default"}:  # what is missing comes from where the rest of its table does
        tables = tuple(f"{key.rpartition('.')[0]}." for key in keys)
        origins |= {config.origins[key]: None for key in config.origins if key.startswith(tables)}
    origins.pop("default", None)
    return ConfigError(f"{', '.join(origins)}: {' and '.join(keys)}: {problem}")


# --- printing ---------------------------------------------------------------------------------


def describe(config: Config) -> list[tuple[str, str, str]]:
    """Rows ``(key, value, origin)`` of all that is in effect, secrets masked."""
    rows = []
    for name in known_keys():
        if name.partition(".")[0] in NAMED:
            continue  # what is in effect may be other tables
        value = value_of(config, name)
        if name in OPTION_TABLES:
            rows += [(key, masked(key, text), key) for key, text in _options(config, name)]
        else:
            rows.append((name, masked(name, value), name))
    for section, tables in NAMED.items():
        shown = tables.shown(getattr(config, section))
        rows += [(key, without_secrets(toml_text(value)), key) for key, value in shown.items()]
    return [(name, text, config.origins.get(key, "default")) for name, text, key in rows]
