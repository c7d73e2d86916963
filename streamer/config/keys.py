"""The keys of the configuration, one by one: name, type, range, default and meaning."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from streamer.config.bridges import DEFAULT_BRIDGES, BridgeConfig
from streamer.config.events import DEFAULT_EVENTS, EventConfig
from streamer.config.experiments import (
    DEFAULT_EXPERIMENTS,
    OWN,
    SERVING,
    VARIANTS,
    ExperimentConfig,
    VariantConfig,
    put,
    settings_of,
)
from streamer.config.extensions import REGISTRIES, default_section, extensions
from streamer.config.features import DEFAULT_FEATURES, NAME, FeatureConfig
from streamer.config.files import DEFAULT_FILES, FileConfig
from streamer.config.masking import toml_text
from streamer.config.objectives import DEFAULT_OBJECTIVES, ObjectiveConfig
from streamer.config.rules import DEFAULT_RULES, RuleConfig
from streamer.config.section import Section
from streamer.config.settings import Config
from streamer.events.types import TYPE_NAME

CLIENT: Final = "kafka.client"
REGISTRY_CLIENT: Final = "registry.client"
OPTION_TABLES: Final = (CLIENT, REGISTRY_CLIENT)
"""The tables with free keys: options of a client, as its documentation names them."""
FEATURES: Final = "features"
EVENTS: Final = "events"
OBJECTIVES: Final = "objectives"
RULES: Final = "rules"
FILES: Final = "files"
BRIDGES: Final = "bridges"
EXPERIMENTS: Final = "experiments"


def option_table(dotted: str) -> str | None:
    """Return the table of a client's options that a key is in; None: in none of them.

    >>> option_table("kafka.client.sasl.password"), option_table("kafka.group")
    ('kafka.client', None)
    """
    return next((table for table in OPTION_TABLES if dotted.startswith(f"{table}.")), None)


def variable_of(name: str) -> str:
    """Environment variable of a dotted key.

    >>> variable_of("events.save.weight")
    'STREAMER_EVENTS__SAVE__WEIGHT'
    """
    return f"STREAMER_{name.upper().replace('.', '__')}"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting; ``type`` is annotated with its range and its description."""

    name: str
    type: Any
    default: object

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return variable_of(self.name)

    @property
    def description(self) -> str:
        """What it means."""
        return next(
            meta.description
            for meta in reversed(get_args(self.type)[1:])
            if isinstance(meta, msgspec.Meta) and meta.description
        )

    @property
    def takes_text(self) -> bool:
        """Whether a text stands for itself, not for a number or a list."""
        base = get_args(self.type)[0]
        return base is str or get_origin(base) is Literal

    @property
    def allowed(self) -> str:
        """Type and range in words.

        >>> known_keys()["mf.factors"].allowed
        'an integer from 1 to 512'
        """
        return _allowed(msgspec.inspect.type_info(self.type))


@dataclass(frozen=True, slots=True)
class NamedTables:
    """A section of tables with free names: each defines one thing, ``[SECTION.NAME]``.

    Attributes
    ----------
    table
        Without arguments, what a table without a key means.
    default
        Those that are there without a line of configuration.
    noun, needs
        What a table defines, and what it must hold, for messages.
    in_full
        Whether tables are shown with all settings, not only with those that say something.
    """

    section: str
    name: re.Pattern[str]
    table: type[Section]
    default: Mapping[str, Section]
    noun: str
    needs: str
    in_full: bool = False

    def key(self, dotted: str) -> Key | None:
        """The setting ``SECTION.NAME.FIELD``; None where it is none."""
        section, _, rest = dotted.partition(".")
        name, _, field = rest.partition(".")
        if section != self.section or not self.name.fullmatch(name):
            return None
        if field not in self.table.__struct_fields__:
            return None
        hints = _hints(self.table)
        return Key(dotted, hints[field], getattr(self.default.get(name, self.table()), field))

    def changed(self, table: Section, field: str, value: object) -> Section:
        """Return a table with a setting changed."""
        return msgspec.structs.replace(table, **{field: value})

    def fields(self, asked: str = "") -> Sequence[str]:
        """Return the settings that a table has, for one that asked for another."""
        return self.table.__struct_fields__

    def shown(self, tables: Mapping[str, Section]) -> dict[str, object]:
        """Dotted key → value of what says something: what differs from a table without a key."""
        plain = self.table()
        return {
            f"{self.section}.{name}.{field}": getattr(table, field)
            for name, table in tables.items()
            for field in table.__struct_fields__
            if self.in_full or getattr(table, field) != getattr(plain, field)
        }


class ExperimentTables(NamedTables):
    """``[experiments.NAME]``, with ``[experiments.NAME.variants.VARIANT]`` within.

    A variant has keys of its own, and any setting of the configuration under its own name.
    """

    def key(self, dotted: str) -> Key | None:
        section, name, rest = [*dotted.split(".", 2), "", ""][:3]
        if not rest.startswith(f"{VARIANTS}."):
            return None if rest == VARIANTS else super().key(dotted)
        variant, _, key = rest.removeprefix(f"{VARIANTS}.").partition(".")
        if section != self.section or not all(map(self.name.fullmatch, (name, variant))):
            return None
        if key in OWN:
            return Key(dotted, _hints(VariantConfig)[key], getattr(VariantConfig(), key))
        found = None if key.startswith(f"{EXPERIMENTS}.") else any_key(key)
        return None if found is None else Key(dotted, found.type, found.default)

    def changed(self, table: Section, field: str, value: object) -> Section:
        assert isinstance(table, ExperimentConfig)
        return put(table, field, value)

    def fields(self, asked: str = "") -> Sequence[str]:
        if not asked.startswith(f"{VARIANTS}."):
            own = (each for each in super().fields() if each != VARIANTS)
            return (*own, *(f"{VARIANTS}.variant.{key}" for key in OWN))
        variant = asked.removeprefix(f"{VARIANTS}.").partition(".")[0]
        keys = [key for key in known_keys() if key.partition(".")[0] in SERVING]
        return [f"{VARIANTS}.{variant}.{key}" for key in (*OWN, *keys)]

    def shown(self, tables: Mapping[str, Section]) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, table in tables.items():
            assert isinstance(table, ExperimentConfig)
            found |= {f"{self.section}.{name}.{key}": value for key, value in settings_of(table)}
        return found


NAMED: Final[Mapping[str, NamedTables]] = {
    each.section: each
    for each in (
        NamedTables(
            EVENTS, TYPE_NAME, EventConfig, DEFAULT_EVENTS, "an event type", "a weight", True
        ),
        NamedTables(
            OBJECTIVES,
            NAME,
            ObjectiveConfig,
            DEFAULT_OBJECTIVES,
            "an objective",
            "events",
            True,
        ),
        NamedTables(
            FEATURES,
            NAME,
            FeatureConfig,
            DEFAULT_FEATURES,
            "a feature",
            "an entity, a numerator and a window",
        ),
        NamedTables(
            RULES, NAME, RuleConfig, DEFAULT_RULES, "a rule", "exclude, only, or boost and when"
        ),
        NamedTables(FILES, NAME, FileConfig, DEFAULT_FILES, "a file", "file and map"),
        NamedTables(BRIDGES, NAME, BridgeConfig, DEFAULT_BRIDGES, "a bridge", "topic and map"),
        ExperimentTables(
            EXPERIMENTS,
            NAME,
            ExperimentConfig,
            DEFAULT_EXPERIMENTS,
            "an experiment",
            "variants, each with a weight",
        ),
    )
}
"""By section."""


def known_keys() -> dict[str, Key]:
    """Every setting by its dotted name, in the order of the sections.

    Of tables with free names it has the default ones; :func:`named_key` has those of any name.
    """
    return {key.name: key for key in _keys("", Config())}


def named_key(dotted: str) -> Key | None:
    """The setting ``SECTION.NAME.FIELD`` of a table with a free name; None where it is none.

    >>> named_key("features.mine.window").allowed
    'a text such as "500ms", "90s", "5m", "1h", "7d" or ""'
    """
    tables = NAMED.get(dotted.partition(".")[0])
    return None if tables is None else tables.key(dotted)


def any_key(dotted: str) -> Key | None:
    """Return a setting, of a table with a free name too; None where it is none."""
    return known_keys().get(dotted) or named_key(dotted)


def value_of(config: Config, dotted: str) -> object:
    """Return the value of a setting of :func:`known_keys` that is in effect.

    >>> value_of(Config(), "recall.mf.candidates")
    0
    """
    table, _, rest = dotted.partition(".")
    if table not in REGISTRIES:
        return operator.attrgetter(dotted)(config)
    name, _, field = rest.partition(".")
    sections: Mapping[str, Section] = getattr(config, table)
    if name in sections:
        return getattr(sections[name], field)
    return known_keys()[dotted].default


@functools.cache
def _hints(table: type[Section]) -> Mapping[str, Any]:
    """Types of the settings; Python compiles each of some 200 annotations again when asked."""
    return get_type_hints(table, include_extras=True)


def _keys(path: str, section: Section) -> Iterator[Key]:
    hints = _hints(type(section))
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _keys(f"{path}{name}.", value)
        elif name in NAMED and not path:
            shown = NAMED[name].shown(NAMED[name].default)
            yield from filter(None, map(NAMED[name].key, shown))
        elif name in REGISTRIES and not path:
            for each in extensions(name):
                yield from _keys(f"{name}.{each.name}.", default_section(each))
        elif name != "origins":
            yield Key(f"{path}{name}", hints[name], value)


def _allowed(info: Any) -> str:
    if isinstance(info, msgspec.inspect.Metadata):
        examples = (info.extra_json_schema or {}).get("examples")
        return f"a text such as {_listed(examples)}" if examples else _allowed(info.type)
    if isinstance(info, msgspec.inspect.LiteralType):
        return " or ".join(map(toml_text, info.values))
    if isinstance(info, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(info, msgspec.inspect.IntType):
        return f"an integer{_range(info)}"
    if isinstance(info, msgspec.inspect.FloatType):
        return f"a number{_range(info)}"
    if isinstance(info, msgspec.inspect.VarTupleType):
        n_min, n_max = info.min_length or 0, info.max_length
        bounds = "" if n_max is None else f" of {n_min} to {n_max}"
        return f"a list{bounds}, each {_allowed(info.item_type)}"
    if isinstance(info, msgspec.inspect.UnionType):
        return ", or ".join(map(_allowed, info.types))
    if isinstance(info, msgspec.inspect.DictType):
        return "a table of texts"
    return f"a text that matches `{info.pattern}`" if info.pattern else "a text"


def _listed(examples: Sequence[str]) -> str:
    *others, last = map(toml_text, examples)
    return f"{', '.join(others)} or {last}"


def _range(info: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    assert info.le is not None, "every number has a range"
    low = f"above {info.gt:,} and up" if info.gt is not None else f"from {info.ge:,}"
    return f" {low} to {info.le:,}"
