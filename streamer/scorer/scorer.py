"""What answers a request: parameters, catalogue and features kept up to date, and a funnel."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.errors import Stopped, StoreUnavailable
from streamer.events import Request, Shadow
from streamer.protocols import Clock, ItemsReader, MessageBatch, ParameterStore, Sink
from streamer.ranking.columns import followed_definitions
from streamer.replica.replica import Replica
from streamer.replica.version import Version
from streamer.scorer.explanation import Explanation, explain
from streamer.scorer.exposure import Exposure
from streamer.scorer.funnel import Funnel
from streamer.scorer.metrics import KnownFeatureMetrics, ScorerMetrics
from streamer.scorer.policy.choice import SlatePolicy
from streamer.scorer.replies import Answered, Replies
from streamer.scorer.rows import RowSlate, row_slates
from streamer.scorer.shadows import Shadows
from streamer.scorer.slate_change import SlateChange, slate_change
from streamer.scorer.topic_letters import LetterDuty, OwnDuty, TopicLetters
from streamer.scorer.turns import Turns
from streamer.scorer.unread import UnreadWatch
from streamer.scorer.variants import Variants
from streamer.telemetry import tell_unavailable
from streamer.windows.latest import FeaturesReader, LatestFeatures
from streamer_models.state.ids.id_table import keys_of
from streamer_models.state.model import Model

log = logging.getLogger(__name__)

FLUSH_S: Final = 30.0
"""How long the broker may take to acknowledge what was sent."""
_ITEMS_A_ROUND: Final = 1_000  # some 5 ms of decoding between two rounds of requests
_FEATURES_A_ROUND: Final = 5_000  # some 30 ms of decoding between two looks for commits
_FOLLOW_S: Final = 0.25
_RETRY_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


class Scorer:
    """Answers requests from a replica of the parameters that it keeps up to date.

    Parameters and features are followed by a thread of the scorer's: a request is answered from
    what is known at its start. While the store is away it goes on with what it has. Any number of
    threads may ask; they are answered one after the other, in the order in which they came. One
    thread follows the items and sends the letters: the one that calls :meth:`follow_items` and
    :meth:`settle`.

    Attributes
    ----------
    variants
        What answers a user's requests.
    replies
        What the letters go through, and the answers to the requests topic.

    Parameters
    ----------
    store
        Already laid out for ``models``; used by the following thread alone.
    items
        Of the items topic.
    policy
        Other than that of the configuration.
    features
        Of the features topic, used by the following thread alone, which may come to be later
        (:class:`streamer.scorer.awaited_features.AwaitedFeatures`); None: all features that come
        from there are missing.
    feature_metrics
        Metrics for the followed features.
    duty
        Which scorer of a group sends the letters for items and features; None: this one, which is
        alone and reports no offsets.
    stop
        Set when it is asked to stop, by :meth:`stop` or by others; what it uses may look at it.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Sequence[Model],
        store: ParameterStore,
        items: ItemsReader,
        sink: Sink,
        clock: Clock,
        metrics: ScorerMetrics,
        policy: SlatePolicy | None = None,
        features: FeaturesReader | None = None,
        feature_metrics: KnownFeatureMetrics | None = None,
        duty: LetterDuty | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.replica = Replica(
            store=store,
            models=models,
            n_partitions=config.topics.partitions,
            clock=clock,
            metrics=metrics.replica,
        )
        self.catalogue = Catalogue(metrics=metrics.catalogue, config=config.catalogue)
        self.variants = Variants(config, policy=policy)
        self._unread = UnreadWatch(self.variants.configs)
        self.known = LatestFeatures(followed_definitions(config))
        self.clock = clock
        self.metrics = metrics
        self._exposure = Exposure()
        metrics.exposure_gini.set_function(self._gini)
        metrics.exposure_items.set_function(self._exposure.n_items)
        self.poll_s = config.scorer.poll_ms / 1000
        self._items = items
        self._features = features
        self._feature_metrics = feature_metrics
        self._sink = sink
        self._turns = Turns()
        self.replies = Replies(config.topics, sink=sink, clock=clock, metrics=metrics)
        self._letters = TopicLetters(
            duty or OwnDuty(), send=self.replies.reject, flush=self.flush, clock=clock
        )
        self._follower: threading.Thread | None = None
        self._loaded = threading.Event()
        self._catalogue_read = False
        self._items_read_to: dict[tuple[str, int], int] = {}
        self._stop = stop or threading.Event()
        self._failure: Exception | None = None

    # --- running ---------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` was called, or following has failed."""
        return self._stop.is_set()

    def missing(self) -> list[str]:
        """What is not read yet, in words; empty: requests are answered."""
        found = [] if self._loaded.is_set() else ["the parameters are not loaded from the store"]
        if not self._catalogue_read:
            found.append("the items topic is not read to its end")
        return found

    def stop(self) -> None:
        """Ask whoever runs the scorer to finish and :meth:`close`; any thread, signal handlers."""
        self._stop.set()

    def start(self) -> None:
        """Load parameters, features and catalogue; follow them from then on.

        Returns early when the scorer is stopped.
        """
        self._follower = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._follower.start()
        while not (self._loaded.wait(_FOLLOW_S) or self._stop.is_set()):
            pass
        self.load_catalogue()
        self.variants.prepare(self.catalogue)
        self._unread.judge(self.catalogue)
        self.metrics.ready.set(1)
        log.info("scorer_ready", extra={"version": self.replica.current().model_version})

    def close(self) -> None:
        """Stop following.

        Raises
        ------
        StreamerError
            What ended the following: a store laid out otherwise.
        """
        self.metrics.ready.set(0)
        self._stop.set()
        if self._follower is not None:
            self._follower.join()
        if self._failure is not None:
            raise self._failure

    def load_catalogue(self) -> None:
        """Read the items topic to its present end, so that what is unavailable is known."""
        ends = self._items.end_offsets()
        while not self._stop.is_set():
            positions = self._items.positions
            if all(positions.get(where, 0) >= end for where, end in ends.items()):
                self._catalogue_read = True
                return
            self.follow_items(self.poll_s)

    def follow_items(self, timeout_s: float) -> None:
        """Take what is on the items topic."""
        with self._turns:
            n_taken = self.catalogue.follow(
                self._items, n_max=_ITEMS_A_ROUND, timeout_s=timeout_s, reject=self._letters.found
            )
        if n_taken:
            self._letters.read_to(self._items.positions)
            self._items_read_to = dict(self._items.positions)  # behind what is taken of them

    def items_read_to(self, topic: str, partition: int) -> int:
        """Return the offset up to which the catalogue has read a partition of the items; any
        thread."""
        return self._items_read_to.get((topic, partition), 0)

    def settle(self) -> None:
        """Send the letters for items and features that are to be sent, and show the features."""
        self._letters.settle()

    def show(self, now_ms: int) -> None:
        """Bring the metrics of the catalogue and the features up to date, and say of settings what
        they read that no item has."""
        with self._turns:
            self.catalogue.show(now_ms)
            self._unread.look(self.catalogue, now_ms)
        if self._feature_metrics is not None:
            self._feature_metrics.show(self.known, now_ms)

    # --- the following thread --------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            self.load()
            while not self._stop.is_set():
                timeout_s = 0.0 if self.follow_features() else _FOLLOW_S
                self._retried(functools.partial(self.replica.follow, timeout_s=timeout_s))
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - close() raises it in the thread of its caller
            self._failure = error
            self._stop.set()

    def load(self) -> None:
        """Load the parameters and the features as they are now."""
        self._retried(self.replica.load)
        if self._features is not None:
            self.known.load(self._features, stopped=self._stop.is_set, reject=self._letters.found)
            self._letters.read_to(self._features.positions)
        self._loaded.set()

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
            except StoreUnavailable as error:
                tell_unavailable(log, error, attempt)
                self._stop.wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1

    # --- one request -----------------------------------------------------------------------------

    def answer(
        self,
        request: Request,
        version: Version,
        replies: Replies,
        *,
        refused: Callable[[str], None],
        answered: Callable[[Answered], None] | None = None,
        awaited: Callable[[], bool] = lambda: False,
    ) -> Answered:
        """Draw the slates of a request and send its recommendation and the decision of each.

        All are on their way when this returns: who asks flushes the sink of the replies.

        Shadow variants are computed behind the recommendation and before the decisions, one after
        the other while no other request waits; what is not computed by then is shed. So a request
        that comes meanwhile waits for one of them at most, as it would behind another request.

        Parameters
        ----------
        replies
            Where they go: :attr:`replies`, or others with a sink of their own.
        refused
            Called with the reason, in this call or a later one, where a topic refuses one of them
            for its size.
        answered
            Called with the answer before shadow variants are computed; not where there are none.
        awaited
            Whether other requests wait behind this one, beside those of other threads.

        Raises
        ------
        BadMessage
            When one of them is too large, or a filter can't be answered; nothing is sent then.
        DeliveryFailed
            When an earlier message was not delivered.
        """
        began = time.perf_counter()
        with self._turns, self.known.lock:  # from start to end of a request nothing changes
            funnel = self.variants.of(request.user_id)
            slates = list(
                row_slates(
                    request,
                    lambda asked: funnel.recommend(
                        asked, version, self.catalogue, known=self.known
                    ),
                )
            )
            deciding = [each for each in slates if each.request.decides]
            shadows, shadows_s = Shadows(self.variants, deciding, self.metrics), 0.0

            def shadowed(answer: Answered) -> list[list[Shadow]]:
                nonlocal shadows_s
                if answered is not None:
                    answered(answer)
                sent = time.perf_counter()
                found = shadows.computed(
                    version,
                    self.catalogue,
                    self.known,
                    awaited=lambda: awaited() or self._turns.awaited,
                )
                shadows_s = time.perf_counter() - sent
                return found

            answer = replies.send(
                request, slates, version, refused=refused, shadowed=shadowed if shadows else None
            )
            for each in slates:
                self._count(each)
            if slates[0].request.decides:
                self._unread.take(slates[0].request, slates[0].slate.ruled)
        self.metrics.requests.inc()
        self.metrics.request_seconds.observe(time.perf_counter() - began - shadows_s)
        return answer

    def _count(self, answered: RowSlate) -> None:
        slate = answered.slate
        if answered.request.decides:
            self.metrics.decisions.labels(slate.policy).inc()
            self.metrics.slots.inc(len(slate.explored))
            self.metrics.explored.inc(sum(slate.explored))
            self.metrics.new.inc(slate.n_new)
            self._exposure.note(keys_of(slate.item_ids))
            for experiment, variant in slate.variants.items():
                self.metrics.experiment_slates.labels(experiment, variant).inc()
        if not slate.shown and slate.ruled is not None:
            for name in slate.ruled.n_barred():
                self.metrics.emptied.labels(name).inc()

    def _gini(self) -> float:
        return self._exposure.gini(self.replica.current().items.ids.n_live)

    def explain(self, request: Request, item_id: str) -> Explanation:
        """Explain an item's place for a request now; nothing is sent."""
        with self._turns, self.known.lock:
            version = self.replica.current()
            config = self.variants.of(request.user_id).config
            return explain(config, request, item_id, version, self.catalogue, known=self.known)

    def change(self, request: Request, other: Funnel, keys: Collection[str]) -> SlateChange:
        """Compare the slate for a request now with that of another funnel; nothing is sent.

        Parameters
        ----------
        keys
            Of the settings in which the two differ.
        """
        with self._turns, self.known.lock:
            version, funnel = self.replica.current(), self.variants.of(request.user_id)
            return slate_change(
                request, funnel, other, keys, version, self.catalogue, known=self.known
            )

    def reject(self, batch: MessageBatch, place: int, reason: str) -> None:
        """Send the dead letter of one message of a batch."""
        self.replies.reject(batch, place, reason)

    def flush(self) -> None:
        """Wait until the broker has all that went through :attr:`replies`.

        Raises
        ------
        DeliveryFailed
            When a message was refused, or is not acknowledged in time.
        """
        self._sink.flush(FLUSH_S)
