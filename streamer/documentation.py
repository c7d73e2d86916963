"""The generated parts of ``docs/``: ``python -m streamer.documentation docs`` writes them.

``docs/messages/*.json`` are generated whole; of the pages in ``PAGES`` it is what
stands between ``<!-- generated NAME -->`` and ``<!-- end -->``. A test fails when they are stale.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from streamer.application.all_metrics import all_metrics
from streamer.config import Config, Key, known_keys
from streamer.config.extensions import REGISTRIES, extensions
from streamer.config.keys import NAMED, NamedTables
from streamer.config.masking import masked
from streamer.errors import StreamerError
from streamer.events import json_schemas
from streamer.ranking.columns import ranking_columns
from streamer.ranking.lists import LISTS
from streamer.ranking.recall.channel import Channel
from streamer.ranking.recall.reasons import NEW
from streamer.ranking.recall.registry import registered
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.bandits.policies.settings import ExploringSettings, LinearSettings

PAGES = ("messages.md", "configuration.md", "bandits.md", "lists.md", "metrics.md")
_BLOCK = re.compile(r"(<!-- generated (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated(docs: Path) -> dict[Path, str]:
    """What each file under ``docs`` that is generated, whole or in part, should hold.

    Raises
    ------
    StreamerError
        When a page asks for a block that nothing generates.
    """
    texts = {
        docs / "messages" / f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in json_schemas().items()
    }
    blocks = {
        "fields": _fields(),
        "features": _features(),
        "reasons": _reasons(),
        "lists": _lists(),
        "settings": _settings(),
        "example": _example(),
        "policies": _policies(),
        "metrics": _metrics(),
    }
    for name in PAGES:
        texts[docs / name] = _filled(docs / name, blocks)
    return texts


def write(docs: Path) -> None:
    """Bring ``docs`` up to date."""
    for path, text in generated(docs).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _filled(page: Path, blocks: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[2] not in blocks:
            known = ", ".join(blocks)
            raise StreamerError(f"{page}: nothing generates '{match[2]}'; there are {known}")
        return f"{match[1]}\n{blocks[match[2]]}\n{match[3]}"

    return _BLOCK.sub(fill, page.read_text(encoding="utf-8"))


# --- messages ---------------------------------------------------------------------------------


def _fields() -> str:
    parts = []
    for schema in json_schemas().values():
        for title, part in schema["$defs"].items():
            required = set(part["required"])
            rows = [
                (f"`{field}`", "yes" if field in required else "", _json_type(kind), _note(kind))
                for field, kind in sorted(
                    part["properties"].items(), key=lambda each: each[0] not in required
                )
            ]
            parts.append(f"### {title}\n\n{part['description']}\n")
            parts.append(_table(("field", "required", "type", "meaning"), rows))
    return "\n".join(parts)


def _features() -> str:
    rows = [(f"`{each.name}`", each.meaning) for each in ranking_columns(Config())]
    return _table(("feature", "meaning"), rows)


def _lists() -> str:
    rows = [(f"`{name}`", each.meaning, f"`{each.reason}`") for name, each in LISTS.items()]
    return _table(("list", "in order of", "reason"), rows)


def _reasons() -> str:
    rows = [
        (_reason(each), f"`{each.name}`: {str(each.__doc__).splitlines()[0]}")
        for each in registered()
    ]
    rows.append((f"`{NEW}`", "no positive feedback on it yet, by whichever of these channels"))
    return _table(("reason", "channel that placed the item highest"), rows)


def _reason(channel: type[Channel[Any]]) -> str:
    named = channel.reason_with.format("TITLE") or channel.reason_of.format("CATEGORY")
    return f"`{channel.reason}`" if not named else f"`{named}`, `{channel.reason}`"


def _policies() -> str:
    """Return the policies with the settings that are not those of all."""
    settings = {name: policy.settings_type.described() for name, policy in POLICIES.items()}
    common = {*LinearSettings.described(), *ExploringSettings.described()}
    rows = [
        (
            f"`{name}`",
            policy.takes,
            ", ".join(f"`{key}`" for key in settings[name] if key not in common),
            policy.source,
        )
        for name, policy in POLICIES.items()
    ]
    return _table(("policy", "a slot takes", "settings", "source"), rows)


def _metrics() -> str:
    rows = [
        (
            f"`{each.name}`",
            each.kind,
            ", ".join(f"`{label}`" for label in each.labels),
            each.meaning,
            f"`{each.process}`",
        )
        for each in all_metrics()
    ]
    return _table(("metric", "kind", "labels", "what it is", "served by"), rows)


def _note(kind: Mapping[str, Any]) -> str:
    return str(kind.get("description", ""))


def _json_type(kind: Mapping[str, Any]) -> str:
    if "anyOf" in kind:
        return " or ".join(_json_type(each) for each in kind["anyOf"] if each.get("type") != "null")
    if "$ref" in kind:
        return str(kind["$ref"]).rpartition("/")[2]
    if "enum" in kind:
        return " ".join(f"`{value}`" for value in kind["enum"])
    name = str(kind["type"])
    if name == "array":
        return f"array of {_json_type(kind['items'])}, at most {kind['maxItems']:,}"
    if name == "object":
        return f"flat object, at most {kind['maxProperties']} keys"
    if name == "string" and "contentEncoding" in kind:
        return "base64"
    if name == "string" and "maxLength" in kind:
        return f"string, {kind.get('minLength', 0)} to {kind['maxLength']:,}"
    low, high = kind.get("minimum"), kind.get("maximum", kind.get("exclusiveMaximum"))
    return name if high is None else f"{name}, {'above 0' if low is None else low} to {high:,}"


# --- configuration ----------------------------------------------------------------------------


def _sections() -> list[tuple[str, list[Key]]]:
    keys = known_keys().values()
    return [(section, list(group)) for section, group in groupby(keys, key=_section_of)]


def _section_of(key: Key) -> str:
    section, _, rest = key.name.partition(".")
    return f"{section}.{rest.partition('.')[0]}" if section in REGISTRIES else section


def _docstring(section: str) -> str:
    table, _, name = section.partition(".")
    if table in REGISTRIES:
        (found,) = (each for each in extensions(table) if each.name == name)
        return str(found.settings_type.__doc__)
    return str(type(getattr(Config(), section)).__doc__)


def _settings() -> str:
    parts = []
    for section, keys in _sections():
        if section in NAMED:
            parts.append(_named_settings(NAMED[section], keys))
            continue
        parts.append(f"### [{section}]\n\n{_docstring(section)}\n")
        rows = [
            (f"`{key.name}`", f"`{masked(key.name, key.default)}`", key.allowed, key.description)
            for key in keys
        ]
        parts.append(_table(("key", "default", "allowed", "meaning"), rows))
    shown = {section for section, _ in _sections()}
    parts += [_named_settings(each, []) for each in NAMED.values() if each.section not in shown]
    return "\n".join(parts)


def _named_settings(tables: NamedTables, defaults: Sequence[Key]) -> str:
    section = tables.section
    fields = [tables.key(f"{section}.name.{field}") for field in tables.fields()]
    rows = [
        (
            f"`{_placeholders(key.name)}`",
            f"`{masked(key.name, key.default)}`",
            key.allowed,
            key.description,
        )
        for key in fields
        if key is not None
    ]
    by_name = groupby(defaults, key=lambda key: key.name.split(".")[1])
    default_set = [
        (f"`{name}`", ", ".join(_assigned(key) for key in keys)) for name, keys in by_name
    ]
    head = f"### [{section}.NAME]\n\n{tables.table.__doc__}\n"
    noun = tables.noun.partition(" ")[2]
    parts = [head, _table(("key", "default", "allowed", "meaning"), rows)]
    if default_set:
        parts.append(_table((f"default {noun}", "definition"), default_set))
    return "\n".join(parts)


def _placeholders(name: str) -> str:
    """Return a key of a table with a free name as pages show it."""
    section, _, rest = name.split(".", 2)
    return f"{section}.NAME.{rest.replace('.variant.', '.VARIANT.')}"


def _assigned(key: Key) -> str:
    return f"`{key.name.rpartition('.')[2]} = {masked(key.name, key.default)}`"


def _example() -> str:
    lines = ["```toml"]
    tables = groupby(known_keys().values(), key=lambda key: key.name.rpartition(".")[0])
    for table, keys in tables:
        lines.append(f"[{table}]")
        for key in keys:
            name = key.name.rpartition(".")[2]
            lines.append(f"{name} = {masked(key.name, key.default)}")
        lines.append("")
    return "\n".join([*lines[:-1], "```"])


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
