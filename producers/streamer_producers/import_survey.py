"""What a file holds as it would be read: rows, the first of them, and those that are left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamer.config import Config
from streamer.events import FUTURE_MS_MAX, Event, Item, User
from streamer_producers.clipped_values import Clipped, ClippedValues
from streamer_producers.common_ids import CommonIds
from streamer_producers.log import Log, Malformed

FIRST_ROWS: Final = 3
_REPORT_EVERY: Final = 1_000


@dataclass(slots=True)
class FileSurvey:
    """One pass over a file.

    Attributes
    ----------
    n_events, n_items, n_users
        Those that would be published.
    events, items, users
        The first of them, as they are read.
    in_order
        Whether events come in the order of their times.
    n_future
        Events that lie more than a day ahead, which are not published.
    faults
        Rows that are malformed, by kind: how many, and the first.
    clipped
        Values beyond what rewards tell apart.
    remarks
        What was guessed as it was read, in sentences.
    repeats
        What rows repeat, in sentences.
    """

    n_events: int = 0
    n_items: int = 0
    n_users: int = 0
    events: list[Event] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    first_ts: int | None = None
    last_ts: int | None = None
    in_order: bool = True
    n_future: int = 0
    faults: list[tuple[int, Malformed]] = field(default_factory=list)
    clipped: tuple[Clipped, ...] = ()
    remarks: Sequence[str] = ()
    repeats: Sequence[str] = ()

    @property
    def n_left_out(self) -> int:
        """Rows of which nothing would be published."""
        return sum(n for n, _ in self.faults) + self.n_future


def survey_file(
    log: Log,
    config: Config,
    ids: CommonIds,
    *,
    progress: Callable[[int], None] = lambda n: None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> FileSurvey:
    """Read a file to its end.

    Parameters
    ----------
    ids
        Counts what this file and the others have in common.

    Raises
    ------
    ConfigError
        When it can't be read.
    """
    found = FileSurvey(remarks=log.remarks)
    values = ClippedValues(config.events)
    latest_ms = now_ms() + FUTURE_MS_MAX
    for item in log.items():
        found.n_items += 1
        ids.add_item(item)
        if len(found.items) < FIRST_ROWS:
            found.items.append(item)
    for user in log.users():
        found.n_users += 1
        ids.add_user(user)
        if len(found.users) < FIRST_ROWS:
            found.users.append(user)
    previous = -1
    for event in log.events():
        if event.ts > latest_ms:
            found.n_future += 1
            continue
        found.n_events += 1
        if len(found.events) < FIRST_ROWS:
            found.events.append(event)
        found.first_ts = min(found.first_ts or event.ts, event.ts)
        found.last_ts = max(found.last_ts or 0, event.ts)
        found.in_order &= event.ts >= previous
        previous = event.ts
        values.add(event)
        ids.add_event(event)
        if found.n_events % _REPORT_EVERY == 0:
            progress(found.n_events)
    found.faults = log.faults()
    found.repeats = log.repeats()
    found.clipped = values.found()
    return found


def are_in_order(surveys: Sequence[FileSurvey]) -> bool:
    """Return whether events come in the order of their times as files follow each other."""
    latest = 0
    for each in surveys:
        if each.first_ts is None or each.last_ts is None:
            continue
        if not each.in_order or each.first_ts < latest:
            return False
        latest = each.last_ts
    return True
