"""One configuration: defaults < ``streamer.toml`` < ``STREAMER_SECTION__KEY`` < flags."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from streamer.errors import ConfigError
from streamer.events import EVENT_TYPES
from streamer.settings import (
    KafkaConfig,
    LearnerConfig,
    MetricsConfig,
    MFConfig,
    PopularityConfig,
    RewardConfig,
    RewardsConfig,
    ScorerConfig,
    Section,
    StoreConfig,
    TopicRole,
    TopicsConfig,
)

__all__ = [
    "Config",
    "KafkaConfig",
    "Key",
    "LearnerConfig",
    "MFConfig",
    "MetricsConfig",
    "PopularityConfig",
    "RewardConfig",
    "RewardsConfig",
    "ScorerConfig",
    "StoreConfig",
    "TopicRole",
    "TopicsConfig",
    "describe",
    "known_keys",
    "load_config",
    "masked",
]

DEFAULT_FILE: Final = Path("streamer.toml")
CLIENT: Final = "kafka.client"
"""The one table with free keys: options of librdkafka."""

_SECRET_KEY = re.compile(r"password|secret|token|(^|\.)sasl\.", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(://[^/@\s]*?:)[^/@\s]+@|([?&](?:password|token)=)[^&\s]+")


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings, by section, and where each came from.

    Attributes
    ----------
    origins
        Dotted key → ``default``, the file's name, ``environment STREAMER_…`` or ``flag``.
    """

    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    store: StoreConfig = StoreConfig()
    learner: LearnerConfig = LearnerConfig()
    mf: MFConfig = MFConfig()
    popularity: PopularityConfig = PopularityConfig()
    rewards: RewardsConfig = RewardsConfig()
    scorer: ScorerConfig = ScorerConfig()
    metrics: MetricsConfig = MetricsConfig()
    origins: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        rows = (f"{key}={value}" for key, value, _ in describe(self))
        return f"Config({', '.join(rows)})"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: dotted name, type with its range and description, default."""

    name: str
    type: Any
    default: object


def known_keys() -> dict[str, Key]:
    """Every setting by its dotted name, in the order of the sections."""
    return {
        key.name: key
        for each in fields(Config)
        if each.name != "origins"
        for key in _keys(each.name, each.default)
    }


def _keys(path: str, section: Any) -> Iterator[Key]:
    hints = get_type_hints(type(section), include_extras=True)
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _keys(f"{path}.{name}", value)
        else:
            yield Key(f"{path}.{name}", hints[name], value)


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
    given: dict[str, tuple[object, str]] = {}
    for source in (
        _from_file(path, keys),
        _from_environment(os.environ if env is None else env, keys),
        _from_flags(flags or {}, keys),
    ):
        given |= source
    values: dict[str, object] = {}
    origins = {name: "default" for name in keys if name != CLIENT}
    client: dict[str, str] = {}
    for name, (value, origin) in given.items():
        if name.startswith(f"{CLIENT}."):
            client[name.removeprefix(f"{CLIENT}.")] = _client_option(name, value, origin)
        else:
            values[name] = _typed(keys[name], value, origin)
        origins[name] = origin
    values[CLIENT] = client
    sections = {
        each.name: _built(each.name, each.default, values)
        for each in fields(Config)
        if each.name != "origins"
    }
    config = Config(**sections, origins=origins)
    _check(config)
    return config


def _built(path: str, default: Any, values: Mapping[str, object]) -> Any:
    """The section at ``path``: ``default`` with the values that were given."""
    changed: dict[str, object] = {}
    for name in default.__struct_fields__:
        inner = getattr(default, name)
        if isinstance(inner, Section):
            changed[name] = _built(f"{path}.{name}", inner, values)
        elif f"{path}.{name}" in values:
            changed[name] = values[f"{path}.{name}"]
    return msgspec.structs.replace(default, **changed)


# --- sources ----------------------------------------------------------------------------------

Given = dict[str, tuple[object, str]]
"""Dotted key → value and where it came from."""


def _from_file(path: Path | str | None, keys: Mapping[str, Key]) -> Given:
    file = DEFAULT_FILE if path is None else Path(path)
    if path is None and not file.exists():
        return {}
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{file}: can't be read ({error.strerror}); give the path of a TOML file"
        ) from error
    except ValueError as error:  # of TOML as of UTF-8
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    return {
        _known(name, keys, origin=file.name): (value, file.name)
        for name, value in _flattened(tables, "", keys)
    }


def _flattened(
    table: Mapping[str, Any], path: str, keys: Mapping[str, Key]
) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        dotted = f"{path}.{name}" if path else name
        if isinstance(value, dict) and (dotted == CLIENT or dotted not in keys):
            if not value and not any(known.startswith(f"{dotted}.") for known in (*keys, CLIENT)):
                yield dotted, value  # an empty table of an unknown name is still a mistake
            yield from _flattened(value, dotted, keys)
        else:
            yield dotted, value


def _from_environment(env: Mapping[str, str], keys: Mapping[str, Key]) -> Given:
    by_variable = {variable(name): name for name in keys}
    single = {name.replace("__", "_"): name for name in by_variable}
    given: Given = {}
    for name, value in env.items():
        if not name.startswith("STREAMER_"):
            continue
        origin = f"environment {name}"
        if "__" not in name:
            # Others may use the prefix too, but not for what is clearly meant for us.
            if name in single:
                raise ConfigError(f"{origin}: did you mean {single[name]} (two underscores)?")
            continue
        dotted = by_variable.get(name)
        if dotted is None:
            dotted = name.removeprefix("STREAMER_").lower().replace("__", ".")
            if dotted.startswith(f"{CLIENT}."):
                dotted = dotted.replace("_", ".")  # STREAMER_KAFKA__CLIENT__SASL_MECHANISM
        dotted = _known(dotted, keys, origin=origin)
        given[dotted] = (_from_text(value, keys.get(dotted)), origin)
    return given


def _from_flags(flags: Mapping[str, object], keys: Mapping[str, Key]) -> Given:
    given: Given = {}
    for name, value in flags.items():
        if value is not None:
            key = keys.get(_known(name, keys, origin="flag"))
            given[name] = (_from_text(value, key) if isinstance(value, str) else value, "flag")
    return given


def variable(key: str) -> str:
    """Environment variable of a dotted key."""
    return f"STREAMER_{key.upper().replace('.', '__')}"


def _known(name: str, keys: Mapping[str, Key], *, origin: str) -> str:
    if (name in keys and name != CLIENT) or name.startswith(f"{CLIENT}."):
        return name
    if name == CLIENT:
        raise ConfigError(f"{origin}: {CLIENT} is a table; set {CLIENT}.OPTION")
    near = difflib.get_close_matches(name, keys, n=1, cutoff=0.0)
    raise ConfigError(f"{origin}: unknown key '{name}'; the nearest known one is '{near[0]}'")


# --- values -----------------------------------------------------------------------------------


def _from_text(text: str, key: Key | None) -> object:
    """What a text of the environment or of a flag means: itself, or a TOML value."""
    if key is None or _takes_text(key.type):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _takes_text(annotated: Any) -> bool:
    base = get_args(annotated)[0]
    return base is str or get_origin(base) is Literal


def _typed(key: Key, value: object, origin: str) -> object:
    problem = ""
    try:
        typed: object = msgspec.convert(value, key.type)
        numbers = typed if isinstance(typed, tuple) else (typed,)
        if all(math.isfinite(each) for each in numbers if isinstance(each, float)):
            return typed
        problem = "a number must be finite"
    except msgspec.ValidationError as error:
        problem = str(error)
    raise ConfigError(
        f"{origin}: {key.name} = {masked(key.name, value)} is refused: {problem}; it is "
        f"{description(key)}, by default {masked(key.name, key.default)}"
    )


def _client_option(name: str, value: object, origin: str) -> str:
    option = name.removeprefix(f"{CLIENT}.")
    if instead := _OWN_OPTIONS.get(option):
        raise ConfigError(f"{origin}: {name} can't be set: {instead}")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(
        f"{origin}: {name} = {masked(name, value)} is refused: options of librdkafka are text"
    )


_OWN_OPTIONS: Final = {
    "bootstrap.servers": "use kafka.bootstrap_servers",
    "group.id": "use kafka.group",
    "enable.auto.commit": "offsets are committed with the parameters",
    "enable.auto.offset.store": "offsets are committed with the parameters",
    "enable.idempotence": "messages are always produced idempotently",
    "partitioner": "a user's messages must all land on one partition",
    "partition.assignment.strategy": "a learner must own the same partitions of every topic",
}


def description(key: Key) -> str:
    """What a key means."""
    return next(
        meta.description
        for meta in reversed(get_args(key.type)[1:])
        if isinstance(meta, msgspec.Meta) and meta.description
    )


def _check(config: Config) -> None:
    """What only several settings together show."""

    def refuse(name: str, value: object, problem: str) -> None:
        origin = config.origins.get(name, "default")
        raise ConfigError(f"{origin}: {name} = {masked(name, value)} is refused: {problem}")

    topics: dict[str, str] = {}
    for role in get_args(TopicRole):
        name = config.topics.topic(role)
        if name in topics:
            refuse(
                f"topics.{role}", name, f"topics.{topics[name]} has that name too; choose others"
            )
        topics[name] = role
    half_lives_s = config.popularity.half_lives_s
    if list(half_lives_s) != sorted(set(half_lives_s)):
        refuse("popularity.half_lives_s", half_lives_s, "they must rise; sort them")
    if config.scorer.trending_half_life_s not in half_lives_s:
        refuse(
            "scorer.trending_half_life_s",
            config.scorer.trending_half_life_s,
            f"it must be one of popularity.half_lives_s, {toml_text(half_lives_s)}",
        )
    for event_type in EVENT_TYPES:
        value_range = getattr(config.rewards, event_type).value_range
        if len(value_range) == 1 or (value_range and value_range[0] == value_range[1]):
            refuse(
                f"rewards.{event_type}.value_range",
                value_range,
                "give two different numbers, or none",
            )


# --- printing ---------------------------------------------------------------------------------


def describe(config: Config) -> list[tuple[str, str, str]]:
    """Rows ``(key, value, origin)`` of all that is in effect, secrets masked."""
    rows = []
    for name in known_keys():
        value = _value(config, name)
        if name == CLIENT:
            options = {f"{CLIENT}.{option}": text for option, text in value.items()}
            rows += [(key, masked(key, text), key) for key, text in options.items()]
        else:
            rows.append((name, masked(name, value), name))
    return [(name, text, config.origins.get(key, "default")) for name, text, key in rows]


def _value(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def masked(key: str, value: object) -> str:
    """A value as TOML writes it, with ``***`` in place of secrets."""
    if _SECRET_KEY.search(key):
        return '"***"'
    return _SECRET_IN_URL.sub(
        lambda match: f"{match[1] or match[2]}***{'@' if match[1] else ''}", toml_text(value)
    )


def toml_text(value: object) -> str:
    """A value as it would stand in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    return str(value)
