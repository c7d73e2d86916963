"""Columns that models learn from: all that one step of a partition takes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer_models.state.columns import Columns
from streamer_models.state.items.item_embeddings import NO_EMBEDDINGS, ItemEmbeddings
from streamer_models.state.items.item_tokens import NO_TOKENS, ItemTokens
from streamer_models.state.table import Slots


@dataclass(frozen=True, slots=True)
class Batch(Columns):
    """Feedback by admitted users on admitted items in offset order, in columns of length n.

    Attributes
    ----------
    offsets
        int64, rising: what random draws are seeded with.
    ts_ms
        int64 event times, in any order.
    user_slots, item_slots
        int32 slots in the partition's own id tables (and own tables).
    item_rows
        int32 rows of the same items in the shared tables.
    rewards
        float32, finite: positive for liked, negative for disliked, 0 for met without an opinion.
    values
        float64 the event's own value (a rating, a watch fraction), NaN where it has none.
    rate_factor
        What learning rates are multiplied by, above 0: 1 but for a while after a drift.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    user_slots: Slots
    item_slots: Slots
    item_rows: Slots
    rewards: NDArray[np.float32]
    values: NDArray[np.float64]
    rate_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Events(Columns):
    """Events of all types, rewarded or not, in offset order, in columns of length n.

    Repeated events are not among them.

    Attributes
    ----------
    offsets
        int64, rising.
    ts_ms
        int64 event times in any order, none later than the event's publication.
    types
        int8 codes.
    values
        float64, NaN where an event has none.
    user_ids, item_ids, surfaces
        The ids that each event names; "" for no surface.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    types: NDArray[np.int8]
    values: NDArray[np.float64]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    surfaces: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShownItems(Columns):
    """Items of decisions in order, in columns of length n: the items of one follow each other.

    Attributes
    ----------
    offsets
        int64 offset of each item's decision: equal within one, rising from one to the next.
    ts_ms
        int64 event time of each item's decision.
    item_ids
        Ids of the items, by position in their slate.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    item_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Gains(Columns):
    """Outcomes by objective of items shown, in columns of length n.

    Attributes
    ----------
    before, after
        ``(n, n_objectives)`` float64, as they were learned and as they are now; a row of NaN: not
        learned.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Examples(Columns):
    """Changes in the known rewards of items shown, in columns of length n.

    One row says that an item's reward was taken as ``before`` and is now taken as ``after``; NaN
    is: not learned. So a first outcome is (NaN, r), an amended one (r, r'), one that is taken back
    (r, NaN), and what they add up to depends on the last outcome alone.

    Attributes
    ----------
    offsets
        int64 offset of the decision.
    ts_ms
        int64 event time of the decision: what evidence ages by.
    arm_ids
        Ids of the items.
    features
        ``(n, d)`` float32, those the decision was drawn with, within ±``FEATURE_MAX``.
    before, after
        float64.
    gains
        Outcomes by objective; None where there are no objectives.
    weights
        float64 as how many examples each counts in linear models; None: as one.
    """

    offsets: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    arm_ids: Sequence[str]
    features: NDArray[np.float32]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    gains: Gains | None = None
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Choices(Columns):
    """Changes in what is known of slates as choices among their items, in columns of length n.

    Outcomes of an item are the weight of its being taken up, 0 where it was seen and passed over,
    NaN where it was neither; where nothing was taken up, all are NaN. What rows add up to depends
    on the last one of each slate alone, as it does for :class:`Examples`.

    Attributes
    ----------
    offsets
        int64 offset of the decision.
    slates
        ``(k, n_logged)`` float32 each: what was logged of the items, in the order shown.
    before, after
        ``(k,)`` float64 outcomes each, as they were learned and as they are now.
    """

    offsets: NDArray[np.int64]
    slates: Sequence[NDArray[np.float32]]
    before: Sequence[NDArray[np.float64]]
    after: Sequence[NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Profiles(Columns):
    """What users say of themselves, in the order in which it was said, in columns of length n.

    Attributes
    ----------
    slots
        int32 slots in the partition's table of described users; the last row of one counts.
    rows
        ``(n, width)`` uint64, packed by whoever reads them too.
    """

    slots: Slots
    rows: NDArray[np.uint64]


_NO_INTS = np.zeros(0, dtype=np.int64)
_NO_FLOATS = np.zeros(0, dtype=np.float64)
_NO_SLOTS = np.zeros(0, dtype=np.int32)

NO_FEEDBACK = Batch(
    offsets=_NO_INTS,
    ts_ms=_NO_INTS,
    user_slots=_NO_SLOTS,
    item_slots=_NO_SLOTS,
    item_rows=_NO_SLOTS,
    rewards=np.zeros(0, dtype=np.float32),
    values=_NO_FLOATS,
)
NO_EVENTS = Events(_NO_INTS, _NO_INTS, np.zeros(0, dtype=np.int8), _NO_FLOATS, (), (), ())
NOTHING_SHOWN = ShownItems(_NO_INTS, _NO_INTS, ())
NO_EXAMPLES = Examples(
    _NO_INTS, _NO_INTS, (), np.zeros((0, 0), dtype=np.float32), _NO_FLOATS, _NO_FLOATS
)
NO_CHOICES = Choices(_NO_INTS, (), (), ())
NO_PROFILES = Profiles(_NO_SLOTS, np.zeros((0, 0), dtype=np.uint64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One step of a partition: a range of its events and a range of its decisions.

    A model takes the columns it needs and leaves the others. Any of them may be empty.

    Attributes
    ----------
    feedback
        The events with a reward, by slots.
    events
        All events.
    shown
        Items of the decisions.
    examples
        Outcomes of items shown, in this step or before, that became known or were amended.
    choices
        Slates, shown in this step or before, of which it became known or was amended what was
        taken up.
    profiles
        What users say of themselves.
    item_tokens, item_embeddings
        What the catalogue says of items, as of this step.
    """

    feedback: Batch = NO_FEEDBACK
    events: Events = NO_EVENTS
    shown: ShownItems = NOTHING_SHOWN
    examples: Examples = NO_EXAMPLES
    choices: Choices = NO_CHOICES
    profiles: Profiles = NO_PROFILES
    item_tokens: ItemTokens = NO_TOKENS
    item_embeddings: ItemEmbeddings = NO_EMBEDDINGS


NOTHING = Inputs()
