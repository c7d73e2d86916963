"""Ask for recommendations and get the answer."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Self

from streamer.client.connection import checked_payload, client_config, now_ms
from streamer.client.publisher import Context
from streamer.config import Config
from streamer.errors import BadMessage, DeliveryFailed, KafkaError, RequestTimeout, StreamerError
from streamer.events import (
    Pin,
    Recommendation,
    Request,
    RequestRow,
    decode_recommendation,
    message_key,
)
from streamer.events.messages import TIMEOUT_MS_MAX, ListName
from streamer.expressions.reading import can_read, read_filter
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.log_ends import LATEST

_N_MAX: Final = 1_000
_WAIT_S: Final = 0.2
"""Longest wait for an answer at a time, after which :meth:`Recommender.close` is noticed."""


class Recommender:
    """Sends requests and returns their answers; for any number of threads.

    Requests of all threads go out at once and are answered in any order. The first call (or
    entering ``with``) finds the end of the recommendations, before it sends anything: no answer is
    missed.

    Parameters
    ----------
    bootstrap_servers, config
        As for :class:`Publisher`.

    Examples
    --------
    >>> with Recommender("localhost:9092") as recommender:  # doctest: +SKIP
    ...     recommender.recommend("ann", k=5).items
    """

    def __init__(
        self, bootstrap_servers: str | None = None, *, config: Config | None = None
    ) -> None:
        self._config = client_config(bootstrap_servers, config)
        self._requests = self._config.topics.topic("requests")
        self._recommendations = self._config.topics.topic("recommendations")
        # Answers to others are told apart by this, without decoding them.
        self._prefix = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[Recommendation]] = {}
        self._failure: BaseException | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._sink = configured_sink(self._config, linger_s=0.0)
        self._reader = configured_reader(self._config, anew="followed")

    def recommend(
        self,
        user_id: str,
        *,
        k: int | None = None,
        timeout_s: float = 5.0,
        surface: str | None = None,
        context: Context | None = None,
        candidates: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        seed_items: Sequence[str] | None = None,
        list_name: ListName | None = None,
        filter: str | None = None,  # noqa: A002 - of the message
        rows: Sequence[RequestRow] | None = None,
        pinned: Sequence[Pin] | None = None,
        after: str | None = None,
        preview: bool = False,
    ) -> Recommendation:
        """Items for one user, best first.

        Parameters
        ----------
        k
            How many; by default what the scorer is configured for.
        candidates
            Choose among these alone; by default among all items.
        exclude
            Never these.
        seed_items
            What goes with these, the most important one first ("more like this", a basket), and not
            with what the user met last. A ``user_id`` that nobody knows asks for what goes with
            them for everybody.
        list_name
            What is ``popular``, ``trending`` or ``latest``, the same for whoever asks. No decision
            is logged: events on its items need no ``request_id``.
        filter
            Items alone for which this is true, an expression in CEL:
            ``"'news' in item.categories && item.attributes.price < 20"``.
        rows
            Several lists in one answer, the one shown first first, no item twice. Each has what it
            leaves out from the other arguments, and a ``request_id`` of its own for feedback:
            ``[RequestRow(name="for you"), RequestRow(name="new", list_name="latest")]``.
        pinned
            Items at fixed positions, sponsored ones or an editor's: ``[Pin(position=2,
            item_id="ad", reason="sponsored")]``. Nothing is learned of them as of a choice.
        after
            A page of a longer list: ``""`` for the first one, then ``next`` of each answer until an
            answer has none. No item comes again.
        preview
            Only to look at: nobody is shown the items, so no decision is logged. Health checks and
            people who try things out ask so.
        timeout_s
            How long to wait. The request says it, so that the scorer drops what comes too late.

        Raises
        ------
        RequestTimeout
            When no answer came within ``timeout_s``.
        BadMessage
            When a field is wrong; nothing is sent then.
        KafkaUnavailable, TopicMismatch, DeliveryFailed
        """
        answer = self._send(
            Request(
                request_id=self._new_id(),
                user_id=user_id,
                ts=now_ms(),
                k=k,
                surface=surface,
                context=None if context is None else dict(context),
                candidates=None if candidates is None else list(candidates),
                exclude=None if exclude is None else list(exclude),
                seed_items=None if seed_items is None else list(seed_items),
                list_name=list_name,
                filter=filter,
                rows=None if rows is None else list(rows),
                pinned=None if pinned is None else list(pinned),
                after=after,
                preview=preview,
                timeout_ms=_timeout_ms(timeout_s),
            )
        )
        return self._wait(answer, timeout_s, timeout_s)

    def recommend_many(
        self, user_ids: Iterable[str], *, k: int | None = None, timeout_s: float = 30.0
    ) -> list[Recommendation]:
        """Items for each user, in the order asked; all requests go out at once.

        ``timeout_s`` is for all of them together; raises as :meth:`recommend`.
        """
        deadline = time.monotonic() + timeout_s
        answers: list[Future[Recommendation]] = []
        try:
            for user_id in user_ids:
                request = Request(
                    request_id=self._new_id(),
                    user_id=user_id,
                    ts=now_ms(),
                    k=k,
                    timeout_ms=_timeout_ms(deadline - time.monotonic()),
                )
                answers.append(self._send(request))
            return [self._wait(each, deadline - time.monotonic(), timeout_s) for each in answers]
        finally:
            for each in answers:
                each.cancel()

    def open(self) -> None:
        """Find the end of the recommendations and start to listen.

        Raises
        ------
        TopicMismatch
            When the topic is missing.
        KafkaUnavailable
        """
        with self._lock:
            if self._closed.is_set():
                raise KafkaError("the recommender is closed; open another one")
            if self._thread is None:
                partitions = self._reader.partitions(self._recommendations)
                self._reader.start(dict.fromkeys(partitions, LATEST))
                self._thread = threading.Thread(
                    target=self._listen, name="streamer-recommender", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Stop listening; requests that still wait fail."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._reader.close()
        self._fail(KafkaError("the recommender was closed before the answer came"))
        # Nobody waits for the answers of requests that are still on their way.
        with contextlib.suppress(DeliveryFailed):
            self._sink.close(timeout_s=_WAIT_S)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _new_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    def _send(self, request: Request) -> Future[Recommendation]:
        payload = checked_payload(request)
        for each in (request, *(request.rows or ())):
            # Without the parser here, the scorer sends what it can't read to the dead letters.
            if each.filter is not None and can_read():
                read_filter(each.filter)
        self.open()
        answer: Future[Recommendation] = Future()
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._waiting[request.request_id] = answer
        answer.add_done_callback(lambda _: self._forget(request.request_id))
        try:
            self._sink.send(self._requests, key=message_key(request), value=payload)
        except BaseException:
            answer.cancel()
            raise
        return answer

    def _forget(self, request_id: str) -> None:
        with self._lock:
            self._waiting.pop(request_id, None)

    def _wait(
        self, answer: Future[Recommendation], wait_s: float, timeout_s: float
    ) -> Recommendation:
        try:
            return answer.result(max(0.0, wait_s))
        except TimeoutError:
            if not answer.cancel():
                return answer.result()  # it came at this very moment
        finally:
            answer.cancel()
        self._sink.check()
        servers = self._config.kafka.bootstrap_servers
        if n_queued := self._sink.n_queued:
            problem = f"{n_queued} requests have not reached Kafka at {servers}: start the broker"
        else:
            problem = (
                f"is a scorer running (`streamer score`) against {servers}? Raise timeout_s if it "
                "is only slow; a request that it can't answer is among the dead letters"
            )
        raise RequestTimeout(
            f"no recommendation came on {self._recommendations} within {timeout_s:g} s; {problem}"
        )

    def _listen(self) -> None:
        own = self._prefix.encode()
        try:
            while not self._closed.is_set():
                for batch in self._reader.poll(n_max=_N_MAX, timeout_s=_WAIT_S):
                    for value in batch.values:
                        if value is not None and own in value:
                            self._answer(value)
        except StreamerError as error:
            self._fail(error)

    def _answer(self, value: bytes) -> None:
        try:
            found = decode_recommendation(value)
        except BadMessage:
            return  # somebody else's mistake: the request runs into its timeout
        with self._lock:
            answer = self._waiting.get(found.request_id)
        # Setting it running first tells a caller that gives up at this moment from one that waits.
        if answer is not None and answer.set_running_or_notify_cancel():
            answer.set_result(found)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
            waiting = list(self._waiting.values())
        for answer in waiting:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)


def _timeout_ms(timeout_s: float) -> int:
    return round(min(max(1.0, 1000 * timeout_s), TIMEOUT_MS_MAX))
