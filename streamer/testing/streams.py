"""Made-up streams of everything that a model can learn from, and a driver that learns them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.events import User
from streamer.events.profiles import PROFILE_WORDS, profile_row
from streamer.events.types import DEFAULT_TYPES, IMPRESSION
from streamer_models.ranking.answer_kernels import N_BEHIND
from streamer_models.state.columns import Columns
from streamer_models.state.ingest import Feedback, admit_profiles, event_parts
from streamer_models.state.inputs import (
    Choices,
    Events,
    Examples,
    Gains,
    Inputs,
    Profiles,
    ShownItems,
)
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_models.state.items.item_tokens import ItemTokens, token_of
from streamer_models.state.model import Model, learn, make_room
from streamer_models.state.partition import Bounds, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import PROFILE, Change

SMALL = Bounds(users_max=12, items_max=24, item_sightings_min=2, arms_max=20, feature_rows_max=18)
"""So small that every stream of :func:`made_up` evicts ids of all entities all the time."""
LARGE = Bounds(users_max=10_000, items_max=10_000)
IDLE_EXPIRY_MS = 3_000_000
"""Some of the ids of a stream are idle for longer: they expire in states with small bounds."""

_START_MS = 1_700_000_000_000
_OFFSETS_MAX = 4_000  # an event: 1,000 events cross some thirty sweeps for idle ids
_SLATES_SHARE = 4  # events a decision
_SAID_SHARE = 4  # events a message of a user
EMBEDDING_NUMBERS: Final = 4
"""Of each embedding of a stream."""


@dataclass(frozen=True, slots=True)
class SaidOfUsers(Columns):
    """What users say of themselves, in columns of length n.

    Attributes
    ----------
    offsets
        int64, rising: of the last event before each message.
    user_ids, rows
        Who says it, and ``(n, PROFILE_WORDS)`` uint64.
    """

    offsets: NDArray[np.int64]
    user_ids: Sequence[str]
    rows: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of one partition and the decisions made meanwhile, learned side by side.

    Attributes
    ----------
    feedback
        The events with a reward.
    events
        All events.
    shown
        Items of the decisions.
    examples
        What became of them.
    known_from
        ``(n_examples,)`` offset of the decision with which each example becomes known, rising.
    choices
        What was taken up of them.
    chosen_from
        ``(n_choices,)`` offset of the decision with which each becomes known, rising.
    said
        What users say of themselves meanwhile.
    item_tokens, item_embeddings
        What a catalogue says of two in three items.
    """

    feedback: Feedback
    events: Events
    shown: ShownItems
    examples: Examples
    known_from: NDArray[np.int64]
    choices: Choices
    chosen_from: NDArray[np.int64]
    said: SaidOfUsers
    item_tokens: ItemTokens
    item_embeddings: ItemEmbeddings

    def __len__(self) -> int:
        return len(self.events)

    def offset(self, index: int) -> int:
        """Offset from which the event at an index has not been read yet; 0 for the first."""
        return int(self.events.offsets[index - 1]) + 1 if index else 0

    def decided_to(self, index: int) -> int:
        """Offset of decisions that have been read when events up to an index have been."""
        offsets = np.unique(self.shown.offsets)
        n = index * len(offsets) // len(self)
        return int(offsets[n - 1]) + 1 if n else 0


def made_up(
    n: int, *, seed: int, n_users: int = 30, n_items: int = 60, n_features: int = 3
) -> Stream:
    """Events with gaps in their offsets, late ones, skewed items, likes, dislikes, ratings;
    decisions whose outcomes come late, are amended or taken back; and what users and a catalogue
    say.

    Parameters
    ----------
    n
        Events; four for each decision, and for each message of a user.
    n_features
        Width of the examples' features, and columns of the slates that are chosen from.
    """
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, 11, n) / 2
    often = np.array([IMPRESSION, *map(DEFAULT_TYPES.index, ("click", "like"))], np.int8)
    n_types = len(DEFAULT_TYPES)
    events = Events(
        offsets=np.cumsum(rng.integers(1, _OFFSETS_MAX, n)).astype(np.int64),
        ts_ms=_START_MS + np.arange(n) * 60_000 - rng.integers(0, 600_000, n),
        types=np.where(
            rng.random(n) < 0.6, rng.choice(often, n), rng.integers(0, n_types, n, np.int8)
        ),
        values=np.where(rng.random(n) < 0.7, ratings, np.nan),
        user_ids=[f"user-{user}" for user in rng.integers(0, n_users, n)],
        item_ids=_items(rng, n, n_items),
        surfaces=["", *(f"surface-{i}" for i in rng.integers(0, 40, n - 1))],
    )
    liked = np.flatnonzero(rng.random(n) < 0.9)
    feedback = Feedback(
        events.offsets[liked],
        events.ts_ms[liked],
        [events.user_ids[i] for i in liked.tolist()],
        [events.item_ids[i] for i in liked.tolist()],
        rng.choice([1.0, 1.0, 2.5, -1.0], len(liked)).astype(np.float32),
        events.values[liked],
    )
    shown = _shown(rng, max(1, n // _SLATES_SHARE), n_items)
    examples, known_from = _examples(rng, shown, n_features)
    choices, chosen_from = _choices(rng, shown, n_features)
    return Stream(
        feedback,
        events,
        shown,
        examples,
        known_from,
        choices,
        chosen_from,
        _said(events, n_users),
        _tokens(n_items),
        _embeddings(n_items),
    )


def _said(events: Events, n_users: int) -> SaidOfUsers:
    """Each time another user chooses other categories."""
    offsets = events.offsets[_SAID_SHARE - 1 :: _SAID_SHARE]
    # 7 and 30 users have no divisor in common: all of them speak.
    users = [f"user-{7 * i % n_users}" for i in range(len(offsets))]
    chosen = [[f"kind-{i % 5}", f"kind-{i % 8}"] for i in range(len(offsets))]
    rows = [profile_row(User(user_id=u, categories=c)) for u, c in zip(users, chosen, strict=True)]
    return SaidOfUsers(offsets, users, np.array(rows).reshape(len(rows), PROFILE_WORDS))


def _embeddings(n_items: int) -> ItemEmbeddings:
    embeddings = ItemEmbeddings(EMBEDDING_NUMBERS)
    rng = np.random.default_rng(n_items)
    for item in range(n_items):
        if item % 3 != 1:
            vector = rng.normal(size=EMBEDDING_NUMBERS)
            embeddings.put(f"item-{item}", (vector / np.linalg.norm(vector)).astype(np.float32))
    return embeddings


def _tokens(n_items: int) -> ItemTokens:
    tokens = ItemTokens()
    for item in range(n_items):
        if item % 3:
            kinds = [token_of(f"kind={item % 4}"), token_of(f"kind={4 + item % 5}")]
            decade = token_of(f"decade={item % 7}", number=True)
            tokens.put(f"item-{item}", [*kinds, decade], [0.5, 0.5, 0.7])
    return tokens


def _items(rng: np.random.Generator, n: int, n_items: int) -> list[str]:
    return [f"item-{item}" for item in (n_items * rng.random(n) ** 2).astype(int)]


def _shown(rng: np.random.Generator, n_decisions: int, n_items: int) -> ShownItems:
    lengths = rng.integers(1, 6, n_decisions)
    n = int(lengths.sum())
    offsets = np.cumsum(rng.integers(1, 4, n_decisions)).astype(np.int64)
    ts_ms = _START_MS + np.arange(n_decisions) * 240_000 - rng.integers(0, 600_000, n_decisions)
    return ShownItems(
        np.repeat(offsets, lengths), np.repeat(ts_ms, lengths), _items(rng, n, n_items)
    )


def _examples(
    rng: np.random.Generator, shown: ShownItems, n_features: int
) -> tuple[Examples, NDArray[np.int64]]:
    """Outcomes of most items, some of them amended and some of those taken back, up to 20 offsets
    late."""
    n = len(shown)
    features = rng.uniform(-3, 3, (n, n_features)).astype(np.float32)
    first = rng.choice([0.0, 0.0, 1.0, 2.5, -1.0], n)
    second = np.where(rng.random(n) < 0.3, np.nan, first + 1.0)
    known = shown.offsets + rng.integers(0, 10, n)
    is_known, is_amended = rng.random(n) < 0.8, rng.random(n) < 0.3
    once, twice = np.flatnonzero(is_known), np.flatnonzero(is_known & is_amended)
    at = np.concatenate([once, twice])
    known_from = np.concatenate([known[once], known[twice] + rng.integers(1, 10, len(twice))])
    before = np.concatenate([np.full(len(once), np.nan), first[twice]])
    after = np.concatenate([first[once], second[twice]])
    order = np.argsort(known_from, kind="stable")
    at = at[order]
    examples = Examples(
        offsets=shown.offsets[at],
        ts_ms=shown.ts_ms[at],
        arm_ids=[shown.item_ids[i] for i in at.tolist()],
        features=features[at],
        before=before[order],
        after=after[order],
        gains=Gains(_gains(before[order]), _gains(after[order])),
    )
    return examples, known_from[order]


def _gains(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(n, 2)`` outcomes of two objectives."""
    positive = np.where(np.isnan(rewards), np.nan, (rewards > 0).astype(np.float64))
    return np.stack([positive, rewards], axis=1)


def _choices(
    rng: np.random.Generator, shown: ShownItems, n_columns: int
) -> tuple[Choices, NDArray[np.int64]]:
    """What was taken up of half of the decisions, each amended once, some of those taken back, up
    to 20 offsets late."""
    rows: list[tuple[int, int, NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]] = []
    for offset in np.unique(shown.offsets).tolist():
        k = int((shown.offsets == offset).sum())
        if rng.random() < 0.5:
            continue
        slate = rng.normal(size=(k, n_columns + N_BEHIND)).astype(np.float32)
        unknown = np.full(k, np.nan)
        first, second = (rng.choice([0.0, 0.0, 1.0, 0.25, np.nan], k) for _ in range(2))
        known = offset + int(rng.integers(0, 10))
        rows.append((known, offset, slate, unknown, first))
        last = unknown if rng.random() < 0.3 else second
        rows.append((known + int(rng.integers(1, 10)), offset, slate, first, last))
    rows.sort(key=lambda row: row[:2])
    known_from, offsets, slates, before, after = zip(*rows, strict=True) if rows else ((),) * 5
    choices = Choices(np.array(offsets, dtype=np.int64), slates, before, after)
    return choices, np.array(known_from, dtype=np.int64)


def new_state(
    models: Sequence[Model],
    shared: SharedState | None = None,
    *,
    bounds: Bounds,
    partition: int = 0,
) -> PartitionState:
    """An empty partition."""
    return PartitionState(partition, models, shared or SharedState(models), bounds=bounds)


def learn_stream(
    stream: Stream,
    state: PartitionState,
    models: Sequence[Model],
    *,
    start: int = 0,
    end: int | None = None,
) -> list[Change]:
    """Learn the events at indices ``[start, end)``, and the decisions and what users say that go
    with them, as one batch; return the change of each step."""
    end = len(stream) if end is None else end
    if start == end:
        return []
    from_offset, to_offset = stream.offset(start), stream.offset(end)
    first, last = np.searchsorted(stream.feedback.offsets, (from_offset, to_offset)).tolist()
    parts = event_parts(
        stream.feedback.slice(first, last),
        stream.events.slice(start, end),
        state,
        models,
        from_offset=from_offset,
        to_offset=to_offset,
        idle_expiry_ms=IDLE_EXPIRY_MS if state.users.rows_max == SMALL.users_max else 0,
    )
    decisions = _decisions(stream, state, models, stream.decided_to(start), stream.decided_to(end))
    of_items = Inputs(item_tokens=stream.item_tokens, item_embeddings=stream.item_embeddings)
    changes = []
    for profiles in _profiles(stream.said, state, from_offset, to_offset):
        learn(models, replace(of_items, profiles=profiles), state)
        changes.append(state.collect())
    for part, outcome in zip_longest(parts, decisions):
        inputs = of_items
        if part is not None:
            inputs = replace(inputs, feedback=part[0].batch, events=part[1])
        if outcome is not None:
            shown, examples, choices = outcome
            inputs = replace(inputs, shown=shown, examples=examples, choices=choices)
        learn(models, inputs, state)
        changes.append(state.collect())
    return changes


def learn_in_batches(
    stream: Stream, state: PartitionState, models: Sequence[Model], cuts: Sequence[int]
) -> list[Change]:
    """Learn a stream in batches that end at ``cuts``, and at its end."""
    return [
        change
        for start, end in pairwise([0, *cuts, len(stream)])
        for change in learn_stream(stream, state, models, start=start, end=end)
    ]


def _profiles(
    said: SaidOfUsers, state: PartitionState, from_offset: int, to_offset: int
) -> Iterator[Profiles]:
    """What users said between two offsets of events, in parts that can be learned at once; nothing
    where no model keeps users by what they say."""
    if PROFILE not in state.ids:
        return
    rest = said.slice(*np.searchsorted(said.offsets, (from_offset, to_offset)).tolist())
    while len(rest):
        n, profiles = admit_profiles(rest.user_ids, rest.rows, rest.offsets, state)
        yield profiles
        rest = rest.slice(n, len(rest))


def _decisions(
    stream: Stream, state: PartitionState, models: Sequence[Model], start: int, end: int
) -> Iterator[tuple[ShownItems, Examples, Choices]]:
    """Decisions at offsets ``[start, end)`` in parts that can be learned at once."""
    while start < end:
        room = make_room(models, Inputs(shown=_shown_between(stream.shown, start, end)), state)
        to = end if room is None else room
        yield (
            _shown_between(stream.shown, start, to),
            stream.examples.slice(*np.searchsorted(stream.known_from, (start, to)).tolist()),
            stream.choices.slice(*np.searchsorted(stream.chosen_from, (start, to)).tolist()),
        )
        start = to


def _shown_between(shown: ShownItems, start: int, end: int) -> ShownItems:
    return shown.slice(*np.searchsorted(shown.offsets, (start, end)).tolist())
