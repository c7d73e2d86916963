"""Rows of a file that are of an item or a user of whom an earlier row is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from streamer_producers.common_ids import DrawnNames


class RepeatedIds:
    """Counts the rows that repeat an id.

    Memory: as of :class:`streamer_producers.common_ids.DrawnNames`; of more ids than that keeps,
    the repeats of those it keeps are counted, and stand for all.

    Attributes
    ----------
    n_rows
        All of them.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        self._names = DrawnNames()
        self._repeats: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count a row."""
        self.n_rows += 1
        if name in self._names.kept:
            self._repeats[name] += 1
        else:
            self._names.add(name)

    @property
    def n(self) -> int:
        """Rows that repeat the id of an earlier one; of very many ids, an estimate."""
        return self._names.scale * sum(n for _, n in self._kept())

    @property
    def share(self) -> float:
        """Share of the rows that repeat an id."""
        return self.n / max(1, self.n_rows)

    @property
    def example(self) -> str:
        """The first id that came again; "": none did."""
        return next((name for name, _ in self._kept()), "")

    def said(self, what: str) -> str:
        """Say how many rows repeat an item or a user; "": none does."""
        if not (n := self.n):
            return ""
        rows = f"row repeats the {what} of an earlier one"
        if n > 1:
            rows = f"rows repeat {what}s of earlier ones"
        return f"{n:,} {rows}, as {self.example!r}: the last row of each counts"

    def _kept(self) -> Iterator[tuple[str, int]]:
        """Yield what of the counted repeats is of a name that is still kept."""
        return ((name, n) for name, n in self._repeats.items() if name in self._names.kept)
