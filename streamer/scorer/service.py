"""The scorer as a process: one thread follows the parameters, one answers requests."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.errors import BadMessage, KafkaError, StoreUnavailable
from streamer.events import Request, decode_request
from streamer.protocols import Clock, ItemsReader, MessageBatch, ParameterStore, Sink, Source
from streamer.ranking.columns import followed_definitions
from streamer.replica.replica import Replica
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel
from streamer.scorer.metrics import KnownFeatureMetrics, ScorerMetrics
from streamer.scorer.policy.choice import SlatePolicy
from streamer.scorer.replies import Replies
from streamer.scorer.topic_letters import LetterDuty, OwnDuty, TopicLetters
from streamer.scorer.warm_up import warm_up
from streamer.telemetry import show_lag
from streamer.windows.latest import FeaturesReader, LatestFeatures
from streamer_models.state.model import Model

log = logging.getLogger(__name__)

REQUEST_AGE_MAX_MS: Final = 60_000
"""Age at which a request without ``timeout_ms`` is dropped: a decision that is not shown would add
false negatives."""

_REQUESTS_A_ROUND: Final = 256
_ITEMS_A_ROUND: Final = 1_000  # some 5 ms of decoding between two rounds of requests
_FEATURES_A_ROUND: Final = 5_000  # some 30 ms of decoding between two looks for commits
_FOLLOW_S: Final = 0.25
_FLUSH_S: Final = 30.0
_LAG_EVERY_S: Final = 1.0
_RETRY_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


class ScorerService:
    """Answers requests from a replica of the parameters that it keeps up to date.

    Features are followed by the same thread as the parameters: a request is answered from what is
    known of them at its start.

    Requests are answered at least once: their offsets are told to the group after the answers are
    acknowledged. The service is stateless otherwise, so its source starts at the group's committed
    offsets, and a new group at the end: ``on_assign`` names ``COMMITTED`` for every partition and
    ``on_revoke`` has nothing to do, since between polls everything taken is answered. Requests
    whose answer is not waited for any more (``timeout_ms``, by default a minute) become dead
    letters, and under overload the newest of a round is answered first. While the store is away it
    goes on with what it has.

    Parameters
    ----------
    store
        Already laid out for ``models``; used by the following thread alone.
    source
        Of the requests topic.
    items
        Of the items topic.
    policy
        Other than that of the configuration.
    features
        Of the features topic, used by the following thread alone, which may come to be later
        (:class:`streamer.scorer.awaited_features.AwaitedFeatures`); None: all features that come
        from there are missing.
    feature_metrics
        What is told of them.
    duty
        Which scorer of a group sends the letters for items and features; None: this one, which is
        alone and tells no group.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Sequence[Model],
        store: ParameterStore,
        source: Source,
        items: ItemsReader,
        sink: Sink,
        clock: Clock,
        metrics: ScorerMetrics,
        policy: SlatePolicy | None = None,
        features: FeaturesReader | None = None,
        feature_metrics: KnownFeatureMetrics | None = None,
        duty: LetterDuty | None = None,
    ) -> None:
        self.replica = Replica(
            store=store,
            models=models,
            n_partitions=config.topics.partitions,
            clock=clock,
            metrics=metrics.replica,
        )
        self.catalogue = Catalogue(metrics=metrics.catalogue, token_fields=config.catalogue.fields)
        self.funnel = Funnel(config, policy=policy)
        self.known = LatestFeatures(followed_definitions(config))
        self._config = config
        self._models = models
        self._poll_s = config.scorer.poll_ms / 1000
        self._source = source
        self._items = items
        self._features = features
        self._feature_metrics = feature_metrics
        self._sink = sink
        self._replies = Replies(config.topics, sink=sink, clock=clock, metrics=metrics)
        self._letters = TopicLetters(
            duty or OwnDuty(),
            send=self._replies.reject,
            flush=lambda: sink.flush(_FLUSH_S),
            clock=clock,
        )
        self._clock = clock
        self._metrics = metrics
        self._lag_shown_ms = 0
        self._loaded = threading.Event()
        self._stop = threading.Event()
        self._failure: Exception | None = None

    # --- running ---------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask :meth:`run` to answer what it has taken and return; any thread or signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Answer requests until :meth:`stop`.

        Raises
        ------
        StreamerError
            What ended the service: an answer that was not delivered, a store laid out otherwise.
        """
        warm_up(self._config, self._models, self.known)
        follower = threading.Thread(target=self._follow, name="follower", daemon=True)
        follower.start()
        try:
            while not (self._loaded.wait(_FOLLOW_S) or self._stop.is_set()):
                pass
            self.load_catalogue()
            self._metrics.ready.set(1)
            log.info("scorer_ready", extra={"version": self.replica.current().model_version})
            while not self._stop.is_set():
                self.round()
        finally:
            self._metrics.ready.set(0)
            self._stop.set()
            follower.join()
            self._source.close()
        if self._failure is not None:
            raise self._failure

    def load_catalogue(self) -> None:
        """Read the items topic to its present end, so that what is unavailable is known."""
        ends = self._items.end_offsets()
        while not self._stop.is_set():
            positions = self._items.positions
            if all(positions.get(where, 0) >= end for where, end in ends.items()):
                return
            self._follow_items(self._poll_s)

    def round(self) -> int:
        """Answer the requests that are there, all from one version; the number taken."""
        self._follow_items(0)
        batches = self._source.poll(n_max=_REQUESTS_A_ROUND, timeout_s=self._poll_s)
        version = self.replica.current()
        places = [(batch, place) for batch in batches for place in range(len(batch))]
        if len(places) == _REQUESTS_A_ROUND:
            # There are more than can be answered at once: those who asked last still wait.
            places.sort(key=lambda at: int(at[0].publish_ms[at[1]]), reverse=True)
        for batch, place in places:
            self._answer(batch, place, version)
        if batches:
            self._sink.flush(_FLUSH_S)
            self._source.tell_applied(
                {(batch.topic, batch.partition): int(batch.offsets[-1]) + 1 for batch in batches}
            )
        self._letters.settle()
        now_ms = self._clock.now_ms()
        if now_ms - self._lag_shown_ms >= 1000 * _LAG_EVERY_S:
            self._lag_shown_ms = now_ms
            show_lag(self._metrics.lag, self._source.lag())
            if self._feature_metrics is not None:
                self._feature_metrics.show(self.known, now_ms)
        return len(places)

    def _follow_items(self, timeout_s: float) -> None:
        n_taken = self.catalogue.follow(
            self._items, n_max=_ITEMS_A_ROUND, timeout_s=timeout_s, reject=self._letters.found
        )
        if n_taken:
            self._letters.read_to(self._items.positions)

    # --- the following thread --------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            self._retried(self.replica.load)
            if self._features is not None:
                self.known.load(
                    self._features, stopped=self._stop.is_set, reject=self._letters.found
                )
                self._letters.read_to(self._features.positions)
            self._loaded.set()
            while not self._stop.is_set():
                timeout_s = 0.0 if self.follow_features() else _FOLLOW_S
                self._retried(functools.partial(self.replica.follow, timeout_s=timeout_s))
        except Exception as error:  # noqa: BLE001 - run() raises it in the thread of its caller
            self._failure = error
            self._stop.set()

    def follow_features(self) -> bool:
        """Take what is on the features topic; whether there may be more by now."""
        if self._features is None:
            return False
        n_taken = self.known.follow(
            self._features, n_max=_FEATURES_A_ROUND, timeout_s=0.0, reject=self._letters.found
        )
        if n_taken:
            self._letters.read_to(self._features.positions)
        return n_taken == _FEATURES_A_ROUND

    def _retried(self, call: Callable[[], object]) -> None:
        """Call until the store answers or the service stops."""
        attempt = 0
        while not self._stop.is_set():
            try:
                call()
                return
            except StoreUnavailable:
                log.warning("store_unavailable", extra={"attempt": attempt}, exc_info=True)
                self._stop.wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1

    # --- one request -----------------------------------------------------------------------------

    def _answer(self, batch: MessageBatch, place: int, version: Version) -> None:
        began = time.perf_counter()
        try:
            publish_ms = int(batch.publish_ms[place])
            request = decode_request(batch.values[place], publish_ms=publish_ms)
            self._check_age(request, publish_ms)
            with self.known.lock:  # from start to end of a request nothing changes
                slate = self.funnel.recommend(request, version, self.catalogue, known=self.known)
            self._replies.send(batch, place, request, slate, version)
        except BadMessage as error:
            self._replies.reject(batch, place, str(error))
        except KafkaError:
            raise
        except Exception as error:
            log.exception("request_failed", extra={"offset": int(batch.offsets[place])})
            self._replies.reject(batch, place, f"scoring failed ({type(error).__name__}): {error}")
        else:
            self._metrics.requests.inc()
            if not request.preview:
                self._metrics.decisions.labels(slate.policy).inc()
                self._metrics.slots.inc(len(slate.explored))
                self._metrics.explored.inc(sum(slate.explored))
            self._metrics.request_seconds.observe(time.perf_counter() - began)

    def _check_age(self, request: Request, publish_ms: int) -> None:
        asked_ms = publish_ms if publish_ms >= 0 else request.ts
        age_ms = self._clock.now_ms() - asked_ms
        age_ms_max = request.timeout_ms or REQUEST_AGE_MAX_MS
        if age_ms > age_ms_max:
            self._metrics.stale.inc()
            raise BadMessage(
                f"request: published {age_ms} ms ago, and its answer was waited for {age_ms_max} ms"
                " (timeout_ms; a minute where it is absent): ask again, start more scorers, or set"
                " the asker's clock"
            )
