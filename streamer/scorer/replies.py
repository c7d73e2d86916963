"""What the scorer sends: a recommendation and its decision, or a dead letter."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from msgspec.structs import replace

from streamer.config.settings import TopicRole, TopicsConfig
from streamer.dead_letters import send_letter
from streamer.errors import BadMessage
from streamer.events import (
    MESSAGE_BYTES_MAX,
    Decision,
    Recommendation,
    RecommendedItem,
    RecommendedRow,
    Request,
    Shadow,
    encode,
    pack_features,
)
from streamer.events.pages import PAGED_MAX, packed_keys, unpacked_keys
from streamer.protocols import Clock, MessageBatch, Sink
from streamer.replica.version import Version
from streamer.scorer.funnel import Slate
from streamer.scorer.metrics import ScorerMetrics
from streamer.scorer.policy.boosts import packed_boosts
from streamer.scorer.rows import RowSlate
from streamer_models.state.ids.id_table import keys_of

log = logging.getLogger(__name__)

PINNED: Final = "pinned"
"""Reason of an item that a request pins without one."""
REFUSED_FOR_MS: Final = 60_000
"""How long a size that a topic refused is not tried again: the topic's bound may be raised."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: what subscribers read of it, and the probability of each slot, of rows none."""

    recommendation: Recommendation
    propensities: list[float]


class Replies:
    """Sends answers to requests, all messages of each or none: its recommendation, and a decision
    for each slate.

    A topic says only afterwards that a message is too large for it. The first request it says so of
    has a dead letter, and perhaps some of its messages; the next ones of that size have a letter
    alone.
    """

    def __init__(
        self, topics: TopicsConfig, *, sink: Sink, clock: Clock, metrics: ScorerMetrics
    ) -> None:
        self._topics = topics
        self._sink = sink
        self._clock = clock
        self._metrics = metrics
        self._refused: dict[TopicRole, tuple[int, int]] = {}  # bytes, until when

    def send(
        self,
        request: Request,
        slates: Sequence[RowSlate],
        version: Version,
        *,
        refused: Callable[[str], None],
        shadowed: Callable[[Answered], Sequence[Sequence[Shadow]]] | None = None,
    ) -> Answered:
        """Send the answer to a request and return it.

        Parameters
        ----------
        slates
            One, or those of its rows.
        refused
            Called with the reason, now or later, where a topic refuses one of its messages for its
            size. It may send.
        shadowed
            Called between the recommendation and the decisions, to return what each of these logs
            of shadows: the answer is on its way meanwhile. A decision that would be too large with
            them is sent without.

        Raises
        ------
        BadMessage
            When one of its messages is too large; nothing is sent then.
        """
        ts = self._clock.now_ms()
        recommendation = _recommendation(request, slates, version, ts)
        decisions = [_decision(each, version, ts) for each in slates if each.request.decides]
        first, others = encode(recommendation), [encode(each) for each in decisions]
        self._check("recommendations", len(first), ts)
        for message in others:
            self._check("decisions", len(message), ts)
        key = request.user_id.encode()
        answer = Answered(recommendation, [] if request.rows else slates[0].slate.propensities)
        self._send("recommendations", key, first, refused)
        found: Sequence[Sequence[Shadow]] = [()] * len(decisions)
        if shadowed is not None:
            found = shadowed(answer)
        for decision, message, shadows in zip(decisions, others, found, strict=True):
            self._send_decision(key, decision, message, shadows, refused)
        return answer

    def reject(self, batch: MessageBatch, index: int, reason: str) -> None:
        """Send the dead letter of message ``index`` of a batch."""
        send_letter(self._sink, self._topics.topic("dead_letters"), batch, index, reason)
        self._metrics.dead_letters.inc()

    def _send_decision(
        self,
        key: bytes,
        decision: Decision,
        message: bytes,
        shadows: Sequence[Shadow],
        refused: Callable[[str], None],
    ) -> None:
        """Send a decision with shadows, or as its ``message``, where it is too large with them."""
        larger = encode(replace(decision, shadows=list(shadows))) if shadows else message
        if larger is message or self._problem("decisions", len(larger), decision.ts) is not None:
            self._send("decisions", key, message, refused)
        else:
            self._send(
                "decisions", key, larger, lambda _: self._send("decisions", key, message, refused)
            )

    def _send(
        self, role: TopicRole, key: bytes, message: bytes, refused: Callable[[str], None]
    ) -> None:
        self._sink.send(
            self._topics.topic(role),
            key=key,
            value=message,
            on_too_large=functools.partial(self._too_large, role, len(message), refused),
        )

    def _check(self, role: TopicRole, n_bytes: int, now_ms: int) -> None:
        if problem := self._problem(role, n_bytes, now_ms):
            raise BadMessage(problem)

    def _problem(self, role: TopicRole, n_bytes: int, now_ms: int) -> str | None:
        """Return why a message of so many bytes can't be sent now; None: it can."""
        if n_bytes > MESSAGE_BYTES_MAX:
            return (
                f"{role[:-1]}: {n_bytes} bytes are over the bound of {MESSAGE_BYTES_MAX};"
                " lower k, or the candidates of [recall.NAME]"
            )
        least, until_ms = self._refused.get(role, (MESSAGE_BYTES_MAX + 1, now_ms))
        return self._reason(role, n_bytes) if n_bytes >= least and now_ms < until_ms else None

    def _too_large(self, role: TopicRole, n_bytes: int, refused: Callable[[str], None]) -> None:
        now_ms = self._clock.now_ms()
        least, until_ms = self._refused.get(role, (n_bytes, now_ms))
        if now_ms >= until_ms:
            log.error("answer_refused: %s", self._reason(role, n_bytes))
            least = n_bytes
        self._refused[role] = min(least, n_bytes), now_ms + REFUSED_FOR_MS
        refused(self._reason(role, n_bytes))

    def _reason(self, role: TopicRole, n_bytes: int) -> str:
        topic = self._topics.topic(role)
        return (
            f"{role[:-1]}: its {n_bytes} bytes are more than topic {topic} takes;"
            " raise max.message.bytes of the topic, or lower k or the candidates of [recall.NAME]"
        )


def _recommendation(
    request: Request, slates: Sequence[RowSlate], version: Version, ts: int
) -> Recommendation:
    first = slates[0].slate
    return Recommendation(
        request_id=request.request_id,
        user_id=request.user_id,
        ts=ts,
        items=[] if request.rows else slate_items(first),
        model_version=version.model_version,
        rows=[_row(each) for each in slates] if request.rows else None,
        next=_next(request, first),
        preview=request.preview,
        list_name=request.list_name,
        why_empty=None if request.rows else first.why_empty,
        note=None if request.rows else first.note,
        variants=dict(first.variants) or None,
    )


def _next(request: Request, slate: Slate) -> str | None:
    if request.after is None or not slate.more:
        return None
    shown = np.concatenate([unpacked_keys(request.after), keys_of(slate.shown)])
    return packed_keys(shown) if len(shown) < PAGED_MAX else None


def _row(row: RowSlate) -> RecommendedRow:
    assert row.name is not None
    return RecommendedRow(
        name=row.name,
        request_id=row.request.request_id,
        items=slate_items(row.slate),
        list_name=row.request.list_name,
        why_empty=row.slate.why_empty,
        note=row.slate.note,
    )


def slate_items(slate: Slate) -> list[RecommendedItem]:
    """Return what a slate shows, in order; scores are expected rewards."""
    found = [
        RecommendedItem(item_id=item_id, rank=0, score=score, reason=reason, because=because)
        for item_id, score, reason, because in zip(
            slate.item_ids, slate.expected, slate.reasons, slate.because, strict=True
        )
    ]
    for pin in slate.pinned:  # in the order of positions, each of which counts those before it
        item = RecommendedItem(item_id=pin.item_id, rank=0, score=0.0, reason=pin.reason or PINNED)
        found.insert(pin.position, item)
    return [replace(item, rank=rank) for rank, item in enumerate(found)]


def _decision(answered: RowSlate, version: Version, ts: int) -> Decision:
    request, slate = answered.request, answered.slate
    return Decision(
        request_id=request.request_id,
        user_id=request.user_id,
        ts=ts,
        items=slate.item_ids,
        positions=list(range(len(slate.item_ids))),
        propensities=slate.propensities,
        policy=slate.policy,
        policy_parameters=slate.policy_parameters,
        seed=slate.seed,
        model_version=version.model_version,
        candidates=slate.candidates,
        feature_names=list(slate.features.names),
        features=pack_features(slate.features.values),
        expected=slate.expected,
        explored=slate.explored,
        policy_state=slate.policy_state,
        boosts=packed_boosts(slate.boosts),
        composition=slate.composition,
        pinned=list(slate.pinned) or None,
        above=list(answered.above) or None,
        slate_names=None if slate.blended is None else list(slate.blended.names),
        slate=None if slate.blended is None else pack_features(slate.blended.values),
        channels=list(slate.channels),
        surface=request.surface,
        context=request.context,
        variants=dict(slate.variants) or None,
        objectives=None if slate.objectives is None else dict(slate.objectives),
        settings=dict(slate.settings) or None,
    )
