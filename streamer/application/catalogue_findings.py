"""What the topics of events, items and users have in common, for the doctor."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Literal

import msgspec

from streamer.application.findings import Finding
from streamer.application.topic_tail import LastMessages, TopicTail
from streamer.config import Config
from streamer.errors import TopicMismatch
from streamer.events import Item, User
from streamer_producers.common_ids import CommonIds

READ_MAX: Final = 25_000
"""Messages of a partition of items, or users, that are read: a second or two. What is only in part
known says nothing of what is missing in it."""
ITEMS_MIN: Final = 10
"""Different items of events from which on it is no chance that none is in the catalogue."""


class _EventOfItem(msgspec.Struct):
    """What is read of an event here."""

    item_id: str


class _Categorised(msgspec.Struct):
    """What is read of an item or a user here."""

    item_id: str = ""
    user_id: str = ""
    categories: list[str] | None = None


def catalogue_finding(config: Config, events: TopicTail) -> Finding:
    """Compare the items of the last events with the catalogue, and its categories with users'."""
    check = "catalogue"
    items = _described(config, "items")
    if items is None:
        said = f"not looked at: a partition of items holds more than {READ_MAX:,} messages"
        return Finding(check, "ok", said)
    if not items:
        return Finding(check, "ok", "no item is on the topic of items")
    ids = CommonIds()
    for each in items:
        ids.add_item(Item(item_id=each.item_id, categories=each.categories))
    for each in _described(config, "users") or ():
        ids.add_user(User(user_id=each.user_id, categories=each.categories))
    decode = msgspec.json.Decoder(_EventOfItem).decode
    for value in events.values:
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            ids.add_met(decode(value or b"").item_id)
    met = ids.items()
    if met is not None and met.n < ITEMS_MIN:
        return Finding(check, "ok", f"{len(items):,} items, and too few events to compare them")
    if faults := [*ids.faults()]:
        said = "; ".join(each.said for each in faults)
        return Finding(check, "warn", said, "; ".join(each.remedy for each in faults))
    return Finding(check, "ok", next(ids.counts(), f"{len(items):,} items, and no event"))


def _described(config: Config, role: Literal["items", "users"]) -> list[_Categorised] | None:
    """What a topic describes now; None: it was not read to its end."""
    reading = LastMessages(config, config.topics.topic(role), n_max=READ_MAX)
    decode = msgspec.json.Decoder(_Categorised).decode
    found: dict[bytes | None, _Categorised] = {}
    with suppress(TopicMismatch):
        for batch, _ in reading:
            for key, value in zip(batch.keys, batch.values, strict=True):
                found.pop(key, None)
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    found[key] = decode(value or b"")
        if not reading.is_whole:
            return None
    return [*found.values()]
