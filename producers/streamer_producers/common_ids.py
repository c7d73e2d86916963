"""Whether events, catalogue and users speak of the same items, users and categories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from streamer.events import Event, Item, User

KEPT_MAX: Final = 65_536
"""Different ids that are remembered of each kind: some 8 MB of text; of more, a drawn share is."""
COMMON_SHARE_MIN: Final = 0.05
"""Share of the items of events that a catalogue has, below which it is hardly theirs: numbers may
be common by chance."""
_HASHES: Final = 1 << 32
_LISTED: Final = "items of the events are in the catalogue"


def bare(written: str) -> str:
    """Return an id without what spellings of one id differ in: case, blanks around it, leading
    zeros.

    >>> bare(" 0098-Ab ")
    '98-ab'
    """
    return written.strip().casefold().lstrip("0")


class DrawnNames:
    """Different names, or those of a share of all hashes where there are too many.

    Two of these keep the same names of those that they have in common, as far as both keep them,
    and names that differ in their spelling alone are kept together.
    """

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.below = _HASHES
        """Of the hashes, which are kept."""

    @property
    def scale(self) -> int:
        """How many names each one that is kept stands for."""
        return _HASHES // self.below

    def add(self, name: str) -> None:
        if name in self.kept or (self.below < _HASHES and _hash(name) >= self.below):
            return
        self.kept.add(name)
        while len(self.kept) > KEPT_MAX and self.below > 1:
            self.kept = self.within(self.below // 2)
            self.below //= 2

    def within(self, below: int) -> set[str]:
        """Return those of hashes below a bound."""
        if below >= self.below:
            return self.kept
        return {name for name in self.kept if _hash(name) < below}


def _hash(name: str) -> int:
    return crc32(bare(name).encode(errors="surrogatepass"))


@dataclass(frozen=True, slots=True)
class Common:
    """How many of some names are among others.

    Attributes
    ----------
    n, n_common
        Different names, and those of them that are among the others; where there are very many,
        estimates.
    spelled
        A name that is among the others in another spelling alone, and that spelling; None: no name
        is.
    n_spelled
        How many are.
    examples
        A name that is not among the others, and one of the others; "": there is none.
    """

    n: int
    n_common: int
    n_spelled: int = 0
    spelled: tuple[str, str] | None = None
    examples: tuple[str, str] = ("", "")


def _common(names: DrawnNames, others: DrawnNames) -> Common:
    below = min(names.below, others.below)
    mine, theirs = names.within(below), others.within(below)
    alone = mine - theirs
    spellings = {bare(each): each for each in sorted(theirs, reverse=True)} if alone else {}
    spelled = sorted(each for each in alone if bare(each) in spellings)
    scale = _HASHES // below
    return Common(
        n=scale * len(mine),
        n_common=scale * (len(mine) - len(alone)),
        n_spelled=scale * len(spelled),
        spelled=(spelled[0], spellings[bare(spelled[0])]) if spelled else None,
        examples=(min(alone, default=""), min(theirs, default="")),
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """What can't be meant of a log's ids, and what to do."""

    said: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.said}; {self.remedy}"


class CommonIds:
    """Counts which items, users and categories of a log's files are the same.

    Memory: ``KEPT_MAX`` names of each of six kinds. Time: a look into two sets for each event.
    """

    def __init__(self) -> None:
        self._met, self._items = DrawnNames(), DrawnNames()
        self._active, self._users = DrawnNames(), DrawnNames()
        self._chosen, self._categories = DrawnNames(), DrawnNames()

    def add_event(self, event: Event) -> None:
        """Count an event's item and user."""
        self.add_met(event.item_id)
        self._active.add(event.user_id)

    def add_met(self, item_id: str) -> None:
        """Count an event's item."""
        self._met.add(item_id)

    def add_item(self, item: Item) -> None:
        """Count an item of the catalogue."""
        self._items.add(item.item_id)
        for name in item.categories or ():
            self._categories.add(name)

    def add_user(self, user: User) -> None:
        """Count what a user says of themselves."""
        self._users.add(user.user_id)
        for name in user.categories or ():
            self._chosen.add(name)

    def items(self) -> Common | None:
        """Return how many items of the events the catalogue has; None where one is missing."""
        if not (self._met.kept and self._items.kept):
            return None
        return _common(self._met, self._items)

    def counts(self) -> Iterator[str]:
        """Say how much is common, in sentences, whether it is as it should be or not."""
        if found := self.items():
            yield _counted(found, _LISTED)

    def faults(self) -> Iterator[Fault]:
        """Yield what can't be meant: next to nothing is common, or spellings differ."""
        if found := self.items():
            met, listed = found.examples
            yield from _faults(
                found,
                _LISTED,
                f"events are of {met!r}, the catalogue has {listed!r}",
                "map item_id of both to the columns that hold the same ids, since nothing is known"
                " of other items: no title, category or attribute",
                share_min=COMMON_SHARE_MIN,
            )
        if self._active.kept and self._users.kept:
            found = _common(self._active, self._users)
            active, described = found.examples
            yield from _faults(
                found,
                "users of the events said something of themselves",
                f"events are of {active!r}, and {described!r} said something",
                "map user_id of both to the columns that hold the same ids",
            )
        if self._chosen.kept and self._items.kept:
            found = _common(self._chosen, self._categories)
            chosen, of_items = found.examples
            has = f"items are of {of_items!r}" if of_items else "items have none"
            yield from _faults(
                found,
                "categories that users chose are items'",
                f"users chose {chosen!r}, {has}",
                "map categories of both to the columns that hold the same names",
            )


def _counted(found: Common, what: str) -> str:
    return f"{found.n_common:,} of {found.n:,} {what}"


def _faults(
    found: Common, what: str, examples: str, remedy: str, *, share_min: float = 0.0
) -> Iterator[Fault]:
    """Yield the fault of names that are spelled otherwise, or of which too few are common."""
    counted = _counted(found, what)
    if _is_spelled(found):
        yield _spelled(counted, found)
    elif found.n_common < max(1.0, share_min * found.n):
        yield Fault(f"{counted}: {examples}", remedy)


def _is_spelled(found: Common) -> bool:
    """Whether spelling is what is wrong; of very few names, others may be meant."""
    n_missing = found.n - found.n_common
    return found.spelled is not None and found.n_spelled >= COMMON_SHARE_MIN * n_missing


def _spelled(counted: str, found: Common) -> Fault:
    mine, other = found.spelled or ("", "")
    return Fault(
        f"{counted}, and {found.n_spelled:,} in another spelling alone, as {mine!r} for {other!r}",
        "write them alike: case, leading zeros and blanks count",
    )
