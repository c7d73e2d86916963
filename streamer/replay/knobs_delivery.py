"""Late, disordered or lossy delivery: what a model has learned is not all that happened."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.events import User
from streamer.replay.interactions import UNKNOWN, ChoiceModel, Interaction, ProfileModel
from streamer.replay.knobs import Knobs
from streamer_models.state.seeding import stream

_DROP, _DISORDER = (np.uint64(purpose) for purpose in (11, 12))
_UNIT = 2.0**-53


@runtime_checkable
class Synced(Protocol):
    """A model whose predictions see what it learned only after a sync."""

    def sync(self, at_ms: int) -> None:
        """Let predictions see all that was learned."""


class _Described(NamedTuple):
    """What a user says, on its way."""

    user_row: int
    user: User
    ts_ms: int


class Delivered:
    """A model that is told of events when they arrive, and not of those that are lost.

    What users say of themselves arrives at once, and is seen at the next sync.

    Rows are the model's own, counted as its users and items arrive. For each model of an
    experiment the same events arrive at the same times. What waits is held in memory: the events
    of a delay, or of a sync interval.

    Parameters
    ----------
    model
        A ``TopKModel`` or a ``RatingModel``.
    seed
        Of losses and disorder.
    """

    def __init__(self, model: Any, knobs: Knobs, *, seed: int) -> None:
        self.model = model
        self._synced = model if isinstance(model, Synced) else None
        self._choice = model if isinstance(model, ChoiceModel) else None
        self._knobs = knobs
        self._seed = np.uint64(seed)
        self._profiled = model if isinstance(model, ProfileModel) else None
        # When it arrives, and a number of its own: of events from 0, of what is said below 0.
        self._waiting: list[tuple[int, int, Interaction | _Described]] = []
        self._users: dict[int, int] = {}
        self._items: dict[int, int] = {}
        self._item_rows: NDArray[np.int64] = np.zeros(1_024, dtype=np.int64)
        self._n_delivered = self._n_asked = self._n_said = 0

    def learn(self, interaction: Interaction) -> None:
        """Send an event on its way."""
        knobs, number = self._knobs, interaction.number
        if knobs.drop and self._uniform(_DROP, number) < knobs.drop:
            return
        arrival_ms = interaction.event.ts + knobs.label_delay_ms
        if knobs.disorder_ms:
            arrival_ms += int(knobs.disorder_ms * self._uniform(_DISORDER, number))
        heappush(self._waiting, (arrival_ms, number, interaction))

    def described(self, user_row: int, user: User, ts_ms: int) -> None:
        """Send what a user says on its way."""
        if self._profiled is not None:
            self._n_said += 1
            heappush(self._waiting, (ts_ms, -self._n_said, _Described(user_row, user, ts_ms)))

    def advance(self, ts_ms: int) -> None:
        """Deliver what the model may have seen by now."""
        syncs_at: int | None = None
        while self._waiting:
            seen_at = self._seen_at(self._waiting[0][0])
            if seen_at > ts_ms:
                break
            if syncs_at is not None and seen_at != syncs_at and self._synced is not None:
                self._synced.sync(syncs_at)
            self._deliver(heappop(self._waiting)[2])
            syncs_at = seen_at
        if syncs_at is not None and self._synced is not None:
            self._synced.sync(syncs_at)

    def _seen_at(self, arrival_ms: int) -> int:
        interval_ms = self._knobs.sync_interval_ms
        return (arrival_ms // interval_ms + 1) * interval_ms if interval_ms else arrival_ms

    def _deliver(self, found: Interaction | _Described) -> None:
        user_row = self._users.setdefault(found.user_row, len(self._users))
        if isinstance(found, Interaction):
            self._deliver_event(found, user_row)
        elif self._profiled is not None:
            self._profiled.described(user_row, found.user, found.ts_ms)

    def _deliver_event(self, interaction: Interaction, user_row: int) -> None:
        item_row = self._items.setdefault(interaction.item_row, len(self._items))
        if item_row == len(self._item_rows):
            self._item_rows = np.concatenate([self._item_rows, np.zeros_like(self._item_rows)])
        self._item_rows[item_row] = interaction.item_row
        self.model.learn(
            replace(interaction, number=self._n_delivered, user_row=user_row, item_row=item_row)
        )
        self._n_delivered += 1

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.floating[Any]]:
        """The model's scores; -inf for items it has not heard of."""
        self._n_asked = n_items
        user_row = self._users.get(user_row, UNKNOWN)
        return self._spread(self.model.score(user_row, ts_ms, len(self._items)))

    def logits(self) -> NDArray[np.floating[Any]] | None:
        """The model's logits, where it has some; -inf for items it has not heard of."""
        known = None if self._choice is None else self._choice.logits()
        return None if known is None else self._spread(known)

    def _spread(self, known: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Return values of the items it has heard of, by the rows of the experiment."""
        values = np.full(self._n_asked, -np.inf)
        values[self._item_rows[: len(known)]] = known
        return values

    def predict(self, user_row: int, item_row: int) -> float:
        """The model's prediction, of a user or an item it may not have heard of."""
        found: float = self.model.predict(
            self._users.get(user_row, UNKNOWN), self._items.get(item_row, UNKNOWN)
        )
        return found

    def _uniform(self, purpose: np.uint64, number: int) -> float:
        """In [0, 1), a function of the seed and the arguments."""
        return (int(stream(self._seed, purpose, np.uint64(number))) >> 11) * _UNIT
