"""Execute a store's recorded schedule again over the topics and compare every bit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamer.learner.learner import load_image
from streamer.learner.settings import LearnerSettings
from streamer.protocols import Entry, ParameterStore, PartitionImage, Schedule
from streamer.verify.execution import LearnedWith, Run, Stream
from streamer.verify.runs import execute_all
from streamer.verify.schedules import (
    NOT_WHOLE,
    NOTHING_COMMITTED,
    NOTHING_TO_EXECUTE,
    began_at,
    coverage,
    needed,
    went_back,
)
from streamer.verify.topics import LogEnds, missing, never_learned
from streamer_models.state.model import Model
from streamer_models.state.partition import CURSOR, PartitionState
from streamer_models.state.shared import SharedState
from streamer_models.state.table import Change, Keys, Merge


@dataclass(slots=True)
class Verification:
    """What came out: the store is what its schedule says when ``problems`` and ``unchecked`` are
    empty.

    Attributes
    ----------
    unchecked
        What could not be checked, and why; differences too that may come of what topics no longer
        have.
    remarks
        What else there is to know of the outcome.
    alike
        Generations of the store whose models are those of the configuration.
    began
        Partition → version with which it began.
    refused
        What to do where ``problems`` say why nothing was executed; None: it was.
    """

    n_entries: int = 0
    n_messages: int = 0
    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    alike: set[int] = field(default_factory=set)
    began: dict[int, int] = field(default_factory=dict)
    refused: str | None = None

    def refuse(self, problems: Sequence[str]) -> None:
        """Note why nothing is executed."""
        self.problems = list(problems)
        nothing = NOTHING_COMMITTED in problems
        self.refused = NOTHING_TO_EXECUTE if nothing else NOT_WHOLE

    def take(self, differences: Sequence[str], doubt: str | None) -> None:
        """Take differences of a partition; in doubt they may come of what topics lack."""
        if doubt is None:
            self.problems += differences
        else:
            self.unchecked += [
                f"{each}; but {doubt}, and what was deleted can't be told from what differs"
                for each in differences
            ]


def verify_store(
    store: ParameterStore,
    *,
    learned_with: Sequence[LearnedWith],
    stream: Stream,
    ends: Callable[[], LogEnds] = dict,
    progress: Callable[[int, int], None] = lambda done, total: None,
    executed: Callable[[Entry], None] = lambda entry: None,
    schedule_entries_max: int = 1_000_000,
) -> Verification:
    """Re-execute the schedule and compare the outcome with the store, bit for bit.

    Each partition's entries are executed against a view of its own of what the other partitions
    contributed, moved forward to exactly the versions the entry had seen. So the order in which
    entries ran, on how many learners, with which crashes, is reproduced and not guessed. It takes
    memory for one such view a partition. Learners may go on meanwhile: each partition is compared
    as it was when it was loaded.

    Where settings changed, the run goes on under the new ones from the entry that says so, as the
    learner did: it takes over what goes on, and begins anew what does not.

    Where a topic no longer has its start, partitions are executed from what is left of it: a store
    that was begun then is what comes out. A difference may come of what was deleted since, and is
    ``unchecked``, as are partitions whose first commit can't be executed at all.

    Parameters
    ----------
    learned_with
        Models and settings by generation: see :func:`streamer.verify.execution.learned_with`.
    stream
        Topic, partition and offset → its messages from there on.
    ends
        Asked what the topics have, once it is known what was learned of them: they may grow.
    progress
        Called with (entries done, entries in all).
    executed
        Told of each entry as it comes out, rising within a partition; without publish times, its
        tables named as in the store.
    schedule_entries_max
        Entries of a partition's schedule from which on the store may trim it.
    """
    recorded = _Recorded.read(store, learned_with[0].settings.n_partitions)
    result = Verification(began=recorded.began)
    lost = went_back(recorded.schedules, recorded.latest)
    until, problems = _checked_schedules(recorded, learned_with, lost, schedule_entries_max)
    if problems:
        result.refuse(problems)
        return result
    executable = {p: each[: until[p] - recorded.began[p]] for p, each in recorded.schedules.items()}
    found = ends()
    lacking = missing(executable, found, began=recorded.began, lost=lost)
    result.remarks = never_learned(recorded.schedules, learned_with[-1].settings.topics, found)
    result.unchecked = [
        f"partition {p} can't be executed again: {why}" for p, why in sorted(lacking.gone.items())
    ]
    runs = {
        p: Run(p, until[p], learned_with, stream, began_at=recorded.began)
        for p in recorded.images
        if p not in lacking.gone
    }
    for p, run in runs.items():
        if recorded.images[p].version == recorded.began[p]:
            result.take(recorded.differences(run, p), lacking.doubtful.get(p))
    total = sum(until[p] - recorded.began[p] for p in runs)
    failed: set[int] = set()
    for p, entry, outcome in execute_all(runs, executable, {}):
        doubt = lacking.doubtful.get(p) or runs[p].lacks
        if isinstance(outcome, str):
            result.take([outcome], doubt)
            failed.add(p)
            continue
        executed(_entry(entry, runs[p].state, outcome))
        result.n_entries += 1
        if entry.version == recorded.images[p].version:
            _compare(runs[p], recorded, doubt, result)
        progress(result.n_entries, total)
    result.n_messages = sum(run.n_messages for run in runs.values())
    _say_what_was_not_reached(runs, recorded, failed, result)
    return result


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What a store has, by partition, each part read so that it is not behind the one before.

    Attributes
    ----------
    given_up
        Tables that models began anew without.
    latest
        Versions when all else had been read.
    began
        Versions with which schedules begin.
    """

    images: Mapping[int, PartitionImage]
    given_up: frozenset[str]
    schedules: Mapping[int, Sequence[Schedule]]
    latest: Mapping[int, int]
    began: dict[int, int]

    @classmethod
    def read(cls, store: ParameterStore, n_partitions: int) -> Self:
        """Read all partitions."""
        images = {p: store.load(p) for p in range(n_partitions)}
        layout = store.layout()
        # Read after the images, so that it holds whatever their last entries had seen.
        schedules = {p: list(store.schedule(p)) for p in images}
        # Read last, so that it is not behind any schedule.
        latest = store.versions()
        return cls(
            images,
            frozenset(() if layout is None else layout.given_up),
            schedules,
            latest,
            {p: began_at(schedules[p], image) for p, image in images.items()},
        )

    def differences(self, run: Run, partition: int) -> list[str]:
        """Return :func:`differences` of an executed partition."""
        return differences(run, self.images[partition], self.given_up)


def _checked_schedules(
    recorded: _Recorded,
    learned_with: Sequence[LearnedWith],
    lost: Collection[int],
    schedule_entries_max: int,
) -> tuple[dict[int, int], list[str]]:
    """Return the versions to execute up to, and what schedules lack for that, or don't cover."""
    topics = dict.fromkeys(topic for each in learned_with for topic in each.settings.inputs)
    until, problems = needed(
        recorded.schedules,
        {p: image.version for p, image in recorded.images.items()},
        recorded.latest,
        began=recorded.began,
        topics=tuple(topics),
        n_generations=len(learned_with),
        lost=lost,
    )
    for p, schedule in recorded.schedules.items():
        for topic in topics:
            problems += coverage(
                p,
                schedule,
                recorded.images[p],
                topic,
                began=recorded.began[p],
                entries_max=schedule_entries_max,
            )
    return until, list(dict.fromkeys(problems))


def _compare(run: Run, recorded: _Recorded, doubt: str | None, result: Verification) -> None:
    """Compare a partition that was executed up to the version that was loaded."""
    p = run.state.partition
    found = recorded.differences(run, p)
    result.take(found, doubt)
    if doubt and not found:
        result.remarks.append(f"partition {p}: {doubt}; what is left gives the store bit for bit")


def _say_what_was_not_reached(
    runs: Mapping[int, Run], recorded: _Recorded, failed: set[int], result: Verification
) -> None:
    """Tell of partitions that could not be executed up to the version that was loaded."""
    images = recorded.images
    behind = sorted(p for p, run in runs.items() if run.version < images[p].version)
    if failed:
        result.unchecked += [
            f"partition {p} was executed again up to version {runs[p].version} of"
            f" {images[p].version}: what follows has seen more of partitions {sorted(failed)}"
            for p in behind
            if p not in failed
        ]
    else:
        result.problems += [
            f"partition {p}: entry {runs[p].version + 1} is not in the schedule, or has seen"
            " entries that are not"
            for p in behind
        ]


def _entry(schedule: Schedule, state: PartitionState, change: Change) -> Entry:
    return Entry(
        partition=state.partition,
        schedule=schedule,
        change=change,
        watermark_ms=state.watermark_ms,
        publish_ms=np.zeros(0, dtype=np.int64),
        committed_ms=0,
        n_events=0,
    )


# --- comparing --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Contents:
    """All a partition holds, in an order that depends on its contents alone."""

    names: dict[str, list[bytes]]
    tables: dict[str, tuple[Keys, NDArray[Any]]]
    watermark_ms: int


def contents(state: PartitionState) -> Contents:
    """Every live row of a partition by key, rising; untouched index rows (all zero) left out.

    A decayed cell that everything was withdrawn from keeps its epoch, and one that nothing was ever
    added to has none: whether an outcome was learned and taken back, or not learned at all, is a
    matter of what was read first. Both hold nothing, and are told alike here.
    """
    tables = {}
    for name, table in (*state.own.items(), *state.contributions.items()):
        ids = state.ids.get(table.spec.entity)
        if ids is not None:
            slots = ids.live_slots()
            keys = ids.keys[slots]
        else:
            slots = np.flatnonzero(table.values.any(axis=1)).astype(np.int32)
            keys = slots.astype(np.uint64)
        order = np.argsort(keys)
        values = table.values[slots[order]]
        if table.spec.merge is Merge.DECAYED:
            values[:, 0::2][values[:, 1::2] == 0] = 0
        tables[name] = (keys[order], values)
    names = {e: sorted(ids.name(s) for s in ids.live_slots()) for e, ids in state.ids.items()}
    return Contents(names, tables, state.watermark_ms)


def compare_contents(left: Contents, right: Contents) -> list[str]:
    """What differs between two partitions' contents, table by table; bits are compared."""
    problems = []
    if left.watermark_ms != right.watermark_ms:
        problems.append(f"watermark {left.watermark_ms} against {right.watermark_ms}")
    for entity, names in left.names.items():
        if names != right.names[entity]:
            only = sorted(set(names) ^ set(right.names[entity]))[:3]
            problems.append(f"{entity} ids differ, e.g. {only}")
    for name, (keys, values) in left.tables.items():
        other_keys, other_values = right.tables[name]
        if keys.tobytes() != other_keys.tobytes():
            problems.append(f"table {name}: {len(keys)} rows against {len(other_keys)}")
        elif values.tobytes() != other_values.tobytes():
            n = int((values != other_values).any(axis=1).sum())
            problems.append(f"table {name}: {n} of {len(keys)} rows differ")
    return problems


def image_contents(
    image: PartitionImage, models: Sequence[Model], settings: LearnerSettings
) -> Contents:
    """What the store has of a partition, its log folded into its rows."""
    state = PartitionState(
        image.checkpoint.partition,
        models,
        SharedState(models),
        bounds=settings.bounds,
        entities=settings.entities,
    )
    load_image(state, image)
    return contents(state)


def differences(run: Run, image: PartitionImage, given_up: frozenset[str]) -> list[str]:
    """What differs between an executed partition and the stored one.

    Rows that a store no longer keeps, because their model began anew since, are not compared. And a
    learner that started may have both topics read again from further back than need be: feedback on
    decisions that are forgotten waits for a while, since it does not know them.
    """
    learned = run.learned_with
    found = contents(run.state)
    stored = image_contents(learned.names.own_image(image), learned.models, learned.settings)
    kept = learned.names.in_store(found.tables)
    kept = {name: rows for name, rows in kept.items() if name not in given_up}
    tables = learned.names.own(kept)
    cursor, stored_cursor = tables[CURSOR.name][1], stored.tables[CURSOR.name][1]
    if cursor.shape == stored_cursor.shape and (stored_cursor <= cursor).all():
        tables[CURSOR.name] = stored.tables[CURSOR.name]
    found = replace(found, tables=tables)
    return [
        f"partition {run.state.partition}, executed again against stored: {each}"
        for each in compare_contents(found, stored)
    ]
