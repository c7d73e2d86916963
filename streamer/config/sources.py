"""Where values of the configuration come from: a file, the environment, flags.

Each source answers with the dotted keys it sets. A key nobody knows is an error in all of them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from streamer.config.keys import (
    EVENTS,
    NAMED,
    OPTION_TABLES,
    Key,
    NamedTables,
    named_key,
    option_table,
)
from streamer.config.renamed import RENAMED
from streamer.errors import ConfigError

DEFAULT_FILE: Final = Path("streamer.toml")
_OLD_EVENTS: Final = "rewards"
Given = dict[str, tuple[object, str]]
"""Dotted key → value and where it came from."""


def from_file(path: Path | str | None, keys: Mapping[str, Key]) -> Given:
    """The values of a TOML file; without ``path`` those of ``./streamer.toml``, if there is one."""
    file = DEFAULT_FILE if path is None else Path(path)
    if path is None and not file.exists():
        return {}
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{file}: can't be read ({error.strerror}); give the path of a TOML file"
        ) from error
    except ValueError as error:  # of TOML as of UTF-8
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    return {
        _known(name, keys, origin=str(file)): (value, str(file))
        for name, value in _flattened(tables, "", keys)
    }


def _flattened(
    table: Mapping[str, Any], path: str, keys: Mapping[str, Key]
) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        dotted = f"{path}.{name}" if path else name
        if isinstance(value, dict) and (dotted in OPTION_TABLES or dotted not in keys):
            if not value and not any(f"{key}.".startswith(f"{dotted}.") for key in keys):
                yield dotted, value  # an empty table of an unknown name is still a mistake
            yield from _flattened(value, dotted, keys)
        else:
            yield dotted, value


def from_environment(env: Mapping[str, str], keys: Mapping[str, Key]) -> Given:
    """The values of ``STREAMER_SECTION__KEY`` variables."""
    by_variable = {key.variable: name for name, key in keys.items()}
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
            if option_table(dotted):
                dotted = dotted.replace("_", ".")  # STREAMER_KAFKA__CLIENT__SASL_MECHANISM
        dotted = _known(dotted, keys, origin=origin)
        given[dotted] = (_from_text(value, keys.get(dotted) or named_key(dotted)), origin)
    return given


def from_flags(
    flags: Mapping[str, object], keys: Mapping[str, Key], *, origin: str = "flag"
) -> Given:
    """The values of a command's flags, by dotted key; ``origin`` is for messages."""
    given: Given = {}
    for name, value in flags.items():
        if value is not None:
            key = keys.get(_known(name, keys, origin=origin)) or named_key(name)
            given[name] = (_from_text(value, key) if isinstance(value, str) else value, origin)
    return given


def from_record(values: Mapping[str, object], keys: Mapping[str, Key], *, origin: str) -> Given:
    """Values that were recorded, by dotted key."""
    return {_known(name, keys, origin=origin): (value, origin) for name, value in values.items()}


def _known(name: str, keys: Mapping[str, Key], *, origin: str) -> str:
    if (name in keys and name not in OPTION_TABLES) or option_table(name) or named_key(name):
        return name
    section, _, rest = name.partition(".")
    if section in NAMED:
        raise ConfigError(f"{origin}: unknown key '{name}'; {_named_remedy(NAMED[section], rest)}")
    if section == _OLD_EVENTS:
        new = f"{EVENTS}.{rest}" if rest else f"{EVENTS}.NAME"
        raise ConfigError(
            f"{origin}: unknown key '{name}'; rewards are settings of event types now: '{new}'"
        )
    if name in OPTION_TABLES:
        raise ConfigError(f"{origin}: {name} is a table; set {name}.OPTION")
    if name in RENAMED:
        raise ConfigError(f"{origin}: unknown key '{name}'; it is '{RENAMED[name]}' now")
    near = difflib.get_close_matches(name, keys, n=1, cutoff=0.0)
    raise ConfigError(f"{origin}: unknown key '{name}'; the nearest known one is '{near[0]}'")


def _named_remedy(tables: NamedTables, rest: str) -> str:
    name, _, field = rest.partition(".")
    if not tables.name.fullmatch(name):
        return f"the name of {tables.noun} matches `{tables.name.pattern}`"
    if not field:
        return f"[{tables.section}.{name}] is a table; give it {tables.needs}"
    near = difflib.get_close_matches(field, tables.fields(field), n=1, cutoff=0.0)
    return f"the nearest known one is '{tables.section}.{name}.{near[0]}'"


def _from_text(text: str, key: Key | None) -> object:
    """What a text of the environment or of a flag means: itself, or a TOML value."""
    if key is None or key.takes_text:
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def from_lines(lines: Iterable[str]) -> dict[str, str]:
    """Return dotted key → value, as text, of ``KEY = VALUE`` as a file writes it.

    Quotes may be left out; a line ``[TABLE]`` stands before those below it.

    Raises
    ------
    ConfigError
        When a line is neither, or a key comes twice.

    >>> from_lines(["bandit.policy=greedy", "[rules.own]", 'boost = "1 + 1"'])
    {'bandit.policy': 'greedy', 'rules.own.boost': '1 + 1'}
    """
    found: dict[str, str] = {}
    table = ""
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            table = f"{line[1:-1].strip()}."
            continue
        name, equals, text = map(str.strip, line.partition("="))
        if not (name and equals):
            raise ConfigError(f"{line!r} is not KEY = VALUE, such as slate.diversity = 0.3")
        if table + name in found:
            raise ConfigError(f"{table}{name} comes twice; leave one of them out")
        found[table + name] = _unquoted(text)
    return found


def _unquoted(text: str) -> str:
    try:
        parsed = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return parsed if isinstance(parsed, str) else text
