"""What an experiment tells a model, and what it asks of it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.events import Event, Item, User

UNKNOWN = -1
"""The row of a user or an item that no model has met."""


class Interaction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that is learned, with its user and item as rows, counted from 0 as they came.

    Attributes
    ----------
    number
        Of the event among those that are learned, from 0.
    reward
        1 for a positive; else what the configuration says that the event is worth.
    item
        What the catalogue says of the item; None: nothing.
    """

    number: int
    event: Event
    user_row: int
    item_row: int
    reward: float
    item: Item | None = None


class OnlineModel(Protocol):
    """What learns an event once it has been predicted."""

    def learn(self, interaction: Interaction) -> None:
        """Learn one event."""


@runtime_checkable
class TopKModel(OnlineModel, Protocol):
    """A model that ranks items."""

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.floating[Any]]:
        """``(n_items,)`` scores of the items learned so far, by row; -inf: not recommended.

        Changes nothing. The array may be written over by the next call. ``user_row`` is
        ``UNKNOWN`` for a user of whom nothing has been learned.
        """


@runtime_checkable
class ProfileModel(TopKModel, Protocol):
    """A model that knows users by what they say of themselves."""

    def described(self, user_row: int, user: User, ts_ms: int) -> None:
        """Hear what a user says, before the event of theirs at ``ts_ms`` is asked about.

        A user without events has the row that comes next, and is asked about by it.
        """


@runtime_checkable
class ChoiceModel(TopKModel, Protocol):
    """A model that says how likely each item is to be the one chosen."""

    def logits(self) -> NDArray[np.floating[Any]] | None:
        """``(n_items,)`` of the latest :meth:`score`: each share is their softmax; -inf:
        no candidate. None: it predicts no shares.
        """


@runtime_checkable
class RatingModel(OnlineModel, Protocol):
    """A model that predicts values."""

    def predict(self, user_row: int, item_row: int) -> float:
        """The value to expect; either may be ``UNKNOWN``. Changes nothing."""
