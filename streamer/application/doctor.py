"""Look over a whole installation: what is wrong, and what to do, a finding a line.

The checks are those that processes make at their start, all of them, whichever fails; beside them
stands what the topics show of processes that run.
"""

from __future__ import annotations

import contextlib
import platform
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from streamer.application.bridge_findings import bridge_findings
from streamer.application.catalogue_findings import catalogue_finding
from streamer.application.committed import learned_offsets
from streamer.application.findings import Finding, failed, finding
from streamer.application.services.processes import asked_layout, check_configured_topics
from streamer.application.starting import await_broker, configured_store
from streamer.application.topic_tail import TopicTail, tail_of
from streamer.application.unread_findings import unread_findings
from streamer.clock import SystemClock
from streamer.config import Config
from streamer.config.masking import masked
from streamer.dead_letters import kind_of_letter
from streamer.errors import BadMessage, StreamerError
from streamer.events.decoding import decode_dead_letter
from streamer.events.messages import AHEAD_MS_MIN
from streamer.kafka.configured import configured_reader
from streamer.kafka.topics import altering, topic_states
from streamer.learner.configured import learner_settings
from streamer.learner.match_watch import (
    DECISIONS_MIN,
    EVENTS_MIN,
    NO_IDS,
    RATE_MIN,
    WRONG_IDS,
)
from streamer.learner.service import SHARED_REMEDY
from streamer.masking import without_secrets
from streamer.model_set import build_models
from streamer.protocols import Clock, ParameterStore
from streamer.store.agreement import agree, differences, in_words
from streamer.store.open import check_memory

PYTHON_MIN: Final = (3, 11)
PACKAGES: Final = ("streamer", "confluent-kafka", "numpy", "numba", "msgspec", "redis", "typer")
ANSWER_S: Final = 5.0
"""Longest wait for a broker or a store: the doctor does not wait for what is being started."""
RECENT_MS: Final = 3_600_000
REQUESTS_RECENT_MS: Final = 600_000
ANSWER_MS_MAX: Final = 5_000
"""Younger requests may yet be answered."""
AFTER_MS: Final = 2**62
"""Later than any message."""
TAIL_MAX: Final = 1_000
"""Messages of a partition that are looked at, the last ones; 1,000 decisions are some 18 MB."""
LAG_MAX: Final = 10_000
"""Messages that may wait without a word: a second or two of a learner."""
KINDS_SHOWN: Final = 5
_LOOK_AGAIN_S: Final = 0.2
_TURNS_S: Final = 6.0
"""Longest look at a partition that changed hands: two learners that take it from each other do so
every 1 to 2 s."""


def examine(
    config: Config, *, clock: Clock | None = None, learning_s: float = 2.0
) -> Iterator[Finding]:
    """Yield what each check finds, as soon as it has.

    Parameters
    ----------
    clock
        What the times of messages are compared with.
    learning_s
        How long a learner that has work may take to commit some of it.
    """
    quick = min(ANSWER_S, config.kafka.request_timeout_s)
    kafka = msgspec.structs.replace(config.kafka, request_timeout_s=quick)
    config = msgspec.structs.replace(config, kafka=kafka)
    clock = clock or SystemClock()
    yield _versions()
    broker = finding("broker", lambda: _broker(config))
    yield broker
    with contextlib.ExitStack() as stack:
        store = None
        try:
            store = _opened_store(config, stack)
        except StreamerError as error:
            yield failed("store", error)
        else:
            if store is None:
                yield Finding(
                    "store",
                    "warn",
                    f"{masked('store.url', config.store.url)} is not there yet",
                    "start `streamer learn`, which makes it; or correct store.url",
                )
            else:
                yield finding("eviction", lambda: _eviction(store, config))
        yield from bridge_findings(config, has_broker=broker.state != "fail")
        if broker.state == "fail":
            yield Finding(
                "topics", "fail", "not looked at: the broker does not answer", broker.remedy
            )
            return
        topics = finding("topics", lambda: _topics(config))
        yield topics
        if topics.state == "fail":
            return
        if store is not None:
            yield finding("layout", lambda: _layout(store, config))
            yield finding("learner", lambda: _lag(store, config, learning_s))
        yield from _of_messages(config, clock.now_ms())


# --- what processes check at their start ------------------------------------------------------


def _versions() -> Finding:
    found = []
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    said = f"Python {platform.python_version()}, {', '.join(found)}"
    if sys.version_info < PYTHON_MIN:
        wanted = ".".join(map(str, PYTHON_MIN))
        return Finding("versions", "fail", said, f"run it with Python {wanted} or newer")
    return Finding("versions", "ok", said)


def _broker(config: Config) -> Finding:
    began = time.monotonic()
    await_broker(config)
    took_ms = 1_000 * (time.monotonic() - began)
    servers = without_secrets(config.kafka.bootstrap_servers)
    return Finding("broker", "ok", f"{servers} answers in {took_ms:.0f} ms")


def _topics(config: Config) -> Finding:
    check_configured_topics(config)
    states = topic_states(
        config.kafka.bootstrap_servers,
        config.topics,
        client_options=config.kafka.client,
        timeout_s=config.kafka.request_timeout_s,
    )
    said = ", ".join(map(str, states))
    wanted = config.topics.retention_hours
    short = [
        each
        for each in states
        if each.retention_hours is not None and each.retention_hours < wanted
    ]
    if short:
        return Finding(
            "topics",
            "warn",
            f"{said}: {', '.join(each.name for each in short)} keep messages for less than"
            f" topics.retention_hours = {wanted}",
            f"{altering('TOPIC', 'retention.ms', wanted * 3_600_000)}, or lower"
            " topics.retention_hours",
        )
    return Finding("topics", "ok", said)


def _opened_store(config: Config, stack: contextlib.ExitStack) -> ParameterStore | None:
    """The store; None where its file is not there yet."""
    store = configured_store(config)
    stack.callback(store.close)
    scheme, _, path = config.store.url.partition(":")
    return None if scheme == "sqlite" and not Path(path).exists() else store


def _eviction(store: ParameterStore, config: Config) -> Finding:
    check_memory(store)
    url = masked("store.url", config.store.url)
    return Finding("store", "ok", f"{url} answers, and drops no parameters")


def _layout(store: ParameterStore, config: Config) -> Finding:
    if store.layout() is None:
        said = "the store is empty: no learner has begun"
        return Finding("layout", "warn", said, "start `streamer learn`")
    asked = asked_layout(config, build_models(config))
    changed = differences(agree(store, asked, may_change=False), asked)
    if changed:
        return Finding(
            "layout",
            "warn",
            f"the store was learned with other settings: {', '.join(in_words(changed))}",
            "give all processes one configuration; a learner that starts with this one begins the"
            " models anew that these are settings of",
        )
    return Finding("layout", "ok", "the store was learned with these settings")


# --- what runs --------------------------------------------------------------------------------


def _lag(store: ParameterStore, config: Config, learning_s: float) -> Finding:
    """Compare what is committed with the ends of the topics, and look whether it moves on."""
    with contextlib.closing(configured_reader(config)) as reader:
        ends = reader.ends(reader.partitions(*learner_settings(config).topics))

    def waiting() -> dict[tuple[str, int], int]:
        done = learned_offsets(store)
        return {
            where: max(0, each.high - max(done.get(where, 0), each.low))
            for where, each in ends.items()
        }

    before = waiting()
    n_before = sum(before.values())
    if not n_before:
        return Finding("learner", "ok", "nothing waits to be learned")
    in_turn = _taken_in_turn(store, {partition for _, partition in ends}, learning_s)
    after = waiting()
    n = sum(after.values())
    by_partition = ", ".join(f"{topic}[{p}] {lag:,}" for (topic, p), lag in after.items() if lag)
    if in_turn:
        return Finding(
            "learner", "fail", f"{in_turn}; {n:,} messages wait: {by_partition}", SHARED_REMEDY
        )
    if n == n_before:
        return Finding(
            "learner",
            "fail",
            f"{n:,} messages wait, and none was learned in {learning_s:g} s: {by_partition}",
            "start `streamer learn` (or `streamer up`), or read the log of the one that runs",
        )
    said = f"learns; {n:,} messages wait" + (f": {by_partition}" if n else "")
    if n > LAG_MAX:
        return Finding(
            "learner", "warn", said, "where it does not fall within minutes, start more learners"
        )
    return Finding("learner", "ok", said)


def _taken_in_turn(store: ParameterStore, partitions: Collection[int], look_s: float) -> str:
    """Return which learners take a partition of the store from each other; "" where none do."""
    began_s = time.monotonic()
    had = {partition: [store.owner(partition)] for partition in partitions}
    while time.monotonic() < began_s + look_s:
        time.sleep(_LOOK_AGAIN_S)
        for partition, owners in had.items():
            owner = store.owner(partition)
            if owner == owners[-1]:
                continue
            if owner in owners:
                names = " and ".join(repr(each) for each in owners)
                return f"learners {names} take partition {partition} of the store from each other"
            owners.append(owner)
            look_s = max(look_s, _TURNS_S)
    return ""


def _of_messages(config: Config, now_ms: int) -> Iterator[Finding]:
    """Yield what the last messages on the topics show."""
    events = tail_of(config, "events", n_max=TAIL_MAX)
    decisions = tail_of(config, "decisions", n_max=TAIL_MAX)
    requests = tail_of(config, "requests", n_max=TAIL_MAX)
    answers = tail_of(config, "recommendations", n_max=TAIL_MAX)
    topic = config.topics.topic
    yield _clock(
        {
            topic("events"): events,
            topic("decisions"): decisions,
            topic("requests"): requests,
            topic("recommendations"): answers,
        },
        now_ms,
    )
    # An answer comes after its request, and feedback within a window after its decision.
    asked = requests.between(
        max(now_ms - REQUESTS_RECENT_MS, answers.from_ms), now_ms - ANSWER_MS_MAX
    )
    yield _scorer(asked, answers, decisions, now_ms)
    # What came before the first decision can answer none.
    known_from = int(decisions.publish_ms.min(initial=AFTER_MS))
    if decisions.from_ms:
        known_from = decisions.from_ms + round(1_000 * config.join.window_s)
    hour_ago = now_ms - RECENT_MS
    yield _matches(events.between(max(hour_ago, known_from), AFTER_MS), decisions, config)
    yield from unread_findings(config, requests, decisions)
    yield finding("catalogue", lambda: catalogue_finding(config, events))
    letters = tail_of(config, "dead_letters", n_max=TAIL_MAX)
    yield _letters(letters.between(hour_ago, AFTER_MS))


def _clock(tails: Mapping[str, TopicTail], now_ms: int) -> Finding:
    """Compare this machine's clock with the times at which messages were published."""
    topic = max(tails, key=lambda name: tails[name].newest_ms)
    newest = tails[topic].newest_ms
    if newest < 0:
        return Finding("clock", "ok", "no message to compare with")
    ahead_ms = newest - now_ms
    if ahead_ms >= AHEAD_MS_MIN:
        return Finding(
            "clock",
            "warn",
            f"the newest message of {topic} was published {ahead_ms / 1000:,.1f} s after this"
            " machine's time",
            "synchronize the clocks of this machine and of those that publish (NTP), or let the"
            f" broker say when: {altering(topic, 'message.timestamp.type', 'LogAppendTime')}",
        )
    return Finding("clock", "ok", f"the newest message was published {_ago(-ahead_ms)} ago")


class _Named(msgspec.Struct):
    """What is read of a message here."""

    request_id: str | None = None


def _ids(tail: TopicTail) -> list[str | None]:
    """The ``request_id`` of each message; None where it has none or is no message."""
    decode = msgspec.json.Decoder(_Named).decode
    found = []
    for value in tail.values:
        try:
            found.append(decode(value or b"").request_id)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            found.append(None)
    return found


def _scorer(requests: TopicTail, answers: TopicTail, decisions: TopicTail, now_ms: int) -> Finding:
    latest = decisions.newest_ms
    seen = f"; the latest decision is {_ago(now_ms - latest)} old" if latest >= 0 else ""
    asked = [each for each in _ids(requests) if each is not None]
    if not asked:
        return Finding("scorer", "ok", f"no request to look at in the last ten minutes{seen}")
    answered = set(_ids(answers))
    n = sum(each in answered for each in asked)
    said = f"{n:,} of {len(asked):,} requests of the last ten minutes were answered{seen}"
    if n == len(asked):
        return Finding("scorer", "ok", said)
    remedy = "start `streamer score` (or `streamer up`); where one runs, look for its dead letters"
    return Finding("scorer", "warn" if n else "fail", said, remedy)


def _matches(events: TopicTail, decisions: TopicTail, config: Config) -> Finding:
    """Look how much feedback names a decision, as the learner's own watch does."""
    known = {each for each in _ids(decisions) if each is not None}
    named = [each for each in _ids(events) if each is not None]
    n_events, n_matched = len(events.values), sum(each in known for each in named)
    if not n_events:
        return Finding("feedback", "ok", "no event that could answer a decision in the last hour")
    said = f"{n_matched:,} of the last {n_events:,} events of this hour name one of the last"
    said += f" {len(known):,} decisions"
    enough = len(known) >= DECISIONS_MIN and n_events >= EVENTS_MIN
    if not enough or n_matched >= RATE_MIN * n_events:
        return Finding("feedback", "ok", said)
    if named:
        return Finding("feedback", "warn", said, WRONG_IDS)
    if config.funnel.ranker == "bandit" and config.join.match_without_request != "always":
        return Finding("feedback", "warn", said, NO_IDS)
    return Finding("feedback", "ok", said)


def _letters(letters: TopicTail) -> Finding:
    kinds: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for value in letters.values:
        try:
            letter = decode_dead_letter(value)
        except BadMessage:
            continue
        kind = kind_of_letter(letter)
        kinds[kind] += 1
        examples.setdefault(kind, letter.reason)
    if not kinds:
        return Finding("dead letters", "ok", "none in the last hour")
    shown = ", ".join(f"{n:,} × {kind}" for kind, n in kinds.most_common(KINDS_SHOWN))
    first = examples[kinds.most_common(1)[0][0]]
    n = sum(kinds.values())
    more = "" if len(letters.values) < TAIL_MAX else " or more"
    return Finding(
        "dead letters",
        "warn",
        f"{n:,}{more} in the last hour: {shown}",
        f"mend what sends them; the first says: {first}",
    )


def _ago(ms: float) -> str:
    seconds = max(0.0, ms) / 1000
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.1f} s"
