"""The users of an experiment, out of decisions and events: one row a user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from streamer.config import Config
from streamer.config.experiments import ExperimentConfig
from streamer.errors import BadMessage, ConfigError
from streamer.events import FUTURE_MS_MAX, Decision, decode_decision
from streamer.events.event_columns import decode_events
from streamer.events.messages import ANYBODY
from streamer.events.rejection import refuse_seconds
from streamer.learner.configured import reward_function
from streamer.ope.ahead import far_reason, newest_reached
from streamer.ope.bandit_log import (
    CutLines,
    Faults,
    Floats,
    Lines,
    PublishedLines,
    published_lines,
)
from streamer.ope.logged_rewards import LoggedRewards
from streamer.ope.repeats import Repeats
from streamer.ope.shadow_log import ShadowSlots, shadow_slots

_BATCH: Final = 1_000
_WATCH: Final = "watch"


@dataclass(slots=True)
class UserOutcome:
    """What came of a user in the time since the user's first slate in the experiment.

    Attributes
    ----------
    start_ms
        Of the first slate.
    variant
        That of the first slate.
    gained
        ``(n_objectives,)`` what the items of the slates within it brought of each objective.
    n_slates
        All of them, also after that time.
    reward
        Of the items of the slates within it, as the learner has them.
    converted
        Whether one of these rewards is positive.
    watched
        Sum of the values of the user's events of type watch within it.
    complete
        Whether it is over.
    """

    user_id: str
    start_ms: int
    variant: str
    gained: Floats
    n_slates: int = 0
    reward: float = 0.0
    converted: bool = False
    watched: float = 0.0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class ExperimentLog:
    """The users of an experiment, in the order in which they came.

    Attributes
    ----------
    n_moved
        Users left out who were in several variants.
    n_unknown
        Users left out of whom what counts may be missing, as messages of the log are.
    gone
        What is missing of the log, in sentences.
    n_elsewhere
        Users in another variant than the configuration splits them into now.
    watches
        Whether any event of type watch has a value.
    objectives
        Names of what ``UserOutcome.gained`` counts.
    shadows
        Slots of slates whose time is over, by shadow variant.
    faults
        Messages that can't be read.
    left_out
        What else was left out or counts otherwise than it says, in sentences.
    """

    users: list[UserOutcome]
    n_moved: int
    n_unknown: int
    gone: Sequence[str]
    n_elsewhere: int
    watches: bool
    objectives: tuple[str, ...]
    shadows: tuple[ShadowSlots, ...]
    faults: Faults
    left_out: Sequence[str] = ()


def read_experiment(
    config: Config,
    name: str,
    *,
    decisions: Lines,
    events: Lines,
    window_ms: int,
    now_ms: int,
    strict: bool = False,
) -> ExperimentLog:
    """Join decisions and events by the learner's own join, and return what came of each user.

    Each user counts by what happened within ``window_ms`` of the first slate, once that is over:
    so users are independent of each other, and what was counted once doesn't change. It is over by
    the newest decision, or by an event that was published later: what an event says of its own time
    ends that of no other user. Nor does what one decision says, where it is not known when it was
    published (see :func:`streamer.ope.ahead.newest_reached`). Where messages are missing, users
    whose first slate or its outcome may be among them are left out.

    Both are put in the order of their times, as they may come from a topic of several partitions.
    Memory: the events, and one record a decision.

    Parameters
    ----------
    now_ms
        What time it is: no decision of a file was made later.

    Raises
    ------
    ConfigError
        Where the configuration has no such experiment, or no decision is of it.
    LogRefused
        Where no event can be read.
    """
    if name not in config.experiments:
        known = ", ".join(config.experiments) or "none"
        raise ConfigError(
            f"experiment {name!r} is not in the configuration (there are: {known}); name its file"
            " with --config"
        )
    faults = Faults(strict=strict)
    repeats = Repeats()
    bounded, n_ahead = _bounded(
        decisions, _numbered_decisions(decisions, faults, repeats), faults, now_ms
    )
    joined = joined_slates(config, bounded, events, faults)
    joined.rewards.refuse_unreadable()
    found, rewards = joined.decisions, joined.rewards
    gone = [
        said for each in (decisions, events) if isinstance(each, CutLines) for said in each.gone
    ]
    users, n_moved = _users(found, name, len(rewards.objectives))
    if not users:
        raise ConfigError(
            f"experiment {name}: none of {len(found):,} decisions is of it; was the scorer started"
            " with this configuration?"
            + "".join(f"\n  {each}" for each in (*gone, *faults.first[:1]))
        )
    in_one_variant = users.keys()
    users = _known(users, found, name, config.experiments[name], decisions, events)
    last_ms = max(rewards.published_ms, found[-1].ts)
    settled_ms = round(1000 * config.join.window_s)
    for user in users.values():
        user.complete = user.start_ms + window_ms + settled_ms <= last_ms
    for decision in found:
        user_of = users.get(decision.user_id)
        if user_of is None or name not in (decision.variants or {}):
            continue
        user_of.n_slates += 1
        if decision.ts < user_of.start_ms + window_ms:
            gained = rewards.of(decision)
            user_of.reward += float(np.nansum(gained))
            user_of.converted |= bool((gained > 0).any())
            user_of.gained += np.nansum(rewards.gains(decision), axis=0)
    watches = _add_watched(users, joined.events, config, window_ms)
    shadows = shadow_slots(
        (
            each
            for each in found
            if each.user_id in in_one_variant
            and _whole_since_ms(events) <= each.ts <= last_ms - settled_ms
        ),
        rewards,
        name,
    )
    experiment = config.experiments[name]
    return ExperimentLog(
        users=sorted(users.values(), key=lambda user: (user.start_ms, user.user_id)),
        n_moved=n_moved,
        n_unknown=len(in_one_variant) - len(users),
        gone=gone,
        n_elsewhere=sum(
            experiment.variant_of(name, user.user_id) != user.variant for user in users.values()
        ),
        watches=watches,
        objectives=tuple(rewards.objectives),
        shadows=shadows,
        faults=faults,
        left_out=[
            *_said_of_ahead(n_ahead),
            *repeats.remarks("decisions", "request_id"),
            *rewards.repeats.remarks("events", "event_id"),
        ],
    )


@dataclass(frozen=True, slots=True)
class JoinedSlates:
    """Slates and what came of them.

    Attributes
    ----------
    decisions, events
        By time, the decisions without their features.
    rewards
        Of the items of each decision, once all is known.
    """

    decisions: list[Decision]
    rewards: LoggedRewards
    events: _ByTime


def joined_slates(
    config: Config, decisions: Iterable[Decision], events: Lines, faults: Faults
) -> JoinedSlates:
    """Join decisions and events, in the order of their times, by the learner's own join.

    Parameters
    ----------
    faults
        Takes the events that can't be read.
    """
    by_time = _ByTime(events)
    rewards = LoggedRewards(
        by_time,
        reward_function(config),
        config.join,
        dedup_window=config.learner.dedup_window,
    )
    found = sorted(decisions, key=lambda decision: decision.ts)
    for decision in found:
        rewards.expect(decision)
    rewards.read(faults)
    return JoinedSlates(found, rewards, by_time)


def short_decisions(lines: Lines, faults: Faults) -> Iterator[Decision]:
    """Decisions without their features, each request once."""
    return (decision for _, decision in _numbered_decisions(lines, faults, Repeats()))


def _numbered_decisions(
    lines: Lines, faults: Faults, repeats: Repeats
) -> Iterator[tuple[int, Decision]]:
    """Decisions without their features, each request once, with their numbers."""
    for number, published_ms, line in published_lines(lines):
        if line.isspace():
            continue
        try:
            decision = decode_decision(line, publish_ms=published_ms)
            refuse_seconds(decision.ts, "ts")
        except BadMessage as error:
            faults.add(lines, number, error)
            continue
        if decision.request_id in repeats:
            repeats.count(decision.request_id, line, f"{lines}:{number}")
            continue
        repeats.note(decision.request_id, line)
        yield (
            number,
            replace(
                decision,
                candidates=[],
                features=b"",
                feature_names=[],
                policy_state=None,
                boosts=None,
                slate=None,
                slate_names=None,
                composition=None,
            ),
        )


def _bounded(
    lines: Lines, decided: Iterable[tuple[int, Decision]], faults: Faults, now_ms: int
) -> tuple[list[Decision], int]:
    """Return decisions of which none lies ahead of the others, and how many of them do. One that
    does counts as of the newest of the others; by over a day it can't be read."""
    numbered = list(decided)
    if isinstance(lines, PublishedLines) or not numbered:
        return [decision for _, decision in numbered], 0
    newest_ms = now_ms
    if possible := [each for _, each in numbered if each.ts <= now_ms + FUTURE_MS_MAX]:
        newest_ms = newest_reached(
            [each.ts for each in possible], [each.user_id for each in possible]
        )
    found, n_ahead = list[Decision](), 0
    for number, decision in numbered:
        if decision.ts > newest_ms + FUTURE_MS_MAX:
            faults.add(lines, number, BadMessage(far_reason(decision.ts)))
            continue
        is_ahead = decision.ts > newest_ms
        n_ahead += is_ahead
        found.append(replace(decision, ts=newest_ms) if is_ahead else decision)
    return found, n_ahead


def _said_of_ahead(n: int) -> Iterator[str]:
    if n:
        yield (
            f"{n:,} decisions are dated ahead of those of all other users, and count as of the"
            " newest of these"
        )


def _users(
    decisions: Iterable[Decision], name: str, n_objectives: int
) -> tuple[dict[str, UserOutcome], int]:
    """Return users by id, and how many were in several variants, who are left out."""
    users: dict[str, UserOutcome] = {}
    moved = set()
    for decision in decisions:
        variant = (decision.variants or {}).get(name)
        if variant is None or decision.user_id == ANYBODY:
            continue
        user = users.setdefault(
            decision.user_id,
            UserOutcome(decision.user_id, decision.ts, variant, np.zeros(n_objectives)),
        )
        if user.variant != variant:
            moved.add(decision.user_id)
    for user_id in moved:
        del users[user_id]
    return users, len(moved)


def _known(
    users: dict[str, UserOutcome],
    decisions: Sequence[Decision],
    name: str,
    experiment: ExperimentConfig,
    *logs: Lines,
) -> dict[str, UserOutcome]:
    """Return the users of whom all that counts is in the logs of decisions and events.

    Any user may have had an earlier slate where decisions are missing, unless the experiment began
    later: then users who take part in it had slates before that are not of it.
    """
    decided_ms, happened_ms = map(_whole_since_ms, logs)
    if decided_ms:
        began_ms = min(user.start_ms for user in users.values())
        began_later = any(
            name not in (each.variants or {})
            and experiment.variant_of(name, each.user_id) is not None
            for each in decisions
            if decided_ms <= each.ts < began_ms
        )
        if not began_later:
            return {}
    return {user_id: user for user_id, user in users.items() if user.start_ms >= happened_ms}


def _whole_since_ms(lines: Lines) -> int:
    return lines.whole_since_ms if isinstance(lines, CutLines) else 0


def _add_watched(
    users: dict[str, UserOutcome], events: PublishedLines, config: Config, window_ms: int
) -> bool:
    """Add what users watched; whether any event says how much."""
    types, watches = config.event_types, False
    watch, seen = types.codes[_WATCH], set[str]()
    for published_ms, batch in _batches(events):
        columns, _ = decode_events(batch, np.array(published_ms, dtype=np.int64), types)
        chosen = np.flatnonzero((columns.types == watch) & np.isfinite(columns.values))
        watches |= len(chosen) > 0
        kept = columns.take(chosen)
        for event_id, user_id, ts_ms, value in zip(
            kept.event_ids, kept.user_ids, kept.ts_ms.tolist(), kept.values.tolist(), strict=True
        ):
            user = users.get(user_id)
            if user is None or event_id in seen:
                continue
            seen.add(event_id)
            if 0 <= ts_ms - user.start_ms < window_ms:
                user.watched += value
    return watches


def _batches(lines: PublishedLines) -> Iterator[tuple[list[int], list[bytes]]]:
    rest = ((ms, line) for _, ms, line in lines.published() if not line.isspace())
    while batch := list(islice(rest, _BATCH)):
        yield [ms for ms, _ in batch], [line for _, line in batch]


class _Timed(msgspec.Struct):
    ts: int = 0


class _ByTime(PublishedLines):
    """Messages in the order of the times that count; what has none comes first. Numbers are places
    in it."""

    def __init__(self, lines: Lines) -> None:
        self._lines = sorted(
            ((published_ms, line) for _, published_ms, line in published_lines(lines)),
            key=lambda each: _counted_ms(*each),
        )
        self._name = str(lines)

    def __str__(self) -> str:
        return f"{self._name}, by time"

    def published(self) -> Iterator[tuple[int, int, bytes]]:
        return ((number, *each) for number, each in enumerate(self._lines, 1))


_decoder = msgspec.json.Decoder(_Timed)


def _counted_ms(published_ms: int, line: bytes) -> int:
    """Return the time of a message, none after its publication (see
    :func:`streamer.events.decoding.counted_ms`)."""
    try:
        ts_ms = _decoder.decode(line).ts
    except (msgspec.DecodeError, UnicodeDecodeError):  # refused later, with the reason
        return 0
    return ts_ms if published_ms < 0 else min(ts_ms, published_ms)
