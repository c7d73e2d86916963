"""Types of events: the default ones, those that a configuration adds, and their codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DEFAULT_TYPES: Final = (
    "impression",
    "click",
    "watch",
    "like",
    "dislike",
    "share",
    "comment",
    "follow",
    "purchase",
    "rating",
    "skip",
)
"""Known without a line of configuration; the index of each is its code."""
IMPRESSION: Final = DEFAULT_TYPES.index("impression")
"""Code of the type that says that an item was seen."""
TYPE_NAME_MAX: Final = 64
"""Characters of a type's name."""
TYPE_NAME: Final = re.compile(rf"(?=.{{1,{TYPE_NAME_MAX}}}$)[a-z](_?[a-z0-9])*")
"""Name of a type that a configuration adds: environment variables have no case, and two underscores
between the parts of a key."""
TYPES_MAX: Final = 62
"""Types at most: kernels keep sets of types in the bits of an int64."""


def section_of(name: str) -> str:
    """The section of a configuration that would make a type known.

    >>> section_of("save"), section_of("Saved!")
    ('[events.save]', '[events.NAME]')
    """
    return f"[events.{name if TYPE_NAME.fullmatch(name) else 'NAME'}]"


@dataclass(frozen=True, slots=True)
class EventTypes:
    """The types of events that are known, each with a code for columns and kernels.

    Codes live within one process: what is stored or sent names types by their names. So a type may
    be added at any time, whatever codes the others get by it.

    Attributes
    ----------
    added
        Names beside the default ones, in order.
    names
        Type of each code: the default ones, then the added ones in the order of their names.
    codes
        Type → its index into ``names``, as in the ``types`` of decoded columns.

    Raises
    ------
    ValueError
        When there are more than ``TYPES_MAX``.

    Examples
    --------
    >>> EventTypes(("save", "click")).codes["save"]
    11
    """

    added: tuple[str, ...] = ()
    names: tuple[str, ...] = field(init=False)
    codes: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        added = tuple(sorted(set(self.added) - set(DEFAULT_TYPES)))
        names = (*DEFAULT_TYPES, *added)
        if len(names) > TYPES_MAX:
            raise ValueError(
                f"{len(added)} event types are added to the {len(DEFAULT_TYPES)} default ones; add"
                f" {TYPES_MAX - len(DEFAULT_TYPES)} at most"
            )
        object.__setattr__(self, "added", added)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "codes", {name: code for code, name in enumerate(names)})

    def __contains__(self, name: object) -> bool:
        return name in self.codes

    def __len__(self) -> int:
        return len(self.names)
