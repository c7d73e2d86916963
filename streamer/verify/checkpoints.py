"""Execute what was committed since the last checkpoints again, and compare every bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

from streamer.protocols import Entry, ParameterStore, PartitionImage
from streamer.verify.execution import Given, LearnedWith, Run, Stream
from streamer.verify.parameters import Verification, differences
from streamer.verify.schedules import NOTHING_COMMITTED
from streamer.verify.topics import LogEnds, Missing


def verify_from_checkpoints(
    store: ParameterStore,
    *,
    learned_with: Sequence[LearnedWith],
    stream: Stream,
    ends: Callable[[], LogEnds] = dict,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """Take each partition's checkpoint as given, re-execute the entries after it, and compare.

    Each partition is executed against what the store says that the others contributed. That is
    known from their checkpoints on, so entries that had not seen all of these are taken as given
    too. The topics are needed from the windows of duplicates and of joins on, as by a learner that
    starts. Rows that no entry has changed since are as the checkpoint has them, and not checked.

    Parameters
    ----------
    learned_with, stream, ends, progress
        See :func:`streamer.verify.parameters.verify_store`.
    """
    images = {p: store.load(p) for p in range(learned_with[0].settings.n_partitions)}
    found = ends()  # after what was learned of them: they may grow
    layout = store.layout()
    given_up = frozenset(() if layout is None else layout.given_up)
    result = Verification()
    if not any(image.version for image in images.values()):
        result.refuse([NOTHING_COMMITTED])
        return result
    changes = {
        (p, entry.version): entry.change for p, image in images.items() for entry in image.entries
    }
    parts = {p: _parts(image, images) for p, image in images.items() if image.version}
    total = sum(len(entries) for _, entries in parts.values())
    for p, (given, entries) in parts.items():
        image = images[p]
        if not entries:
            result.unchecked.append(_nothing_after(p, image))
            continue
        lacking = Missing()
        lacking.note(p, [entry.schedule for entry in entries], found)
        if why := lacking.gone.get(p):
            result.unchecked.append(f"partition {p} can't be executed again: {why}")
            continue
        result.remarks.append(
            f"partition {p}: taken as given up to version {given.version} (checkpoint"
            f" {image.checkpoint.version}), executed again up to {entries[-1].version}"
        )
        others = [each.checkpoint for q, each in images.items() if q != p]
        run = Run(p, entries[-1].version, learned_with, stream, given=Given(given, others))
        short = lacking.doubtful.get(p) or _short_windows(run, p, found)
        for entry in entries:
            outcome = run.execute(entry.schedule, changes)
            doubt = short or run.lacks
            if isinstance(outcome, str):
                result.take([outcome], doubt)
                break
            result.n_entries += 1
            progress(result.n_entries, total)
        else:
            n_executed = run.version - image.checkpoint.version
            reached = PartitionImage(image.checkpoint, image.entries[:n_executed])
            result.take(differences(run, reached, given_up), doubt)
        result.n_messages += run.n_messages
    return result


def _parts(
    image: PartitionImage, images: Mapping[int, PartitionImage]
) -> tuple[PartitionImage, list[Entry]]:
    """Return what is taken as given, and the entries to execute."""
    p = image.checkpoint.partition
    others = {q: each for q, each in images.items() if q != p}

    def sees_too_little(entry: Entry) -> bool:
        seen = entry.schedule.seen
        return any(seen.get(q, 0) < each.checkpoint.version for q, each in others.items())

    def is_known(entry: Entry) -> bool:
        seen = (*entry.schedule.seen.items(), *entry.schedule.merged.items())
        return all(version <= others[q].version for q, version in seen if q in others)

    given = list(takewhile(sees_too_little, image.entries))
    after = takewhile(is_known, image.entries[len(given) :])
    return PartitionImage(image.checkpoint, given), list(after)


def _nothing_after(p: int, image: PartitionImage) -> str:
    return (
        f"partition {p}: none of its {image.version} commits is executed again: all are in its"
        " checkpoint, or had not seen the checkpoints of others; ask while a learner is learning"
        " (a stopped one has put all into its checkpoint)"
    )


def _short_windows(run: Run, p: int, ends: LogEnds) -> str | None:
    """Return what topics lack of the windows of duplicates and of joins."""
    for topic, start in run.reread_from.items():
        low, _ = ends.get((topic, p), (0, 0))
        if low > start:
            return (
                f"topic {topic} begins at offset {low}, its windows of duplicates and joins need"
                f" it from {start} on"
            )
    return None
