"""Guess the mapping of a file from the names and the first values of its columns.

A guess is a proposal: it is a mapping as people write one, to be shown, corrected and confirmed.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from streamer_producers.columns import nearest_column, plain
from streamer_producers.descriptions import DECIMAL_COMMA, DELIMITERS, LIST, NUMBER
from streamer_producers.event_mapper import ABSENT, as_number
from streamer_producers.times import TimeGuess

ATTRIBUTES_MAX: Final = 64
ATTRIBUTE_CHARACTERS_MAX: Final = 200
"""Longer texts (descriptions) are left out of the attributes."""
USER_ATTRIBUTES_MAX: Final = 8
"""504 bytes are kept of a user; 8 attributes of 30 characters and their names are less."""
REPEATED_USERS_SHARE_MAX: Final = 0.1
"""Share of the rows of a file that may repeat a user: a few are copies, more are what users did."""
_LABELS_SHARE_MIN: Final = 0.05
"""Share of the values that hold a delimiter, from which on a column is a list."""

_EVENT_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "user_id": (
        *("userid", "user", "uid", "visitorid", "visitor", "customerid", "customer", "memberid"),
        *("member", "accountid", "account", "reviewerid", "reviewer", "viewerid", "profileid"),
        *("personid", "playerid", "listenerid", "clientid", "fullvisitorid", "anonymousid"),
        *("deviceid", "cookieid", "sessionid", "session"),
    ),
    "item_id": (
        *("itemid", "item", "iid", "productid", "pid", "product", "movieid", "movie", "contentid"),
        *("articleid", "article", "newsid", "bookid", "isbn", "songid", "trackid", "track"),
        *("artistid", "videoid", "video", "parentasin", "asin", "sku", "skuid", "goodsid"),
        *("postid", "adid", "gameid", "appid", "businessid", "venueid", "listingid", "offerid"),
        *("recipeid", "courseid", "jobid", "podcastid", "episodeid", "showid", "beerid", "animeid"),
    ),
    "ts": (
        *("ts", "timestamp", "eventtime", "eventtimestamp", "time", "datetime", "eventdate"),
        *("createdat", "createdts", "occurredat", "unixreviewtime", "clicktime", "date", "at"),
        *("reviewtime", "ratingtimestamp", "watchedat", "playedat", "listenedat", "orderdate"),
        *("purchasedat", "starttime", "timestampms", "unixtime", "when", "created"),
    ),
    "type": (
        *("type", "eventtype", "event", "eventname", "action", "actiontype", "behavior"),
        *("behaviour", "behaviortype", "interaction", "interactiontype", "feedbacktype", "verb"),
        *("activity", "activitytype"),
    ),
    "value": (
        *("value", "rating", "score", "stars", "overall", "bookrating", "userrating"),
        *("watchratio", "playratio", "watchfraction", "completion", "progress"),
    ),
    "event_id": ("eventid",),
    "request_id": ("requestid", "recommendationid"),
    "position": ("position", "slot"),
}
_ITEM_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "item_id": (*_EVENT_NAMES["item_id"], "id"),
    "title": (
        *("title", "name", "itemname", "productname", "producttitle", "movietitle", "booktitle"),
        *("headline", "articletitle", "trackname", "songname", "itemtitle", "originaltitle"),
    ),
    "categories": (
        *("categories", "category", "genres", "genre", "class", "categorycode", "categoryname"),
        *("categoryid", "department", "section", "topics", "topic", "producttype", "subject"),
    ),
    "tags": ("tags", "tag", "keywords", "labels"),
    "created_ts": (
        *("createdts", "createdat", "publishedat", "published", "publisheddate", "pubdate"),
        *("releasedate", "releasetimestamp", "added", "addedat", "dateadded", "launchdate"),
    ),
    "expires_ts": ("expirests", "expiresat", "expirydate", "validuntil"),
    "available": ("available", "instock", "isavailable", "active", "isactive"),
}
_USER_NAMES: Final[Mapping[str, Sequence[str]]] = {
    "user_id": [name for name in _EVENT_NAMES["user_id"] if "session" not in name],
    "categories": (
        *("categories", "interests", "interest", "favouritecategories", "favoritecategories"),
        *("preferences", "preferredcategories", "favouritegenres", "favoritegenres", "genres"),
        *("topics", "likes"),
    ),
    "ts": (
        *("ts", "updatedat", "lastupdated", "createdat", "signupat", "signupdate", "signedupat"),
        *("registeredat", "registrationdate", "registered", "joinedat", "joined", "membersince"),
    ),
}
_USERS_WORDS: Final = frozenset(
    ("user", "customer", "member", "account", "visitor", "viewer", "profile", "person", "people")
) | {"player", "listener", "client", "subscriber", "reader"}
"""Words of a file's name, in the singular, after which a column ``id`` is one of users."""
_RATINGS: Final = {"rating", "stars", "overall", "bookrating", "userrating", "score"}
_RATINGS_SHARE_MIN: Final = 0.2
"""Share of numbers from which on a column holds ratings that is named so: a row whose rating is
none is left out, and no click."""
_FRACTIONS: Final = {"watchratio", "playratio", "watchfraction", "completion", "progress"}
_TYPES_MEANT: Final[Mapping[str, Sequence[str]]] = {
    "impression": ("impressions", "shown", "exposure", "imp", "displayed"),
    "click": (
        *("view", "views", "viewed", "pv", "pageview", "detail", "detailview", "productview"),
        *("viewitem", "itemview", "clicks", "clicked", "open", "read", "visit"),
    ),
    "purchase": (
        *("buy", "bought", "transaction", "order", "ordered", "checkout", "conversion"),
        *("purchased", "purchases", "sale", "paid"),
    ),
    "like": ("liked", "likes", "thumbsup", "upvote", "favorite", "favourite", "fav", "heart"),
    "dislike": ("disliked", "thumbsdown", "downvote"),
    "watch": ("play", "played", "watched", "listen", "listened", "stream"),
    "rating": ("rate", "rated", "review"),
    "share": ("shared", "shares"),
    "comment": ("commented", "reply"),
    "follow": ("followed", "subscribe", "subscribed"),
    "skip": ("skipped",),
}
"""Type of event → what logs call it too."""
_MEANT: Final = {word: name for name, words in _TYPES_MEANT.items() for word in words}
_WEIGHTS: Final[Mapping[str, Sequence[str]]] = {
    "2.0": (
        *("cart", "addtocart", "addcart", "basket", "addtobasket", "wishlist", "addtowishlist"),
        *("save", "saved", "bookmark", "addtoplaylist", "addtolist", "download", "install"),
    ),
    "-1.0": ("hide", "report", "block", "remove", "removefromcart", "unlike", "unsave", "refund"),
}
_SURE_TYPES: Final = frozenset(
    ("eventtype", "actiontype", "behaviortype", "behaviourtype", "interactiontype")
) | {"feedbacktype", "activitytype"}
"""Names of columns that hold types whatever they look like: codes, too, are no reason to make
purchases clicks."""
TYPES_MAX: Final = 40
"""Types that a log may have beside the known ones; the most frequent ones are taken."""
_TYPE: Final = re.compile(r"[^\W\d_][\w :.-]{0,40}")
_CODE: Final = re.compile(r"[\w :.-]{1,41}")
_WEIGHT_OF: Final = {word: float(w) for w, words in _WEIGHTS.items() for word in words}
_WITH_POINT: Final = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d+)?")
_WITH_COMMA: Final = re.compile(r"-?(0|[1-9]\d{0,15}|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?")


@dataclass(frozen=True, slots=True)
class Sample:
    """The first records of a file.

    Attributes
    ----------
    columns
        Names, in the order of the file.
    is_text, lists
        As of :class:`streamer_producers.tables.RecordTable`.
    """

    name: str
    columns: Sequence[str]
    records: Sequence[Mapping[str, object]]
    is_text: bool
    lists: frozenset[str] = frozenset()

    def values(self, column: str) -> list[Any]:
        """The values of a column that are there."""
        found = (record.get(column) for record in self.records)
        return [
            each
            for each in found
            if each is not None and not (isinstance(each, str) and each in ("", *ABSENT))
        ]


def nearest_of(sample: Sample, field: str, used: Collection[str]) -> str | None:
    """Return the column that may be meant by a field of an event, though it has none of the names
    by which it would be found; None: none may.

    Parameters
    ----------
    used
        Columns that are other fields.
    """
    others = [each for each in sample.columns if each not in used]
    return nearest_column(_EVENT_NAMES[field], others)


def type_meant(written: str, known: Collection[str]) -> str:
    """Return the type of event that a log's word means: a known one, or a new name.

    >>> type_meant("view", ["click"]), type_meant("Add To Cart", ["click"])
    ('click', 'add_to_cart')
    >>> type_meant("añadir", ["click"])
    'anadir'
    """
    if written in known:
        return written
    letters = unicodedata.normalize("NFKD", written)
    bare = "".join(each for each in letters if not unicodedata.combining(each))
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", bare)
    name = re.sub(r"[^a-z0-9]+", "_", snake.lower()).strip("_")
    if name in known:
        return name
    meant = _MEANT.get(plain(written), name)
    return meant if meant in known else name


def weight_proposed(name: str) -> float:
    """Return the weight to propose for a new type: 0, it teaches nothing, where it says nothing."""
    return _WEIGHT_OF.get(plain(name), 0.0)


def guess_events(sample: Sample, given: Mapping[str, str]) -> dict[str, str] | None:
    """Return field of an event → column, with the unit of its times; None: these are no events.

    What is ``given`` stands as it is, the rest is guessed.
    """
    found = event_columns(sample, given)
    if not {"user_id", "item_id"} <= found.keys() or not found.keys() & {"ts", "type", "value"}:
        return None
    found = {name: column for name, column in found.items() if column}
    if "ts" in found and ":" not in found["ts"]:
        guess = TimeGuess(sample.values(found["ts"]))
        # What is not clear is guessed again, and said, wherever the file is read.
        if guess.is_clear and (found["ts"], guess.unit) != ("ts", "ms"):
            found["ts"] += f":{guess.unit}"
    return found


def event_columns(sample: Sample, given: Mapping[str, str]) -> dict[str, str]:
    """Return field of an event → column, of those that are found."""
    allowed = {"value": _is_numeric, "type": _is_type}
    found = _matched(sample, _EVENT_NAMES, allowed, given)
    if "ts" not in found:
        timed = [name for name in sample.columns if re.search("time|date", name.lower())]
        timed += [name for name in sample.columns if _is_moment(sample, name)]
        if timed and timed[0] not in found.values():
            found["ts"] = timed[0]
    return found


def unread(sample: Sample, columns: Mapping[str, str]) -> Iterator[str]:
    """Say which columns are named as types or values are, and are not read as such, and why.

    Parameters
    ----------
    columns
        Field → column, of those that are read.
    """
    used = {column.partition(":")[0] for column in columns.values()}
    for field, fits in (("type", _is_type), ("value", _is_numeric)):
        named = [each for each in sample.columns if plain(each) in _EVENT_NAMES[field]]
        for column in named if field not in columns else ():
            values = [text for each in sample.values(column) if (text := str(each).strip())]
            if column in used or not values or fits(sample, column):
                continue
            if field == "value":
                shown = next(each for each in values if not _is_number(each))[:40]
                yield f"{column} is not read as values, since most are no numbers, as {shown!r}"
            else:
                shown = values[0][:40]
                yield (
                    f"{column} is not read as types, since most values are no words, or are of more"
                    f" than {TYPES_MAX}, as {shown!r}; if they are types, name what they become:"
                    f" --map type={column},type.{shown}=click"
                )


def guess_type(sample: Sample, columns: Mapping[str, str]) -> tuple[str, str]:
    """Return the type of all events of a file without types, and why, in words."""
    value = plain(columns.get("value", ""))
    if value in _RATINGS:
        return "rating", f"there is a column {columns['value']}"
    if value in _FRACTIONS:
        return "watch", f"there is a column {columns['value']}"
    for word in re.split(r"[\W_\d]+", sample.name.lower()):
        for each in (word, word.removesuffix("s")):
            if meant := _MEANT.get(each, each if each in _TYPES_MEANT else None):
                return meant, "the file's name says so"
    return "click", "there is no column of types"


def guess_items(sample: Sample, given: Mapping[str, str]) -> dict[str, str] | None:
    """Return field of an item → column, with its form; None: these are no items.

    What is ``given`` stands as it is, the rest is guessed.
    """
    found = _matched(sample, _ITEM_NAMES, {}, given)
    if "item_id" not in found or not found.keys() & {"title", "categories", "tags"}:
        return None
    has_users = _matched(sample, {"user_id": _EVENT_NAMES["user_id"]}, {}, {})
    if not given and (has_users or _says_users(sample.name)):
        return None
    taken = {column.partition(":")[0] for column in found.values()}
    for name in ("categories", "tags"):
        if name in found and name not in given:
            found[name] += _list_form(sample, found[name])
    for name in ("created_ts", "expires_ts"):
        if name in found and name not in given:
            found[name] += _time_form(sample, name, found[name])
    others = [name for name in sample.columns if name not in (*taken, "attributes", "v")]
    for name in [each for each in others if _is_attribute(sample, each)][:ATTRIBUTES_MAX]:
        found[f"attributes.{_snake(name)}"] = name + _number_form(sample, name)
    return found


def guess_users(sample: Sample, given: Mapping[str, str]) -> dict[str, str] | None:
    """Return field of a user → column, with its form; None: these are not users.

    Whether each has one row is not looked at.

    Attributes are the columns whose values several users share: a country, not a name or an
    address, which no rule asks for and which need not be on a topic. What is ``given`` stands as it
    is, the rest is guessed.
    """
    names = dict(_USER_NAMES)
    if _says_users(sample.name):
        names["user_id"] = (*names["user_id"], "id")
    found = _matched(sample, names, {}, given)
    of_items = _matched(sample, {"item_id": _EVENT_NAMES["item_id"]}, {}, {})
    if "user_id" not in found or of_items:
        return None
    taken = set(found.values())
    if "categories" in found:
        found["categories"] += _list_form(sample, found["categories"])
    if "ts" in found and "ts" not in given:
        found["ts"] += _time_form(sample, "ts", found["ts"])
    others = [name for name in sample.columns if name not in (*taken, "attributes", "v")]
    shared = [each for each in others if _is_attribute(sample, each) and _is_shared(sample, each)]
    for name in shared[:USER_ATTRIBUTES_MAX]:
        found[f"attributes.{_snake(name)}"] = name + _number_form(sample, name)
    says = [name for name in found if name == "categories" or name.startswith("attributes.")]
    return found if says or "attributes" in sample.columns else None


def mapping_text(columns: Mapping[str, str]) -> str:
    """Return ``FIELD=COLUMN,…`` of what isn't found under its own name.

    >>> mapping_text({"user_id": "uid", "item_id": "item_id", "ts": "ts:s"})
    'user_id=uid,ts=ts:s'
    """
    return ",".join(f"{name}={column}" for name, column in columns.items() if name != column)


def _matched(
    sample: Sample,
    names: Mapping[str, Sequence[str]],
    allowed: Mapping[str, Callable[[Sample, str], bool]],
    given: Mapping[str, str],
) -> dict[str, str]:
    """Field → the column whose name comes first among the field's names, or the given one."""
    by_name: dict[str, str] = {}
    for column in sample.columns:
        if "," not in column and "=" not in column and column:
            by_name.setdefault(plain(column), column)
    found = dict(given)
    taken = {column.partition(":")[0] for column in given.values()}
    for field, words in names.items():
        if field in given:
            continue
        fits = allowed.get(field)
        for column in (by_name[word] for word in words if word in by_name):
            if column not in taken and (fits is None or fits(sample, column)):
                found[field] = column
                taken.add(column)
                break
    return found


def _is_numeric(sample: Sample, column: str) -> bool:
    values = sample.values(column)
    n_numbers = sum(map(_is_number, values))
    if plain(column) in _RATINGS | _FRACTIONS:
        return n_numbers > 0 and n_numbers >= _RATINGS_SHARE_MIN * len(values)
    return 2 * n_numbers > len(values)


def _is_number(value: object) -> bool:
    """Whether a value is a number, or may be one with a decimal comma."""
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", value):
        return True
    return isinstance(as_number(value), int | float)


def _is_type(sample: Sample, column: str) -> bool:
    """Whether a column may hold types of events: few words, but for some rows."""
    values = Counter(text for each in sample.values(column) if (text := str(each).strip()))
    form = _CODE if plain(column) in _SURE_TYPES else _TYPE
    fits = sum(n for each, n in values.most_common(TYPES_MAX) if form.fullmatch(each))
    return 2 * fits > values.total()


def _is_attribute(sample: Sample, column: str) -> bool:
    """Whether a column may be an attribute: flat and short."""
    values = sample.values(column)
    flat = all(isinstance(each, str | int | float | bool | Decimal) for each in values)
    return bool(values) and flat and max(len(str(v)) for v in values) <= ATTRIBUTE_CHARACTERS_MAX


def _says_users(name: str) -> bool:
    """Whether the name of a file says that it holds users."""
    words = (word.removesuffix("s") for word in re.split(r"[\W_\d]+", name.lower()))
    return not _USERS_WORDS.isdisjoint(words)


def _is_moment(sample: Sample, column: str) -> bool:
    """Whether a column is named as when something happened, and holds times: ``ordered_at``."""
    named = re.search(r"[_ -]at$|[a-z]At$", column) is not None
    return named and TimeGuess(sample.values(column)).is_clear


def _is_shared(sample: Sample, column: str) -> bool:
    """Whether the values of a column are shared, each by two records on the average."""
    values = [str(each) for each in sample.values(column)]
    return 2 * len(set(values)) <= len(values)


def _time_form(sample: Sample, name: str, column: str) -> str:
    """``:UNIT`` of a column of times; nothing where a file of our own form has them in ms."""
    unit = TimeGuess(sample.values(column)).unit
    return "" if unit == "ms" and name == column and not sample.is_text else f":{unit}"


def _number_form(sample: Sample, column: str) -> str:
    """``:FORM`` of a column whose texts are all numbers, none a code such as 007; else nothing."""
    if not sample.is_text:
        return ""
    values = [str(each) for each in sample.values(column)]
    if all(_WITH_POINT.fullmatch(each) for each in values):
        return f":{NUMBER}"
    # A comma before three digits alone may stand between thousands: 1,000 says nothing.
    says = any(len(each.partition(",")[2]) not in (0, 3) for each in values)
    if says and all(_WITH_COMMA.fullmatch(each) for each in values):
        return f":{DECIMAL_COMMA}"
    return ""


def _list_form(sample: Sample, column: str) -> str:
    """``:FORM`` of a column of labels; nothing where values are lists, or one label each."""
    if column in sample.lists:
        return ":space"
    texts = [each for each in sample.values(column) if isinstance(each, str)]
    if not texts:
        return ""
    if sum(each.startswith("[") and each.endswith("]") for each in texts) > len(texts) / 2:
        return f":{LIST}"
    for name in ("pipe", "semicolon", "comma", "slash"):
        n = sum(DELIMITERS[name] in each for each in texts)
        if n >= max(1.0, _LABELS_SHARE_MIN * len(texts)):
            return f":{name}"
    return ""


def _snake(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "column"
