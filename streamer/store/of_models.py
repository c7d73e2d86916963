"""A store as the models of one configuration see it: their tables, by their own names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, TypeVar

from streamer.errors import LayoutMismatch, LogTrimmed, StoreUnavailable
from streamer.protocols import Checkpoint, Entry, Layout, ParameterStore, PartitionImage, Schedule
from streamer.store.agreement import agree, became, differences, in_words, with_topics_of
from streamer.store.refusals import check_whole
from streamer_models.state.table import Change

log = logging.getLogger(__name__)

V = TypeVar("V")

_ATTEMPTS: Final = 20
"""Processes that find an emptied store write one after the other."""


@dataclass(frozen=True, slots=True)
class TableNames:
    """Names of the tables of some models, and those under which the store keeps them.

    A model whose settings are not those of a generation has no tables in it. Tables of ids, and
    others that belong to no model, have one name for ever.

    Attributes
    ----------
    stored
        Own name → stored name, of the models' tables.
    """

    stored: Mapping[str, str]
    _own: Mapping[str, str]

    @classmethod
    def of(cls, layout: Layout, generation: int, asked: Layout) -> TableNames:
        """Return the names that the tables of the asked models have in a generation."""
        recorded = layout.generations[generation].models
        stored = {
            spec.name: recorded[name].stored_name(spec.name)
            for name, model in asked.generations[-1].models.items()
            if name in recorded and replace(model, since=recorded[name].since) == recorded[name]
            for spec in model.tables
        }
        ever = {spec.name for each in layout.generations for spec in each.stored_tables}
        own = {spec.name: spec.name for spec in layout.tables if spec.name not in ever}
        own |= {name: table for table, name in stored.items()}
        return cls(stored, own)

    def own(self, tables: Mapping[str, V]) -> dict[str, V]:
        """Return tables of the store by own names; those of other models are left out."""
        return {self._own[name]: rows for name, rows in tables.items() if name in self._own}

    def in_store(self, tables: Mapping[str, V]) -> dict[str, V]:
        """Return tables by the names that they have in the store."""
        return {self.stored.get(name, name): rows for name, rows in tables.items()}

    def own_change(self, change: Change) -> Change:
        """Return a change of the store as :meth:`own` names its tables."""
        return Change(self.own(change.withdrawn), change.ids, self.own(change.tables))

    def change_in_store(self, change: Change) -> Change:
        """Return a change as :meth:`in_store` names its tables."""
        return Change(self.in_store(change.withdrawn), change.ids, self.in_store(change.tables))

    def own_image(self, image: PartitionImage) -> PartitionImage:
        """Return an image of the store as :meth:`own` names its tables."""
        checkpoint = replace(image.checkpoint, tables=self.own(image.checkpoint.tables))
        return PartitionImage(checkpoint, [self.own_entry(entry) for entry in image.entries])

    def own_entry(self, entry: Entry) -> Entry:
        """Return an entry of the store as :meth:`own` names its tables."""
        return replace(entry, change=self.own_change(entry.change))


class _Same(dict[str, str]):
    """Maps every name to itself."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return name


SAME_NAMES = TableNames({}, _Same())
"""Names of models that are the only ones a store ever had."""


class StoreOfModels:
    """A :class:`streamer.protocols.ParameterStore` in which models find their own tables alone.

    Parameters
    ----------
    store
        Any store.
    asked
        The layout of a configuration: see :func:`streamer.model_set.store_layout`.
    learns
        Whether it is written: the asked settings become the store's. A reader takes what there is
        of its models, and follows when a learner starts a new generation: tables that its models
        have from then on are loaded, those that they have no longer stay as they are until all is
        loaded again.

    Attributes
    ----------
    generation
        Of the settings, for the schedule of what is committed.
    entities
        Those that the store has ids of.

    Raises
    ------
    LayoutMismatch
        As :func:`streamer.store.agreement.agree`.
    """

    def __init__(self, store: ParameterStore, asked: Layout, *, learns: bool) -> None:
        self._store = store
        self._asked = asked
        self._learns = learns
        self._layout = layout = agree(store, asked, may_change=learns)
        self.generation = layout.newest
        self.entities = tuple(dict.fromkeys(spec.entity for spec in layout.tables))
        self._names = TableNames.of(layout, layout.newest, asked)
        self._tell(layout)

    def ensure_layout(self, layout: Layout) -> None:
        self._store.ensure_layout(layout)

    def layout(self) -> Layout | None:
        return self._store.layout()

    def replace_layout(self, layout: Layout, *, expected: Layout | None) -> bool:
        return self._store.replace_layout(layout, expected=expected)

    def acquire(self, partition: int, owner: str) -> None:
        """Make ``owner`` the only one that may commit.

        Raises
        ------
        LayoutMismatch
            Where another learner has changed the settings since.
        TopicMismatch
            Where another process knows another topic by the name of one that is learned.
        StoreError
            Where the store was emptied since, and a copy is not finished in it.
        """
        for _ in range(_ATTEMPTS):
            layout = self._present()
            check_whole(layout)
            known = with_topics_of(layout, self._layout)
            if layout.newest != self._layout.newest or not became(layout, self._layout):
                raise self._changed_by_others(layout)
            # A process that knew no ids of topics may have written it into an emptied store.
            if known == layout or self._store.replace_layout(known, expected=layout):
                self._layout = known
                break
        else:
            raise StoreUnavailable(
                f"the settings in the store were written by others at each of {_ATTEMPTS} attempts"
                " to take a partition over"
            )
        self._store.acquire(partition, owner)

    def owner(self, partition: int) -> str | None:
        return self._store.owner(partition)

    def load(self, partition: int) -> PartitionImage:
        if not self._learns:
            self._renew()  # whatever a model has begun anew is in this image, or comes after it
        return self._names.own_image(self._store.load(partition))

    def commit(self, entry: Entry, *, owner: str) -> None:
        stored = replace(entry, change=self._names.change_in_store(entry.change))
        self._store.commit(stored, owner=owner)

    def checkpoint(self, checkpoint: Checkpoint, *, owner: str) -> None:
        tables = self._names.in_store(checkpoint.tables)
        sizes = self._names.in_store(checkpoint.sizes)
        self._store.checkpoint(replace(checkpoint, tables=tables, sizes=sizes), owner=owner)

    def forget(self, partition: int, *, owner: str) -> None:
        self._store.forget(partition, owner=owner)

    def follow(
        self,
        after: Mapping[int, int],
        *,
        timeout_s: float,
        commit_ids: Mapping[int, int] = MappingProxyType({}),
    ) -> list[Entry]:
        entries = self._store.follow(after, timeout_s=timeout_s, commit_ids=commit_ids)
        newest = max((entry.schedule.generation for entry in entries), default=0)
        if newest > self.generation and not self._learns and (began := self._renew()):
            raise LogTrimmed(
                f"the store is learned with other settings since generation {self.generation}:"
                f" tables {', '.join(began)} begin anew, and all is loaded again"
            )
        return [self._names.own_entry(entry) for entry in entries]

    def versions(self) -> dict[int, int]:
        return self._store.versions()

    def schedule(self, partition: int) -> Iterator[Schedule]:
        return self._store.schedule(partition)

    def close(self) -> None:
        self._store.close()

    def _present(self) -> Layout:
        """Return the store's layout; a store that was emptied since has the one it had, so that no
        other settings can claim what is learned into it again."""
        layout = self._store.layout()
        if layout is not None:
            return layout
        if self._store.replace_layout(self._layout, expected=None):
            log.warning("store_was_emptied", extra={"layout": "written again"})
        return self._store.layout() or self._layout

    def _changed_by_others(self, layout: Layout) -> LayoutMismatch:
        changed = "; ".join(in_words(differences(layout, self._asked)))
        if changed and became(layout, self._layout):
            return LayoutMismatch(
                "the store has settings of before again, since it was emptied or set back to an"
                f" older copy: {changed}. Start this learner again, and it goes on with those of"
                " its configuration"
            )
        if changed:
            return LayoutMismatch(
                "another learner has changed the settings that the store is learned with:"
                f" {changed}. Start this one again with the same configuration as the others"
            )
        return LayoutMismatch(
            "the store was learned with other settings meanwhile, and is learned with the same"
            f" ones again: it is at generation {layout.newest} of them, this learner began with"
            f" {self.generation}. Start it again, and all learners with the same configuration"
        )

    def _renew(self) -> list[str]:
        """Find the tables of the newest generation; return those that have to be loaded."""
        self._present()
        self._layout = layout = agree(self._store, self._asked, may_change=False)
        if layout.newest == self.generation:
            return []
        self.generation = layout.newest
        names = TableNames.of(layout, layout.newest, self._asked)
        known = self._names
        began = {t: name for t, name in names.stored.items() if known.stored.get(t) != name}
        # What a model has no longer is left in the names: the last rows of it stay readable.
        self._names = TableNames(
            {**known.stored, **names.stored},
            {n: t for n, t in (*known._own.items(), *names._own.items()) if t not in began}
            | {name: table for table, name in began.items()},
        )
        self._tell(layout)
        return list(began)

    def _tell(self, layout: Layout) -> None:
        """Log which models the store does not learn (any more) as they are configured here."""
        if self._learns:
            return
        changed = in_words(differences(layout, self._asked))
        if changed:
            log.warning(
                "settings_differ",
                extra={
                    "generation": layout.newest,
                    "differences": changed,
                    "remedy": "start this process again with the learner's configuration",
                },
            )
