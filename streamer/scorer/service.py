"""The scorer as a service of the requests topic."""

from __future__ import annotations

import functools
import logging
from typing import Final

from streamer.errors import BadMessage, KafkaError, Stopped, is_interruption
from streamer.events import Request, decode_request
from streamer.protocols import MessageBatch, Source
from streamer.replica.version import Version
from streamer.scorer.scorer import Scorer
from streamer.telemetry import show_lag

log = logging.getLogger(__name__)

REQUEST_AGE_MAX_MS: Final = 60_000
"""Age at which a request without ``timeout_ms`` is dropped: a decision that is not shown would add
false negatives."""

_REQUESTS_A_ROUND: Final = 256
_LAG_EVERY_S: Final = 1.0


class ScorerService:
    """Has a scorer answer what is on the requests topic.

    Requests are answered at least once: their offsets are told to the group after the answers are
    acknowledged. The service is stateless otherwise, so its source starts at the group's committed
    offsets, and a new group with what somebody may still wait for: ``on_assign`` names ``RECENT``
    for every partition and ``on_revoke`` has nothing to do, since between polls everything taken
    is answered. Requests whose answer is not waited for any more (``timeout_ms``, by default a
    minute) become dead letters, and under overload the newest of a round is answered first. Shadow
    variants are computed for the last one of a round alone, which none waits behind, and none under
    overload.

    Parameters
    ----------
    scorer
        Run by this service: started, given items to follow, closed.
    source
        Of the requests topic.
    """

    def __init__(self, scorer: Scorer, *, source: Source) -> None:
        self.scorer = scorer
        self._source = source
        self._clock = scorer.clock
        self._metrics = scorer.metrics
        self._lag_shown_ms = 0
        self._caught_up_ms: int | None = None
        """When all that was there was taken last: what comes later waited no longer than since."""
        self._since_ms: int | None = None
        """The former of these, for what a round has taken."""
        self._said: set[str] = set()

    def stop(self) -> None:
        """Ask :meth:`run` to answer what it has taken and return; any thread or signal handler."""
        self.scorer.stop()

    def run(self) -> None:
        """Answer requests until :meth:`stop`.

        Who is asked to stop while the broker is away does not wait for it: requests whose answers
        it has not acknowledged are answered after the next start.

        Raises
        ------
        StreamerError
            What ended the service: an answer that was not delivered, a store laid out otherwise.
        """
        try:
            self.scorer.start()
            while not self.scorer.stopping:
                self.round()
        except Stopped as error:
            log.warning("stopped_without_broker", extra={"reason": str(error)})
        finally:
            try:
                self.scorer.close()
            finally:
                self._source.close()

    def round(self) -> int:
        """Answer the requests that are there, all from one version; the number taken."""
        self.scorer.follow_items(0)
        batches = self._source.poll(n_max=_REQUESTS_A_ROUND, timeout_s=self.scorer.poll_s)
        version = self.scorer.replica.current()
        self._since_ms = self._caught_up_ms
        places = [(batch, place) for batch in batches for place in range(len(batch))]
        overloaded = len(places) == _REQUESTS_A_ROUND
        if overloaded:
            # There are more than can be answered at once: those who asked last still wait.
            places.sort(key=lambda at: int(at[0].publish_ms[at[1]]), reverse=True)
        else:
            self._caught_up_ms = self._clock.now_ms()
        for n, (batch, place) in enumerate(places, 1):
            awaited = overloaded or n < len(places)
            self._answer(batch, place, version, awaited=awaited)
        if batches:
            self.scorer.flush()
            self._source.tell_applied(
                {(batch.topic, batch.partition): int(batch.offsets[-1]) + 1 for batch in batches}
            )
        self.scorer.settle()
        now_ms = self._clock.now_ms()
        if now_ms - self._lag_shown_ms >= 1000 * _LAG_EVERY_S:
            self._lag_shown_ms = now_ms
            show_lag(self._metrics.lag, self._source.lag())
            self.scorer.show(now_ms)
        return len(places)

    def _answer(self, batch: MessageBatch, place: int, version: Version, *, awaited: bool) -> None:
        reject = functools.partial(self.scorer.reject, batch, place)
        try:
            publish_ms = int(batch.publish_ms[place])
            request = decode_request(batch.values[place], publish_ms=publish_ms)
            self._check_age(request, publish_ms)
            self.scorer.answer(
                request,
                version,
                self.scorer.replies,
                refused=reject,
                awaited=lambda: awaited,
            )
        except BadMessage as error:
            reject(str(error))
        except KafkaError:
            raise
        except Exception as error:
            if is_interruption(error):
                raise
            log.exception("request_failed", extra={"offset": int(batch.offsets[place])})
            reject(f"scoring failed ({type(error).__name__}): {error}")

    def _check_age(self, request: Request, publish_ms: int) -> None:
        asked_ms = publish_ms if publish_ms >= 0 else request.ts
        age_ms = self._clock.now_ms() - asked_ms
        age_ms_max = request.timeout_ms or REQUEST_AGE_MAX_MS
        if age_ms > age_ms_max:
            self._metrics.stale.inc()
            raise BadMessage(
                f"request: published {age_ms} ms ago, and its answer was waited for {age_ms_max} ms"
                f" (timeout_ms; a minute where it is absent): {self._late(age_ms, age_ms_max)}"
            )

    def _late(self, age_ms: int, age_ms_max: int) -> str:
        """Return why a request is too old, as far as it can be told, and say it once in the log."""
        here_ms = age_ms if self._since_ms is None else self._clock.now_ms() - self._since_ms
        if age_ms - here_ms <= age_ms_max:
            event = "requests_too_old"
            remedy = (
                "ask again, start more scorers, or set the clock that is wrong: this scorer's, if"
                " it is ahead, or the asker's"
            )
        else:  # it would be too old without any wait for this scorer
            event = "requests_too_old_when_they_come"
            remedy = (
                f"it waited {here_ms} ms at most for this scorer, so this scorer's clock is ahead,"
                " or that of its publication (the asker's; the broker's where the topic has"
                " LogAppendTime) is behind, or it was late on its way; set the clock that is wrong"
            )
        if event not in self._said:
            self._said.add(event)
            log.warning(
                event,
                extra={"age_ms": age_ms, "timeout_ms": age_ms_max, "remedy": remedy},
            )
        return remedy
