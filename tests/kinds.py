"""Users who each like one kind of items, for tests of what is known of kinds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streamer.events import Event

N_KINDS, N_USERS = 4, 60
START_MS = 1_700_000_000_000


def clicks_of_kinds(n: int, n_items: int) -> Iterator[Event]:
    """``n`` clicks before ``START_MS``: of items of the kind of the user's number, but for one in
    ten. The kind of item ``i7`` is 7 modulo ``N_KINDS``."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, N_USERS, n)
    kinds = np.where(rng.random(n) < 0.9, users % N_KINDS, rng.integers(0, N_KINDS, n))
    items = rng.integers(0, n_items // N_KINDS, n) * N_KINDS + kinds
    for i in range(n):
        yield Event(
            event_id=f"e{i}",
            type="click",
            user_id=f"u{users[i]}",
            item_id=f"i{items[i]}",
            ts=START_MS - 1_000 * (n - i),
        )
