"""A watch on what settings read of items, users and requests: it says what nothing has."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.events import Request
from streamer.events.profiles import NO_PROFILE
from streamer.ranking.reads import Read, field_of_item, fields_read, items_fields, nearest, written
from streamer.ranking.rules.rules import Ruled, values_asked

log = logging.getLogger(__name__)

SETTLED_MS: Final = 60_000
"""How long a catalogue that was empty at the start may be filled before its items are judged."""
REQUESTS_MIN: Final = 1_000
"""Requests that are looked at: only some users say something of themselves."""
_NAMES_MAX: Final = 200


class UnreadWatch:
    """Logs ``setting_unread``, once a setting and field, where no item has a field that a rule or
    another setting reads, or none of the first ``REQUESTS_MIN`` requests.

    A rule on a name that is misspelled shows nowhere else: ``exclude`` leaves everything in, and
    ``only`` everything out.

    Parameters
    ----------
    configs
        All that users may be served by.
    """

    def __init__(self, configs: Iterable[Config]) -> None:
        self._of_items = list[tuple[Read, str]]()
        self._of_requests = list[Read]()
        for each in fields_read(configs):
            field = field_of_item(each.field)
            if field is None:
                self._of_requests.append(each)
            else:
                self._of_items.append((each, field))
        self._since_ms: int | None = None
        self._n_requests = 0
        self._given = dict[str, None]()

    def look(self, catalogue: Catalogue, now_ms: int) -> None:
        """Look at a catalogue once it was not empty for ``SETTLED_MS``."""
        if not self._of_items or not len(catalogue):
            return
        if self._since_ms is None:
            self._since_ms = now_ms
        if now_ms - self._since_ms >= SETTLED_MS:
            self.judge(catalogue)

    def judge(self, catalogue: Catalogue) -> None:
        """Look at a catalogue that is read to its end, unless it is empty."""
        if not len(catalogue):
            return
        described = catalogue.described
        for each, field in self._of_items:
            if field not in described:
                _say(each, items_fields(described), {"items": len(catalogue)})
        self._of_items = []

    def take(self, request: Request, ruled: Ruled | None) -> None:
        """Look at a request that is answered.

        Parameters
        ----------
        ruled
            What rules say for it, which knows what its user gave; None: there are none, so that no
            setting reads users.
        """
        if not self._of_requests:
            return
        asked = values_asked(request, NO_PROFILE) if ruled is None else ruled.asked
        given = [written(field) for field in asked]
        self._of_requests = [each for each in self._of_requests if each.field not in given]
        if len(self._given) < _NAMES_MAX:
            self._given.update(dict.fromkeys(given))
        self._n_requests += 1
        if self._n_requests >= REQUESTS_MIN:
            for each in self._of_requests:
                _say(each, self._given, {"requests": self._n_requests})
            self._of_requests = []


def _say(read: Read, known: Collection[str], looked_at: Mapping[str, int]) -> None:
    near = nearest(read.field, known)
    said = {"setting": read.setting, "field": read.field, "nearest": near, **looked_at}
    log.warning("setting_unread", extra=said)
