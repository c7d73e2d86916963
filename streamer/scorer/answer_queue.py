"""Requests of callers that wait: one thread scores them, in their order, and a bounded number."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from streamer.errors import KafkaError, Overloaded, RequestTimeout, StreamerError
from streamer.events import Item, Request, User
from streamer.events.profiles import NO_PROFILE
from streamer.protocols import DeliveredAt
from streamer.ranking.emptied import written_alike
from streamer.scorer.explanation import Explanation
from streamer.scorer.funnel import Funnel
from streamer.scorer.replies import Answered, Replies
from streamer.scorer.scorer import Scorer
from streamer.scorer.slate_change import SlateChange
from streamer_models.state.ids.id_table import id_key

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    future: Future[Any]
    call: Callable[[Callable[[Any], None]], Any]
    deadline_s: float
    timeout_s: float


class AnswerQueue:
    """Puts requests to a scorer, one after the other, from one thread; any thread may ask.

    What a caller has given up (``future.cancel()``), or waited for too long, is not scored: a
    decision that is not shown would add false negatives.

    Parameters
    ----------
    scorer
        Started and closed by others.
    replies
        Of a sink that is nobody else's: who flushes a shared one waits for all who send.
    n_waiting_max
        Callers that wait at most.
    """

    def __init__(self, scorer: Scorer, replies: Replies, *, n_waiting_max: int) -> None:
        self._scorer = scorer
        self._replies = replies
        self._jobs: queue.Queue[_Job | None] = queue.Queue(n_waiting_max)
        self._n_waiting_max = n_waiting_max
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    # --- any thread ------------------------------------------------------------------------------

    def recommend(self, request: Request, *, timeout_s: float) -> Future[Answered]:
        """Answer a request: its recommendation and its decision are sent as by the scorer.

        Raises
        ------
        Overloaded
            When too many wait, or nothing is answered yet or any more.
        """

        def answer(answered: Callable[[Answered], None]) -> Answered:
            return self._scorer.answer(
                request,
                self._scorer.replica.current(),
                self._replies,
                refused=_refused,
                answered=answered,
                awaited=lambda: not self._jobs.empty(),
            )

        return self._put(answer, timeout_s)

    def explain(self, request: Request, item_id: str, *, timeout_s: float) -> Future[Explanation]:
        """Explain an item's place for a request; raises as :meth:`recommend`."""
        return self._put(lambda answered: self._scorer.explain(request, item_id), timeout_s)

    def change(
        self, request: Request, other: Funnel, keys: Collection[str], *, timeout_s: float
    ) -> Future[SlateChange]:
        """Compare a slate with that of another funnel; raises as :meth:`recommend`."""
        return self._put(lambda answered: self._scorer.change(request, other, keys), timeout_s)

    def item(self, item_id: str) -> Item | None:
        """Return what the items topic says of an item, as far as it is read."""
        return self._scorer.catalogue.published(item_id)

    def knows_item(self, item_id: str) -> bool:
        """Whether the catalogue has an item, or said that it is gone, or something is learned of
        it."""
        catalogue, rows = self._scorer.catalogue, self._scorer.replica.current().items.map
        if catalogue.get(item_id) is not None or catalogue.is_blocked(item_id):
            return True
        return rows.find_one(id_key(item_id.encode())) >= 0

    def item_meant(self, item_id: str) -> str | None:
        """Return a known item that an unknown id may mean, as :func:`written_alike` has it."""
        return written_alike(item_id, self.knows_item)

    def user(self, user_id: str) -> User | None:
        """Return what a user says of themselves, as far as it is learned."""
        version = self._scorer.replica.current()
        profile = version.users.profile(id_key(user_id.encode()))
        return None if profile is NO_PROFILE else profile.message(user_id)

    def item_is_read(self, sent: DeliveredAt) -> bool:
        """Whether :meth:`item` has read its topic up to a message, and behind it."""
        return 0 <= sent.offset < self._scorer.items_read_to(sent.topic, sent.partition)

    def user_is_read(self, sent: DeliveredAt) -> bool:
        """Whether :meth:`user` has read its topic up to a message, and behind it."""
        read_to = self._scorer.replica.learned_to(sent.topic, sent.partition)
        return 0 <= sent.offset < read_to

    def missing(self) -> list[str]:
        """What is not read yet, in words; empty: requests are answered."""
        return self._scorer.missing()

    def ended(self) -> list[str]:
        """Threads that should run and do not, in words."""
        ended = {
            "the thread that scores has ended": not self._thread.is_alive(),
            "the parameters are not followed any more": self._scorer.stopping,
        }
        return [said for said, has_ended in ended.items() if has_ended]

    def close(self) -> None:
        """Answer those who wait and end."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join()

    def _put(self, call: Callable[[Callable[[T], None]], T], timeout_s: float) -> Future[T]:
        """Have a call made, which is given what to hand its result to if it goes on behind it."""
        if self._closed:
            raise Overloaded("the service is ending; ask again, another one may answer")
        if missing := self.missing():
            raise Overloaded(f"the service is starting: {'; '.join(missing)}")
        future: Future[T] = Future()
        job = _Job(future, call, time.monotonic() + timeout_s, timeout_s)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded(
                f"{self._n_waiting_max} requests wait to be scored (http.waiting_max); ask again"
                " later, or start more of these services"
            ) from None
        return future

    # --- the thread that scores ------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                self._do(job)

    def _do(self, job: _Job) -> None:
        if time.monotonic() > job.deadline_s:
            self._scorer.metrics.stale.inc()
            job.future.set_exception(
                RequestTimeout(
                    f"the request was not scored within {1000 * job.timeout_s:.0f} ms; ask again,"
                    " or start more of these services"
                )
            )
            return
        try:
            found = job.call(job.future.set_result)
            if not job.future.done():
                job.future.set_result(found)
        except Exception as error:
            if isinstance(error, KafkaError):
                log.error("answer_not_sent: %s", error)
            elif not isinstance(error, StreamerError):
                log.exception("request_failed")
            if not job.future.done():
                job.future.set_exception(error)


def _refused(reason: str) -> None:
    """The caller has its answer: the scorer has logged that it was not recorded."""
