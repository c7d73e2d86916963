"""One partition's entries, executed again under the settings that each was learned with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from streamer.catalogue.content import NOTHING_LEARNED, CatalogueContent
from streamer.config import CatalogueConfig
from streamer.errors import being_loaded
from streamer.learner.batch import RewardFunction
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.learner import load_image
from streamer.learner.practice.practice import Practice
from streamer.learner.settings import LearnerCounts, LearnerSettings
from streamer.learner.step import PartitionLearner, Step
from streamer.model_set import build_models, recorded_config, store_layout
from streamer.protocols import (
    Checkpoint,
    Layout,
    MessageBatch,
    PartitionImage,
    Schedule,
    no_messages,
)
from streamer.store.of_models import SAME_NAMES, TableNames
from streamer_models.state.model import Model
from streamer_models.state.partition import PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import ID_ENTITIES, Change, Keys, Rows


class MessageStream(Protocol):
    """One partition of a topic, from an offset on."""

    def take(self, to_offset: int) -> MessageBatch:
        """All messages below ``to_offset`` not taken yet (waits for them, bounded)."""


@dataclass(frozen=True, slots=True)
class LearnedWith:
    """What the commits of one generation were learned with.

    Attributes
    ----------
    names
        Names of the models' tables in the store.
    items, catalogue
        The topic of items, and what was learned of them.
    """

    models: Sequence[Model]
    settings: LearnerSettings
    rewards: RewardFunction
    practice: Practice | None = None
    names: TableNames = SAME_NAMES
    items: str = ""
    catalogue: CatalogueConfig = NOTHING_LEARNED


def learned_with(layout: Layout, *, items: str, users: str = "") -> list[LearnedWith]:
    """Return what each generation of a store was learned with, as recorded.

    Parameters
    ----------
    items, users
        The topics of items and of users: a store does not say them.

    Raises
    ------
    LayoutMismatch
        Where another version of streamer recorded it.
    """
    entities = tuple({spec.entity for spec in layout.tables}.intersection(ID_ENTITIES))
    found = []
    for generation in range(len(layout.generations)):
        config = recorded_config(layout, generation)
        models = build_models(config)
        found.append(
            LearnedWith(
                models,
                replace(
                    learner_settings(config, generation=generation, entities=entities),
                    users=users,
                ),
                reward_function(config),
                Practice(config),
                TableNames.of(layout, generation, store_layout(config, models)),
                items,
                config.catalogue,
            )
        )
    return found


Stream = Callable[[str, int, int], MessageStream]
"""Topic, partition and offset → the messages from there on, as far as the topic still has them."""


@dataclass(frozen=True, slots=True)
class Given:
    """What is not executed again, but taken from the store.

    Attributes
    ----------
    image
        The partition's own checkpoint, and its entries before the first to be executed.
    others
        Checkpoints of the other partitions; the first entry to be executed has seen each of them.
    """

    image: PartitionImage
    others: Sequence[Checkpoint]


class Run:
    """Re-execution of one partition.

    Changes of all partitions pass through it by the names that their tables have in the store.
    What others contributed is kept for each generation that is still to come.

    Parameters
    ----------
    version_max
        Version to execute up to.
    generations
        What each generation was learned with.
    stream
        Where messages come from.
    given
        What the store has of the time before the first entry; by default nothing was before it.
    began_at
        Partition → version with which it began; absent: 0. See
        :func:`streamer.verify.schedules.began_at`.
    """

    def __init__(
        self,
        partition: int,
        version_max: int,
        generations: Sequence[LearnedWith],
        stream: Stream,
        *,
        given: Given | None = None,
        began_at: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.n_messages = 0
        self.applied = dict(began_at)
        self.version = began_at.get(partition, 0) if given is None else given.image.version
        self.generation = 0 if given is None else given.image.generation
        self._partition = partition
        self._version_max = version_max
        self._generations = generations
        self._stream = stream
        self._n_gone: Counter[str] = Counter()
        self._item_streams: dict[int, MessageStream] = {}
        self._catalogue = CatalogueContent(self.learned_with.catalogue)
        self._shared = {
            generation: SharedState(each.models)
            for generation, each in enumerate(generations)
            if generation >= self.generation
        }
        self._streams: dict[str, MessageStream] = {}
        if given is not None:
            for checkpoint in given.others:
                self._take_given(checkpoint)
        self.state = self._new_state()
        if given is None:
            self._learner = self._new_learner({})
        else:
            load_image(self.state, self.learned_with.names.own_image(given.image))
            self._learner = self._new_learner(given.image.offsets)
            if not self.finished:
                self._reread()

    @property
    def finished(self) -> bool:
        """Whether all entries are executed."""
        return self.version >= self._version_max

    @property
    def reread_from(self) -> dict[str, int]:
        """Topic → first offset that the windows of duplicates and of joins are made from."""
        return self._learner.reread_from()

    @property
    def lacks(self) -> str | None:
        """What was known of items and users when it was learned, and is no longer."""
        said = [
            f"topic {topic} no longer has {n:,} of the messages that were read of it (it is"
            " compacted)"
            for topic, n in self._n_gone.items()
            if n
        ]
        return "; ".join(said) or None

    @property
    def learned_with(self) -> LearnedWith:
        """What the last entry was learned with."""
        return self._generations[self.generation]

    def execute(self, entry: Schedule, changes: dict[tuple[int, int], Change]) -> Change | str:
        """Return the change of one entry, or what went wrong."""
        self._apply(self._advance(entry.seen, changes))
        if entry.generation != self.generation:
            self._enter(entry.generation)
        self._see(entry.catalogue)
        inputs = {}
        for topic, (start, end) in entry.offsets.items():
            batch = self._next(topic, start, end) if end > start else None
            if batch is not None and len(batch):
                inputs[topic] = batch
                self.n_messages += len(batch)
        step = self._step(entry, inputs)
        if step is None:
            return (
                f"partition {self._partition}: entry {entry.version} forgot deleted items, executed"
                " again there are none"
            )
        if step.offsets != entry.offsets:
            return (
                f"partition {self._partition}: entry {entry.version} took offsets"
                f" {entry.offsets}, executed again it takes {step.offsets}"
            )
        names = self.learned_with.names
        others = self._advance(entry.merged, changes)
        if others:
            seen = [names.own_change(other) for _, other in others]
            for model in self.learned_with.models:
                model.rescale(self.state.shared, seen)
        change = names.change_in_store(self.state.collect())
        self._apply(others)
        self.version = entry.version
        return change

    def _step(self, entry: Schedule, inputs: Mapping[str, MessageBatch]) -> Step | None:
        users = self.learned_with.settings.users
        if all(start == end for start, end in entry.offsets.values()):
            return next(self._learner.forget_items(list(self._catalogue.gone)), None)
        if users not in entry.offsets:
            return next(
                self._learner.learn(
                    inputs, rate_factor=entry.rate_factor, practice_share=entry.practice_share
                )
            )
        start, end = entry.offsets[users]
        batch = inputs.get(users) or no_messages(users, self._partition)
        self._n_gone[users] += end - start - len(batch)
        return next(self._learner.learn_users(batch, end))

    def _next(self, topic: str, start: int, end: int) -> MessageBatch:
        if topic not in self._streams:
            self._streams[topic] = self._stream(topic, self._partition, start)
        return self._streams[topic].take(end)

    def _take_given(self, checkpoint: Checkpoint) -> None:
        """Add what another partition has contributed up to its checkpoint."""
        q, names, tables = checkpoint.partition, checkpoint.names, checkpoint.tables
        with being_loaded(q):
            for generation, shared in self._shared.items():
                shared.load(q, names, self._generations[generation].names.own(tables))
        self.applied[q] = checkpoint.version

    def catch_up(
        self, entry: Schedule, done: Mapping[int, int], changes: dict[tuple[int, int], Change]
    ) -> None:
        """Apply what the next entry has seen as far as it is there, so that it need not be kept."""
        seen = {q: min(v, done[q]) for q, v in entry.seen.items()}
        self._apply(self._advance(seen, changes))

    def _advance(
        self, to: Mapping[int, int], changes: dict[tuple[int, int], Change]
    ) -> list[tuple[int, Change]]:
        """Other partitions and their changes that lie between what was applied and ``to``."""
        ahead = []
        for q, version in sorted(to.items()):
            ahead += [(q, changes[q, v]) for v in range(self.applied.get(q, 0) + 1, version + 1)]
            self.applied[q] = max(self.applied.get(q, 0), version)
        return ahead

    def _apply(self, others: Sequence[tuple[int, Change]]) -> None:
        for q, change in others:
            for generation, shared in self._shared.items():
                shared.apply(q, self._generations[generation].names.own_change(change))

    def _see(self, offsets: Mapping[int, int]) -> None:
        """Know what the catalogue said up to some offsets."""
        for partition, to in offsets.items():
            start = self._catalogue.offsets.get(partition, 0)
            if to > start:
                if partition not in self._item_streams:
                    self._item_streams[partition] = self._stream(
                        self.learned_with.items, partition, 0
                    )
                batch = self._item_streams[partition].take(to)
                self._catalogue.apply(batch)
                self._catalogue.offsets[partition] = to
                self._n_gone[self.learned_with.items] += to - start - len(batch)

    # --- from one generation to the next ---------------------------------------------------------

    def _enter(self, generation: int) -> None:
        """Go on under other settings, as a learner does that loads what the store has."""
        before, ids = self.state, self.state.ids
        tables = self.learned_with.names.in_store(_rows(before))
        next_offsets = self._learner.next_offsets
        self.generation = generation
        self._catalogue = CatalogueContent(self.learned_with.catalogue)
        self._item_streams.clear()
        self._n_gone[self.learned_with.items] = 0
        for passed in [g for g in self._shared if g < generation]:
            del self._shared[passed]
        self.state = self._new_state()
        names: dict[str, tuple[Keys, list[bytes]]] = {}
        for entity, each in ids.items():
            slots = each.live_slots()
            names[entity] = each.keys[slots], [each.name(slot) for slot in slots.tolist()]
        self.state.load(names, self.learned_with.names.own(tables))
        self.state.watermark_ms = before.watermark_ms
        self._learner = self._new_learner(next_offsets, begins_anew=True)
        self._reread()

    def _reread(self) -> None:
        """Make the windows of duplicates and of joins again, as a learner does at its start."""
        for topic, start in self._learner.reread_from().items():
            end = self._learner.next_offsets[topic]
            if start < end:
                batch = self._stream(topic, self._partition, start).take(end)
                if len(batch):
                    self._learner.reread(batch)

    def _new_state(self) -> PartitionState:
        settings = self.learned_with.settings
        return PartitionState(
            self._partition,
            self.learned_with.models,
            self._shared[self.generation],
            bounds=settings.bounds,
            entities=settings.entities,
        )

    def _new_learner(
        self, next_offsets: Mapping[str, int], *, begins_anew: bool = False
    ) -> PartitionLearner:
        return PartitionLearner(
            self.state,
            self.learned_with.models,
            self.learned_with.settings,
            self.learned_with.rewards,
            next_offsets=next_offsets,
            counts=LearnerCounts(),
            dead_letter=lambda batch, rejected: None,  # they have had their letters
            practice=self.learned_with.practice,
            of_items=self._catalogue.inputs,
            begins_anew=begins_anew,
        )


def _rows(state: PartitionState) -> dict[str, Rows]:
    """Every row of a partition."""
    found = {}
    for name, table in (*state.own.items(), *state.contributions.items()):
        ids = state.ids.get(table.spec.entity)
        if ids is None:
            slots = np.arange(len(table), dtype=np.int32)
            found[name] = Rows(slots.astype(np.uint64), table.values.copy())
        else:
            slots = ids.live_slots()
            found[name] = Rows(ids.keys[slots], table.values[slots])
    return found
