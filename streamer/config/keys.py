"""The keys of the configuration, one by one: name, type, range, default and meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from streamer.config.features import (
    DEFAULT_FEATURES,
    NAME,
    FeatureConfig,
    given_fields,
)
from streamer.config.masking import toml_text
from streamer.config.section import Section
from streamer.config.settings import Config

CLIENT: Final = "kafka.client"
"""The one table with free keys: options of librdkafka."""
FEATURES: Final = "features"
"""The tables with free names: every one defines a feature."""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting; ``type`` is annotated with its range and its description."""

    name: str
    type: Any
    default: object

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"STREAMER_{self.name.upper().replace('.', '__')}"

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


def known_keys() -> dict[str, Key]:
    """Every setting by its dotted name, in the order of the sections.

    Of features it has what defines the default set; :func:`feature_key` has those of any name.
    """
    return {key.name: key for key in _keys("", Config())}


def feature_key(dotted: str) -> Key | None:
    """The setting ``features.NAME.FIELD``; None where it is none.

    >>> feature_key("features.mine.window").allowed
    'a text such as "500ms", "90s", "5m", "1h", "7d" or ""'
    """
    section, _, rest = dotted.partition(".")
    name, _, field = rest.partition(".")
    if section != FEATURES or not NAME.fullmatch(name):
        return None
    if field not in FeatureConfig.__struct_fields__:
        return None
    hints = get_type_hints(FeatureConfig, include_extras=True)
    given = DEFAULT_FEATURES.get(name, FeatureConfig())
    return Key(dotted, hints[field], getattr(given, field))


def _default_feature_keys() -> Iterator[Key]:
    for name, feature in DEFAULT_FEATURES.items():
        for field in given_fields(feature):
            key = feature_key(f"{FEATURES}.{name}.{field}")
            assert key is not None, "the default set has good names"
            yield key


def _keys(path: str, section: Section) -> Iterator[Key]:
    hints = get_type_hints(type(section), include_extras=True)
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _keys(f"{path}{name}.", value)
        elif name == FEATURES and not path:
            yield from _default_feature_keys()
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
