"""What a replica and its catalogue know of one user, and of one item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.events.profiles import Profile
from streamer.ranking.recall.neighbours import NeighbourChannel
from streamer.ranking.recall.registry import channels_on
from streamer.replica.items import COUNT
from streamer.replica.version import Version
from streamer.scorer.scorer import Scorer
from streamer_models.neighbors.scores import neighbour_scores
from streamer_models.state.ids.id_table import id_key
from streamer_models.state.table import Keys

SHOWN_MAX: Final = 20
"""Items of a list that are shown."""
_HOURS_MAX: Final = 48


@dataclass(frozen=True, slots=True)
class Named:
    """An item with what the catalogue calls it, and a number or a time of it."""

    item_id: str
    title: str
    value: float


@dataclass(frozen=True, slots=True)
class KnownUser:
    """What is known of a user in the version served.

    Attributes
    ----------
    last_ms
        Time of the last event; None: the replica has no row of the user.
    profile
        What the user said of themselves.
    n_events
        How often the user met an item, the same one as often as it was met.
    met
        The last items met, the newest first, and when each was met last.
    shown
        The last items shown, the newest first, and how often of late.
    n_barred
        Different items met that are remembered, and so not recommended again by default.
    variants
        Experiment → variant.
    """

    model_version: str
    n_events: int
    last_ms: int | None
    profile: Profile
    met: Sequence[Named]
    shown: Sequence[Named]
    n_barred: int
    variants: dict[str, str]


@dataclass(frozen=True, slots=True)
class KnownItem:
    """What is known of an item in the version served.

    Attributes
    ----------
    fields
        Of the catalogue; None: it does not know the item.
    statistics
        Name → number; None: nothing is learned of the item.
    neighbours
        Channel → the items on its list, the strongest first, and their weights.
    """

    model_version: str
    fields: dict[str, str] | None
    statistics: dict[str, float] | None
    neighbours: dict[str, Sequence[Named]]


def known_user(scorer: Scorer, config: Config, user_id: str) -> KnownUser:
    """Look a user up; any thread."""
    version = scorer.replica.current()
    users = version.users
    key = id_key(user_id.encode())
    row = users.map.find_one(key)
    met, met_first, _ = _different(users.history(row))
    shown, _, n_shown = _different(users.shown(row))
    return KnownUser(
        model_version=version.model_version,
        n_events=users.n_events(row),
        last_ms=users.last_event_ms(row),
        profile=users.profile(key),
        met=_named(scorer, version, met, users.history_ms(row)[met_first].tolist()),
        shown=_named(scorer, version, shown, n_shown.tolist()),
        n_barred=len(np.unique(users.not_again(row))),
        variants={
            name: variant
            for name, experiment in config.experiments.items()
            if (variant := experiment.variant_of(name, user_id)) is not None
        },
    )


def _different(keys: Keys) -> tuple[Keys, NDArray[np.intp], NDArray[np.intp]]:
    """Return different keys in the order of their first places, these places, and how often each
    key is there."""
    different, first, counts = np.unique(keys, return_index=True, return_counts=True)
    order = np.argsort(first)
    return different[order], first[order], counts[order]


def known_item(scorer: Scorer, config: Config, item_id: str) -> KnownItem:
    """Look an item up; any thread."""
    version = scorer.replica.current()
    key = np.array([id_key(item_id.encode())], dtype=np.uint64)
    item = scorer.catalogue.get(item_id)
    fields = None if item is None else msgspec.to_builtins(item)
    at_ms = max(scorer.clock.now_ms(), version.watermark_ms)
    return KnownItem(
        model_version=version.model_version,
        fields=None if fields is None else {name: _text(value) for name, value in fields.items()},
        statistics=_statistics(version, key, at_ms),
        neighbours={
            channel.name: _neighbours(scorer, version, channel, key)
            for channel in channels_on(config)
            if isinstance(channel, NeighbourChannel)
        },
    )


def _statistics(version: Version, key: Keys, at_ms: int) -> dict[str, float] | None:
    items, outcomes = version.items, version.bandit.arms.outcomes(key)[0].tolist()
    rows = items.map.find(key)
    if rows[0] < 0 and not any(outcomes):
        return None
    found = {}
    if rows[0] >= 0:
        found["positive feedback ever"] = float(items.column(COUNT)[rows[0]])
        for half_life, count in zip(
            items.half_lives.tolist(), items.decayed(rows, at_ms)[0].tolist(), strict=True
        ):
            hours = half_life / 3_600_000
            time = f"{hours:g} h" if hours < _HOURS_MAX else f"{hours / 24:g} days"
            found[f"positive feedback, half-life {time}"] = count
    names = ("times shown in a slate", "of these taken", "reward of these")
    return found | dict(zip(names, outcomes, strict=True))


def _neighbours(
    scorer: Scorer, version: Version, channel: NeighbourChannel[Any], key: Keys
) -> Sequence[Named]:
    lists = version.tables.read(channel.model().lists).lists(key)
    keys, [weights] = neighbour_scores(lists, np.ones((1, 1)))
    strongest = np.argsort(-weights, kind="stable")[:SHOWN_MAX]
    return _named(scorer, version, keys[strongest], weights[strongest].tolist())


def _named(
    scorer: Scorer, version: Version, keys: Keys, values: Sequence[float]
) -> Sequence[Named]:
    """Name items by their keys; those without a row any more are left out."""
    rows = version.items.map.find(keys[:SHOWN_MAX]).tolist()
    return [
        Named(item_id, title_of(scorer, item_id), value)
        for row, value in zip(rows, values, strict=False)
        if row >= 0
        for item_id in [version.items.names[row]]
    ]


def title_of(scorer: Scorer, item_id: str) -> str:
    """Return what the catalogue calls an item; empty where it says nothing."""
    item = scorer.catalogue.get(item_id)
    return "" if item is None else item.title or ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
