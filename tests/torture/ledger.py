"""What was published: each message with its kind, and how often."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from streamer.config.settings import TopicRole

Fate = Literal["good", "repeat", "bad"]
"""What must become of a message: used, dropped as known, or a dead letter."""
_DIGESTED = 1_000


class Kind(NamedTuple):
    """What sort of message it is, and what must become of it."""

    name: str
    fate: Fate


Mark = tuple[TopicRole, bytes | None]
"""A message of a topic; one that is long by its digest."""


def mark(role: TopicRole, payload: bytes | None) -> Mark:
    if payload is not None and len(payload) > _DIGESTED:
        return role, hashlib.sha256(payload).digest()
    return role, payload


@dataclass(slots=True)
class Ledger:
    """Counts every message that was sent; a repeat is sent after what it repeats.

    Attributes
    ----------
    copies
        How often each was sent.
    kinds
        Of a message; of what was sent several times, the first one's.
    sent
        Messages by topic and kind.
    """

    copies: Counter[Mark] = field(default_factory=Counter)
    kinds: dict[Mark, Kind] = field(default_factory=dict)
    sent: Counter[tuple[TopicRole, Kind]] = field(default_factory=Counter)

    def note(self, role: TopicRole, payload: bytes | None, kind: Kind) -> None:
        """Note a message before it is sent."""
        marked = mark(role, payload)
        self.copies[marked] += 1
        self.kinds.setdefault(marked, kind)
        self.sent[role, kind] += 1

    def kind(self, role: TopicRole, payload: bytes | None) -> Kind | None:
        """Kind of a message that was found on a topic; None: it is not from here."""
        return self.kinds.get(mark(role, payload))

    def n(self, role: TopicRole, fate: Fate | None = None) -> int:
        """Messages of a topic, by default of any fate."""
        return sum(
            n for (of, kind), n in self.sent.items() if of == role and fate in (None, kind.fate)
        )

    def by_kind(self) -> dict[str, dict[str, int]]:
        """Topic → kind → messages sent, for a report."""
        found: dict[str, dict[str, int]] = {}
        for (role, kind), n in sorted(self.sent.items()):
            found.setdefault(role, {})[f"{kind.name} ({kind.fate})"] = n
        return found
