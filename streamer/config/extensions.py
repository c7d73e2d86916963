"""Tables of the configuration that rooms above it add: ``[recall.NAME]`` of each recall channel.

The configuration stands below these rooms and imports none of them. It knows the module that keeps
a table's registry and asks it whenever keys are looked up, so a registered entry has its section,
its keys in the environment and as flags, and its documentation without a line here.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol

from streamer.config.section import Section

if TYPE_CHECKING:
    from streamer.config.settings import Config

RECALL: Final = "recall"
REGISTRIES: Final = {RECALL: "streamer.ranking.recall.registry"}
"""Table → the module whose ``registered()`` gives its entries."""


class Extension(Protocol):
    """An entry of a registry, as the configuration sees it: a class.

    Attributes
    ----------
    name
        Of its section within the table.
    settings_type
        The section, with a default for every key.
    """

    name: str
    settings_type: type[Any]

    @classmethod
    def check(cls, config: Config) -> None:
        """Check what only several settings together show.

        Raises
        ------
        Refused
            With the dotted keys at fault.
        """


def extensions(table: str) -> Sequence[Extension]:
    """Return the entries of a table, in the order of their registry."""
    found: Sequence[Extension] = import_module(REGISTRIES[table]).registered()
    return found


def default_section(extension: Extension) -> Section:
    """Return the section of an entry with every key at its default."""
    section: Section = extension.settings_type()
    return section
