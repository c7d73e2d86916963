"""A log of what users did, as streams of events and items.

Nothing is held in memory but the line at hand, whatever the size of the log. Where the order of
the events has to be mended, see :mod:`streamer_producers.ordering`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeVar

from streamer.errors import BadMessage
from streamer.events import Event, Item, User
from streamer.events.rejection import kind_of
from streamer_producers.event_mapper import EventMapper, value_at
from streamer_producers.formats import Records
from streamer_producers.mapping import FieldMapping
from streamer_producers.ordering import sorted_by_time
from streamer_producers.repeated_ids import RepeatedIds
from streamer_producers.times import SAMPLE_RECORDS, TimeGuess

MALFORMED_KEPT = 20
"""Malformed lines that are remembered with their reasons; the others are counted."""
KINDS_MAX = 50
"""Kinds of faults that are counted apart; the others are counted together."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that holds no event, item or user, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"

    @property
    def kind(self) -> str:
        """What is wrong, without the values of this line."""
        return kind_of(self.reason)


@dataclass(slots=True)
class _Faults:
    """What was wrong in one pass over one file."""

    file: str
    strict: bool
    n: int = 0
    first: list[Malformed] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, Malformed] = field(default_factory=dict)

    def add(self, line: int, error: BadMessage) -> None:
        found = Malformed(self.file, line, str(error))
        if self.strict:
            raise BadMessage(f"{found}; mend the line, or read without strict") from error
        self.n += 1
        kind = found.kind
        if kind not in self.kinds and len(self.kinds) >= KINDS_MAX:
            kind = "others"
        self.kinds[kind] += 1
        self.examples.setdefault(kind, found)
        if len(self.first) < MALFORMED_KEPT:
            self.first.append(found)


D = TypeVar("D", Item, User)
Descriptions = Callable[[], Iterable[tuple[int, Item | User | BadMessage]]]
"""Reads a file of items or users: lines with what they describe, or what is wrong with them."""


class LogFileEvents:
    """The events of one file of a log.

    Attributes
    ----------
    name
        Of the file.
    n_estimated
        About how many there are; None: unknown.
    remark
        What was guessed of their times; None: nothing.
    gone
        What the topic no longer had of which it is the record, in sentences.
    """

    def __init__(
        self,
        name: str,
        records: Callable[[], Records],
        mapping: FieldMapping,
        *,
        n_estimated: int | None,
        is_text: bool = False,
        gone: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.n_estimated = n_estimated
        self.gone = gone
        self._records = records
        column = mapping.sources().get("ts", "")
        sample = islice(records(), SAMPLE_RECORDS)
        guess = TimeGuess(
            (value_at(each, column) for _, each in sample if isinstance(each, dict)),
            mapping.time_unit,
        )
        self.remark = guess.remark
        self._mapper = EventMapper(mapping, guess, is_text=is_text)

    def read(self, faults: _Faults) -> Iterator[Event]:
        """Yield them in the order of the file."""
        for line, record in self._records():
            try:
                if isinstance(record, BadMessage):
                    raise record
                event = self._mapper.event(record, line)
            except BadMessage as error:
                faults.add(line, error)
            else:
                yield event


class Log:
    """A log that can be read, any number of times; made by
    :func:`streamer_producers.datasets.open_log`.

    Attributes
    ----------
    name
        Of its file, or of the folder of its files.
    n_estimated
        About how many events it holds; None: unknown.
    sort
        Whether events come in the order of their times instead of that of the files.
    strict
        Whether the first event, item or user that can't be used is an error.
    repeated_items, repeated_users
        Rows of the latest pass that are of an item or user of an earlier row.
    remarks
        What was guessed of the log, in sentences for the user.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[LogFileEvents],
        *,
        sort: bool,
        strict: bool,
        catalogue: tuple[str, Descriptions] | None = None,
        users: tuple[str, Descriptions] | None = None,
    ) -> None:
        self.name = name
        numbers = [each.n_estimated for each in files]
        self.n_estimated = None if None in numbers else sum(filter(None, numbers))
        self.sort = sort
        self._files = files
        self.remarks = [
            each.remark if len(files) == 1 else f"{each.name}: {each.remark}"
            for each in files
            if each.remark is not None
        ]
        self.strict = strict
        self._described = {Item: catalogue, User: users}
        self.repeated_items, self.repeated_users = RepeatedIds(), RepeatedIds()
        # By what a line should have held.
        self._faults: dict[type[Event | Item | User], list[_Faults]] = {
            kind: [] for kind in (Event, Item, User)
        }

    def events(self) -> Iterator[Event]:
        """Every event; malformed lines are counted and passed over.

        Raises
        ------
        BadMessage
            At the first malformed line, when the log is strict.
        ConfigError
            When a file can't be read.
        """
        faults = self._faults[Event] = [_Faults(each.name, self.strict) for each in self._files]
        found = chain.from_iterable(
            file.read(of_file) for file, of_file in zip(self._files, faults, strict=True)
        )
        return sorted_by_time(found) if self.sort else found

    def items(self) -> Iterator[Item]:
        """Every item of the log's catalogue, if it has one; errors as in :meth:`events`."""
        self.repeated_items = repeated = RepeatedIds()
        for item in self._descriptions(Item):
            repeated.add(item.item_id)
            yield item

    def users(self) -> Iterator[User]:
        """Every user of the log's file of users, if it has one; errors as in :meth:`events`."""
        self.repeated_users = repeated = RepeatedIds()
        for user in self._descriptions(User):
            repeated.add(user.user_id)
            yield user

    def repeats(self) -> list[str]:
        """Say what the latest pass over the catalogue and the users met twice, in sentences."""
        said = (self.repeated_items.said("item"), self.repeated_users.said("user"))
        return [each for each in said if each]

    def _descriptions(self, kind: type[D]) -> Iterator[D]:
        described = self._described[kind]
        if described is None:
            return
        file, lines = described
        faults = _Faults(file, self.strict)
        self._faults[kind] = [faults]
        for line, found in lines():
            if isinstance(found, BadMessage):
                faults.add(line, found)
            elif isinstance(found, kind):
                yield found

    @property
    def gone(self) -> list[str]:
        """What the topics no longer had of which its files are records, in sentences."""
        return [said for file in self._files for said in file.gone]

    @property
    def n_malformed(self) -> int:
        """Malformed lines so far in the latest pass over the events, the items and the users."""
        return sum(faults.n for faults in self._all_faults())

    @property
    def malformed(self) -> list[Malformed]:
        """The first of them, at most ``MALFORMED_KEPT`` of each file."""
        return [each for faults in self._all_faults() for each in faults.first]

    def faults(self) -> list[tuple[int, Malformed]]:
        """Malformed lines of those passes by kind: how many, and the first; the most frequent
        first."""
        return [
            (n, faults.examples[kind])
            for faults in self._all_faults()
            for kind, n in faults.kinds.most_common()
        ]

    def _all_faults(self) -> Iterator[_Faults]:
        return chain.from_iterable(self._faults.values())
