"""Files of people's own, as the configuration has them: ``[files.NAME]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final, Literal

from msgspec import Meta

from streamer.config.section import Section
from streamer.errors import ConfigError

Holds = Literal["events", "items", "users"]
HOLDS: Final[tuple[Holds, ...]] = ("events", "items", "users")


class FileConfig(Section, frozen=True, kw_only=True):
    """How `import`, `publish` and `replay` read a file, where no flag says it (docs/import.md)."""

    file: Annotated[
        str,
        Meta(description="name of the file; `*` stands for any characters, as in `part-*.csv`"),
    ] = ""
    holds: Annotated[Holds, Meta(description="what a line or row is")] = "events"
    map: Annotated[
        str, Meta(description="FIELD=COLUMN,FIELD=COLUMN …; a field is found by its own name too")
    ] = ""
    type: Annotated[str, Meta(description='of all events; "": as the file says')] = ""
    format: Annotated[str, Meta(description='as --format; "": as the suffix says')] = ""
    delimiter: Annotated[str, Meta(description='as --delimiter; "": found out')] = ""
    encoding: Annotated[str, Meta(description='as --encoding; "": UTF-8, or UTF-16')] = ""


DEFAULT_FILES: Final[Mapping[str, FileConfig]] = {}


@lru_cache(maxsize=1_024)
def _pattern(file: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, file.split("*"))), re.DOTALL)


def is_of(name: str, file: str) -> bool:
    """Whether ``file`` of a table stands for the file ``name``.

    >>> is_of("part-02.csv", "part-*.csv"), is_of("clicks[1].csv", "clicks[1].csv")
    (True, True)
    """
    return _pattern(file).fullmatch(name) is not None


def file_table(files: Mapping[str, FileConfig], name: str, holds: Holds) -> FileConfig | None:
    """Return the table of the file ``name``, if there is one.

    Raises
    ------
    ConfigError
        When there are two.
    """
    found = {
        table: each
        for table, each in files.items()
        if each.holds == holds and is_of(name, each.file)
    }
    if len(found) > 1:
        tables = " and ".join(f"[files.{table}]" for table in found)
        raise ConfigError(f"{tables} are both of {name}; change `file` in one of them")
    return next(iter(found.values()), None)
