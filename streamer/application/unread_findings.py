"""What the doctor finds of settings that read what no item, user or request has."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry

from streamer.application.findings import Finding, failed
from streamer.application.topic_tail import LastMessages, TopicTail
from streamer.catalogue.catalogue import Catalogue
from streamer.catalogue.metrics import CatalogueMetrics
from streamer.config import CatalogueConfig, Config, TopicRole
from streamer.errors import BadMessage, ConfigError, TopicMismatch
from streamer.events.decoding import decode_keyed_user
from streamer.ranking.reads import Read, did_you_mean, fields_read
from streamer.ranking.variants import all_served, all_shadows

CHECK: Final = "settings"
LAST_MAX: Final = 10_000
"""Messages of a partition of the items, or of the users, that are looked at, the last ones: some
.2 s."""
REQUESTS_MIN: Final = 100
"""Requests below which it is no finding that none gave a field of the context."""
_SAID_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was looked at.

    Attributes
    ----------
    given
        Fields that something has, as expressions write them.
    none
        What to say of another field, behind "which".
    enough
        Whether that is a finding.
    """

    given: frozenset[str]
    none: str
    enough: bool


class _OfRequest(msgspec.Struct):
    """What is read of a request, or of a decision."""

    surface: str | None = None
    context: dict[str, Any] | None = None


def unread_findings(config: Config, requests: TopicTail, decisions: TopicTail) -> Iterator[Finding]:
    """Yield whether settings read what nothing has; nothing where no setting reads a free name.

    Parameters
    ----------
    requests, decisions
        The last messages of these topics.
    """
    try:
        read = fields_read(each.config for each in (*all_served(config), *all_shadows(config)))
    except ConfigError as error:
        yield failed(CHECK, error)
        return
    if not read:
        return
    looked = [*_looked(read, config, requests, decisions)]
    said = [*_unread(looked)]
    if not said:
        n_found = sum(each.field in found.given for each, found in looked)
        yield Finding(CHECK, "ok", _nothing_unread(n_found, len(looked)))
        return
    yield Finding(
        CHECK,
        "warn",
        "; ".join(said[:_SAID_MAX]),
        "correct the name in the setting, or publish items, users and requests with it",
    )


def _nothing_unread(n_found: int, n: int) -> str:
    """Say of how many of the fields that settings read it is known that something has them."""
    read = f"{'the field' if n == 1 else f'the {n} fields'} that rules and other settings read"
    if n_found == n:
        return f"something has {read if n == 1 else f'each of {read}'}"
    little = "too few items, users and requests have come to say"
    if not n_found:
        return f"nothing to look at yet: {little} whether something has {read}"
    return f"something has {n_found} of {read}; {little} of the others"


def _looked(
    read: Iterable[Read], config: Config, requests: TopicTail, decisions: TopicTail
) -> Iterator[tuple[Read, _Looked]]:
    """Yield what was looked at for each field that settings read."""
    n_asked = len(requests.values) + len(decisions.values)
    looks: Mapping[str, Callable[[], _Looked]] = {
        "item": functools.cache(lambda: _of_items(config)),
        "user": functools.cache(lambda: _of_users(config, is_used=n_asked >= REQUESTS_MIN)),
        "request": functools.cache(lambda: _of_requests([*requests.values, *decisions.values])),
    }
    for each in read:
        yield each, looks[each.field.partition(".")[0]]()


def _unread(looked: Iterable[tuple[Read, _Looked]]) -> Iterator[str]:
    for each, found in looked:
        if found.enough and each.field not in found.given:
            asked_back = did_you_mean(each.field, found.given)
            yield f"{each.setting} reads {each.field}, which {found.none}" + (
                f" ({asked_back})" if asked_back else ""
            )


def _of_items(config: Config) -> _Looked:
    learned = CatalogueConfig(fields=(), embedding=config.catalogue.embedding)
    catalogue = Catalogue(metrics=CatalogueMetrics(CollectorRegistry()), config=learned)
    for key, value in _last(config, "items"):
        with contextlib.suppress(BadMessage):
            catalogue.apply(key, value)
    n = len(catalogue)
    given = frozenset({"item.item_id", *(f"item.{field}" for field in catalogue.described)})
    return _Looked(given, f"none of {n:,} items has", enough=n > 0)


def _of_users(config: Config, *, is_used: bool) -> _Looked:
    users = dict[bytes | None, frozenset[str]]()
    for key, value in _last(config, "users"):
        with contextlib.suppress(BadMessage):
            if value is None:
                users.pop(key, None)
            else:
                users[key] = frozenset(decode_keyed_user(key, value).attributes or ())
    n = len(users)
    given = frozenset(f"user.{name}" for names in users.values() for name in names)
    if not n:
        return _Looked(given, "no user gave: there is no message on their topic", enough=is_used)
    return _Looked(given, f"none of {n:,} users gave", enough=True)


def _of_requests(values: Sequence[bytes | None]) -> _Looked:
    given, n = {"request.user_id"}, 0
    decode = msgspec.json.Decoder(_OfRequest).decode
    for value in values:
        try:
            asked = decode(value or b"")
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        n += 1
        given |= {f"request.context.{name}" for name in asked.context or ()}
        given |= set() if asked.surface is None else {"request.surface"}
    return _Looked(
        frozenset(given), f"none of the last {n:,} requests and decisions gives", n >= REQUESTS_MIN
    )


def _last(config: Config, role: TopicRole) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Yield key and value of the last messages of a topic; none where it is not there."""
    with contextlib.suppress(TopicMismatch):
        for batch, _ in LastMessages(config, config.topics.topic(role), n_max=LAST_MAX):
            yield from zip(batch.keys, batch.values, strict=True)
