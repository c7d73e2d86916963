"""Messages of a log that repeat the id of one before."""

from __future__ import annotations

from collections.abc import Hashable, Iterator


class Repeats:
    """Repeated messages, counted: those that say the same as the first, and those that don't.

    For logs of messages of any topic that are read once, from their beginning. What a learner drops
    is another matter: :class:`streamer.learner.dedup.DedupWindow` goes by offsets, so that a
    restart restores it, and looks at no content.

    Memory: 200 B an id.

    Parameters
    ----------
    ids_max
        Ids that are remembered, the latest of them; None: all. A repeat of one that is forgotten
        counts as saying the same.
    """

    def __init__(self, ids_max: int | None = None) -> None:
        self.n = self.n_differing = 0
        self._first_differing = ""
        self._ids_max = ids_max
        self._contents: dict[Hashable, int] = {}

    def __contains__(self, message_id: Hashable) -> bool:
        return message_id in self._contents

    def note(self, message_id: Hashable, content: bytes) -> None:
        """Remember the first message of an id."""
        self._contents[message_id] = hash(content.strip())
        if self._ids_max is not None and len(self._contents) > self._ids_max:
            del self._contents[next(iter(self._contents))]

    def count(self, message_id: Hashable, content: bytes, where: str) -> None:
        """Count one that repeats it, at a place in the log."""
        self.n += 1
        if self._contents.get(message_id, found := hash(content.strip())) != found:
            self.n_differing += 1
            self._first_differing = self._first_differing or where

    def remarks(self, messages: str, field: str) -> Iterator[str]:
        """Yield what was left out, where anything was."""
        if not self.n:
            return
        said = f"{self.n:,} {messages} repeat the {field} of one before and are left out"
        if self.n_differing:
            said += (
                f"; {self.n_differing:,} of them say something else than that one, the first at"
                f" {self._first_differing}: an id is to be of one alone"
            )
        yield said
