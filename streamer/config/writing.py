"""Tables added to a configuration file, whose other lines stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from streamer.config.masking import toml_text
from streamer.config.section import Section
from streamer.config.sources import DEFAULT_FILE
from streamer.errors import ConfigError

Tables = Mapping[str, Section]
"""Dotted name of a table → what it holds."""


def tables_text(tables: Tables) -> str:
    """Return tables as TOML, with what differs from a table without a line.

    Examples
    --------
    >>> from streamer.config.events import EventConfig
    >>> print(tables_text({"events.save": EventConfig(weight=2.0)}))
    [events.save]
    weight = 2.0
    """
    return "\n\n".join("\n".join((f"[{name}]", *_lines(table))) for name, table in tables.items())


def _lines(table: Section) -> list[str]:
    plain = type(table)()
    values = {name: getattr(table, name) for name in table.__struct_fields__}
    changed = {name: value for name, value in values.items() if value != getattr(plain, name)}
    # An event type that is added must have a weight, 0 too.
    first = table.__struct_fields__[0]
    return [
        f"{name} = {toml_text(value)}" for name, value in ({first: values[first]} | changed).items()
    ]


def add_tables(path: Path | None, tables: Tables) -> Path:
    """Append tables to a configuration file, or make the file; return its path.

    The file is replaced as a whole, and only where it can be read as a configuration afterwards.

    Parameters
    ----------
    path
        None: ``./streamer.toml``.

    Raises
    ------
    ConfigError
        When the file can't be written, or would not be a configuration with these tables.
    """
    from streamer.config import load_config

    file = DEFAULT_FILE if path is None else path
    added = tables_text(tables)
    try:
        before = file.read_text(encoding="utf-8-sig").rstrip() if file.exists() else ""
        with NamedTemporaryFile(
            "w", encoding="utf-8", dir=file.parent, prefix=f"{file.name}.", delete=False
        ) as new:
            new.write(f"{before}\n\n{added}\n" if before else f"{added}\n")
        try:
            if file.exists():
                Path(new.name).chmod(file.stat().st_mode)
            load_config(new.name, env={})
            Path(new.name).replace(file)
        finally:
            Path(new.name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{file} can't be written ({error.strerror}); add to it by hand:\n{added}"
        ) from error
    except ConfigError as error:
        raise ConfigError(
            f"{file} was not changed: {error}; add to it by hand:\n{added}"
        ) from error
    return file
