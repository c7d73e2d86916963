"""Which events of a replay one of several processes asks its models about."""

from __future__ import annotations

from typing import Final, NamedTuple


class AskedTurns(NamedTuple):
    """Every ``n_processes``-th turn, from ``first`` on."""

    first: int = 0
    n_processes: int = 1

    def has(self, turn: int) -> bool:
        """Return whether a turn is one of these."""
        return turn % self.n_processes == self.first


ALL_TURNS: Final = AskedTurns()
