"""Which fields of items, users and requests a configuration reads by names that are free."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from streamer.catalogue.described import DescribedFields
from streamer.config import CatalogueConfig, Config
from streamer.config.slate import LISTS
from streamer.events import User
from streamer.expressions.reading import read
from streamer.expressions.tree import ITEM_FIELDS, LIST_FIELDS, Condition, item_fields
from streamer.expressions.tree import request_fields as fields_of_request
from streamer_models.bandits.composition_settings import NOT_NEW

_ITEM: Final = "item."
_ATTRIBUTES: Final = "attributes."
_USER: Final = "user."
_REQUEST: Final = "request."
_CONTEXT: Final = "context."
_PLACES: Final = (_ITEM + _ATTRIBUTES, _ITEM, _USER, _REQUEST + _CONTEXT, _REQUEST)
_EXPRESSIONS: Final = ("exclude", "only", "when")
_DEFAULT_FIELDS: Final = CatalogueConfig().fields


@dataclass(frozen=True, slots=True)
class Read:
    """A field that a setting reads.

    Attributes
    ----------
    setting
        Key of the setting.
    field
        As expressions write it: ``item.attributes.price``, ``user.country``,
        ``request.context.region``, ``request.surface``.
    """

    setting: str
    field: str


def fields_read(configs: Iterable[Config]) -> list[Read]:
    """Return what some configurations read, each once; of ``catalogue.fields`` what is no default,
    which reads what there is."""
    return list(dict.fromkeys(each for config in configs for each in _of(config)))


def _of(config: Config) -> Iterator[Read]:
    for name, rule in sorted(config.rules.items()):
        for key in _EXPRESSIONS:
            if text := getattr(rule, key):
                for field in read_by(read(text)):
                    yield Read(f"rules.{name}.{key}", field)
    for cap in config.slate.settings.caps:
        if cap.field not in (*LISTS, NOT_NEW):
            yield Read("slate.caps", _ITEM + _ATTRIBUTES + cap.field)
    for field in config.catalogue.fields:
        if field not in _DEFAULT_FIELDS:
            path = field if field in (*ITEM_FIELDS, *LIST_FIELDS) else _ATTRIBUTES + field
            yield Read("catalogue.fields", _ITEM + path)
    for text in config.bandit.context:
        yield Read("bandit.context", _of_context(text.partition("=")[0]))
    for field in config.bandit.context_hashed:
        yield Read("bandit.context_hashed", _of_context(field))


def _of_context(field: str) -> str:
    return _REQUEST + (field if field == "surface" else _CONTEXT + field)


def read_by(condition: Condition) -> list[str]:
    """Return the fields that a condition reads, as expressions write them.

    Examples
    --------
    >>> read_by(read("item.attributes.region == request.context.region || user.vip"))
    ['item.attributes.region', 'request.context.region', 'user.vip']
    """
    of_item = [_ITEM + field for field in sorted(item_fields(condition))]
    return of_item + [written(field) for field in fields_of_request(condition)]


def written(field: str) -> str:
    """Return a field of the request or of its user, as expressions write it."""
    return field if field.startswith(_USER) else _REQUEST + field


def field_of_item(field: str) -> str | None:
    """Return a field as :class:`DescribedFields` names it; None: it is none of the item."""
    return field.removeprefix(_ITEM) if field.startswith(_ITEM) else None


def nearest(field: str, known: Iterable[str]) -> str | None:
    """Return which of some fields may be meant by one that is none of them: one with a name like
    it, or with its name in another place; None: none is like it.

    Examples
    --------
    >>> known = ["user.age", "user.country", "request.context.kids"]
    >>> nearest("user.cuntry", known), nearest("user.kids", known), nearest("user.name", known)
    ('user.country', 'request.context.kids', None)
    """
    place, name = _place_and_name(field)
    beside, elsewhere = dict[str, str](), dict[str, str]()
    for each in known:
        of_each, its_name = _place_and_name(each)
        (beside if of_each == place else elsewhere).setdefault(its_name.casefold(), each)
    near = difflib.get_close_matches(name.casefold(), beside, n=1)
    return beside[near[0]] if near else elsewhere.get(name.casefold())


def _place_and_name(field: str) -> tuple[str, str]:
    place = next(each for each in _PLACES if field.startswith(each))
    return place, field.removeprefix(place)


def items_fields(described: DescribedFields) -> list[str]:
    """Return fields that items have, as expressions write them."""
    return [_ITEM + name for name in described.names()]


def unread_of_items(reads: Iterable[Read], described: DescribedFields) -> Iterator[str]:
    """Say which fields of items are read that no item has, with the nearest name, in sentences."""
    for each in reads:
        field = field_of_item(each.field)
        if field is not None and field not in described:
            asked = did_you_mean(each.field, items_fields(described))
            said = f"{each.setting} reads {each.field}, which no item has"
            yield f"{said} ({asked})" if asked else said


def unread_of_users(reads: Iterable[Read], users: Iterable[User]) -> Iterator[str]:
    """Say which fields of users are read that no user has, with the nearest name, in sentences."""
    wanted = [each for each in reads if each.field.startswith(_USER)]
    given = {_USER + name for user in users for name in user.attributes or ()} if wanted else set()
    for each in wanted:
        if each.field not in given:
            asked = did_you_mean(each.field, sorted(given))
            said = f"{each.setting} reads {each.field}, which no user has"
            yield f"{said} ({asked})" if asked else said


def did_you_mean(field: str, known: Iterable[str]) -> str:
    """Return the question to ask of a field that nothing has; "": nothing is near."""
    near = nearest(field, known)
    return "" if near is None else f"did you mean {near}?"
