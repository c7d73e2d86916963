"""What the topics no longer have of what a store was learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from streamer.protocols import Schedule

LogEnds = Mapping[tuple[str, int], tuple[int, int]]
"""(topic, partition) → first offset that is there, and the offset of the next message; what is
absent has all that was ever in it."""


@dataclass(slots=True)
class Missing:
    """What is missing, by partition.

    Attributes
    ----------
    gone
        Partition → why it can't be executed again.
    doubtful
        Partition → what may have been deleted since it was learned: executed again, it differs
        where that is so, and is the same where the store was learned without it.
    """

    gone: dict[int, str] = field(default_factory=dict)
    doubtful: dict[int, str] = field(default_factory=dict)

    def note(self, partition: int, entries: Sequence[Schedule], ends: LogEnds) -> None:
        """Compare what the entries took with what the topics have."""
        for topic in dict.fromkeys(topic for entry in entries for topic in entry.offsets):
            ranges = [entry.offsets[topic] for entry in entries if topic in entry.offsets]
            taken = [(start, end) for start, end in ranges if start < end]
            if taken and (topic, partition) in ends:
                self._note(partition, topic, taken, *ends[topic, partition])

    def _note(
        self, partition: int, topic: str, taken: Sequence[tuple[int, int]], low: int, high: int
    ) -> None:
        (first, first_end), (_, last_end) = taken[0], taken[-1]
        if high < last_end:
            self.gone.setdefault(
                partition,
                f"topic {topic} ends at offset {high}, but the store has learned it up to"
                f" {last_end}: it was made anew, or is not the one that was learned",
            )
        elif low > first:
            why = f"topic {topic} begins at offset {low}, the schedule needs it from {first} on"
            # Whoever took a range has read its last message.
            (self.gone if low >= first_end else self.doubtful).setdefault(partition, why)

    def spread(self, depends_on: Mapping[int, set[int]]) -> None:
        """Let partitions share the fate of those whose contributions they have seen."""
        for fate in (self.gone, self.doubtful):
            while reached := {
                p: f"it was learned from what partition {min(others & fate.keys())} contributed"
                for p, others in depends_on.items()
                if p not in self.gone and p not in fate and others & fate.keys()
            }:
                fate.update(reached)
        for p in self.gone:
            self.doubtful.pop(p, None)


def never_learned(
    schedules: Mapping[int, Sequence[Schedule]], topics: Sequence[str], ends: LogEnds
) -> list[str]:
    """Say of each partition without a commit how many messages wait for the first one.

    Parameters
    ----------
    schedules
        Partition → all recorded entries.
    topics
        Those that commits are learned from.
    """
    found = []
    for p in sorted(p for p, entries in schedules.items() if not entries):
        waiting = {topic: ends.get((topic, p), (0, 0)) for topic in topics}
        said = [
            f"{high - low:,} of {topic}" for topic, (low, high) in waiting.items() if low < high
        ]
        if said:
            found.append(
                f"partition {p}: the store has no commit of it, and the topics have messages"
                f" ({', '.join(said)}): a learner learns them"
            )
    return found


def missing(
    schedules: Mapping[int, Sequence[Schedule]],
    ends: LogEnds,
    *,
    began: Mapping[int, int],
    lost: Mapping[int, str] = MappingProxyType({}),
) -> Missing:
    """Compare all that is to be executed, from the first entry on, with what the topics have.

    Parameters
    ----------
    schedules
        Partition → entries to execute.
    began
        Partition → version with which it began.
    lost
        Partition → why it can't be executed again, of those for which that is known.
    """
    found = Missing(gone=dict(lost))
    depends_on: dict[int, set[int]] = {p: set() for p in schedules}
    for p, entries in schedules.items():
        found.note(p, entries, ends)
        for entry in entries:
            for q, version in (*entry.seen.items(), *entry.merged.items()):
                if version > began[q]:
                    depends_on[p].add(q)
                elif 0 < version < began[q]:
                    found.gone.setdefault(
                        p,
                        f"entry {entry.version} has seen entry {version} of partition {q}, which"
                        " was rebuilt since",
                    )
    found.spread(depends_on)
    return found
