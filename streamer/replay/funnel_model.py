"""The live system as one of an experiment's models: ``funnel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamer.config import Config, changed, known_keys
from streamer.config.experiments import LEARNING, SERVING
from streamer.config.keys import EVENTS, NAMED, RULES
from streamer.events import Event, Item, Request, User, check_embedding
from streamer.ranking.features import Features
from streamer.ranking.recall.blend import BlendChannel
from streamer.ranking.recall.registry import channels_on
from streamer.replay.interactions import UNKNOWN, Interaction
from streamer.scorer.policy.choice import Choice, Parameters, SlatePolicy
from streamer.scorer.policy.knowledge import Knowledge
from streamer.scorer.policy.policies import slate_policy
from streamer.simulation.live import LiveSystem
from streamer_models.bandits.policies.greedy import Greedy

_UNSYNCED_MAX: Final = 2_000
"""Events that may wait in the topic until somebody asks: 2,000 * 500 B = 1 MB."""
_NEVER_S: Final = 31_536_000.0
_NOBODY: Final = "nobody"


def funnel_keys(config: Config) -> list[str]:
    """Configuration keys that matter to a funnel, dotted: ``mf.factors``."""
    shown = (*NAMED[EVENTS].shown(config.events), *NAMED[RULES].shown(config.rules))
    names = (*known_keys(), *shown)
    return [
        name for name in dict.fromkeys(names) if name.partition(".")[0] in (*LEARNING, *SERVING)
    ]


def funnel_config(
    config: Config, given: Mapping[str, object], *, seed: int, n_partitions: int
) -> Config:
    """A configuration with some keys changed, greedy unless a policy is among them.

    A replay is of one configuration: nobody is in an experiment.

    Raises
    ------
    ConfigError
        For a value of a wrong type or out of range.
    """
    # How often rows are folded changes no parameter, and a log's clock runs fast.
    flags: dict[str, object] = {
        "learner.checkpoint_interval_s": _NEVER_S,
        "bandit.policy": Greedy.name,
        "learner.seed": seed,
        "topics.partitions": n_partitions,
    }
    return changed(replace(config, experiments={}), flags | dict(given))


class FunnelModel:
    """Learner, store, replica and funnel of a :class:`LiveSystem`, asked before each event.

    An event that is learned is published at the next :meth:`sync`, which has the learner take and
    commit it and the replica follow. Requests are answered by the scorer's funnel and are not
    published: nobody reacts to what is recommended in a replay, so as decisions they would teach
    that all of it was bad. The bandit therefore ranks by its prior, the configured blend.

    On one partition what is learned does not depend on where batches end, so a sync is carried out
    when somebody asks; on several, at once, since partitions of one batch are learned in turn.

    Parameters
    ----------
    config
        Of the system.
    k
        Length of a slate.
    served
        Rank the slate alone; otherwise all candidates that were recalled, the slate first.
    crash_every
        At the sync after so many events, each time, lose the learner with what it knows and have
        another start from the store; 0: never.
    """

    def __init__(
        self, config: Config, *, k: int = 10, served: bool = False, crash_every: int = 0
    ) -> None:
        self._config = config
        self._k = k
        self._served = served
        self._crash_every = crash_every
        self._policy = _Watched(slate_policy(config))
        self._live: LiveSystem | None = None
        self._waiting: list[Event | Item | User] = []
        self._n_learned = self._n_unsynced = self._n_since_crash = 0
        self._user_ids: list[str] = []
        self._item_rows: dict[str, int] = {}
        self._scores: NDArray[np.float64] = np.zeros(1_024)
        self._logits: NDArray[np.float64] | None = None

    @property
    def live(self) -> LiveSystem | None:
        """The system; None before the first event."""
        return self._live

    def learn(self, interaction: Interaction) -> None:
        """Have an event published at the next sync."""
        event = interaction.event
        if self._live is None:
            self._live = self._begin(event.ts)
        if interaction.user_row == len(self._user_ids):
            self._user_ids.append(event.user_id)
        if event.item_id not in self._item_rows:
            self._item_rows[event.item_id] = interaction.item_row
            if interaction.item is not None:  # what a catalogue says before anybody can meet it
                check_embedding(interaction.item, self._config.catalogue.embedding)
                self._waiting.append(_as_met(interaction.item, event.ts))
        self._waiting.append(event)
        self._n_learned += 1

    def described(self, user_row: int, user: User, ts_ms: int) -> None:
        """Have what a user says published at the next sync, behind the events before it."""
        if self._live is None:
            self._live = self._begin(ts_ms)
        if user_row == len(self._user_ids):
            self._user_ids.append(user.user_id)
        self._waiting.append(user)

    def _begin(self, start_ms: int) -> LiveSystem:
        return LiveSystem(
            self._config,
            start_ms=start_ms,
            sync_interval_ms=0,
            policy=self._policy,
            computes_windows=_reads_windows(self._config),
            keeps_messages=False,
        )

    def sync(self, at_ms: int) -> None:
        """Publish what waits; from now on predictions see it."""
        if self._live is None:
            return
        self._live.clock.set(at_ms)
        for message in self._waiting:
            self._live.publish(message)
            self._n_unsynced += 1
            # A learner reads what users say behind all events of a round: so let one end here.
            if isinstance(message, User):
                self._learn_published()
        self._n_since_crash += len(self._waiting)
        self._waiting.clear()
        crashes = 0 < self._crash_every <= self._n_since_crash
        if crashes:
            self._live.crash()
            self._n_since_crash = 0
        # What several partitions learn in one batch depends on where it ends.
        several = self._config.topics.partitions > 1
        if crashes or several or self._n_unsynced >= _UNSYNCED_MAX:
            self._learn_published()

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.floating[Any]]:
        """Expected rewards of the candidates, and above them the slate; -inf: not recalled."""
        if n_items > len(self._scores):
            self._scores = np.zeros(2 * n_items)
        scores = self._scores[:n_items]
        scores[:] = -np.inf
        self._logits = None
        if self._live is None:
            return scores
        self._learn_published()
        scorer = self._live.scorer
        is_known = 0 <= user_row < len(self._user_ids)
        user_id = self._user_ids[user_row] if is_known else _NOBODY
        request = Request(
            request_id=f"{user_id}-{self._n_learned}", user_id=user_id, ts=ts_ms, k=self._k
        )
        slate = scorer.variants.of(user_id).recommend(
            request, scorer.replica.current(), scorer.catalogue, known=scorer.known
        )
        if not slate.candidates:
            return scores
        expected, order = self._policy.expected, self._policy.order
        if self._served:
            values = np.full(len(expected), -np.inf)
            values[order] = -np.arange(len(order))
        else:
            values = expected.copy()
            values[order] = expected.max() + np.arange(len(order), 0, -1)
        rows = self._item_rows
        at = np.array([rows.get(each, UNKNOWN) for each in slate.candidates])
        known = (at >= 0) & (at < n_items)
        scores[at[known]] = values[known]
        logits = self._policy.logits
        if logits is not None:
            self._logits = np.full(n_items, -np.inf)
            self._logits[at[known]] = logits[known]
        return scores

    def logits(self) -> NDArray[np.float64] | None:
        """Logits of the blend, which ranks or is what the bandit begins with; None without it."""
        return self._logits

    def _learn_published(self) -> None:
        if self._live is not None and self._n_unsynced:
            self._live.sync()
            self._n_unsynced = 0


def _reads_windows(config: Config) -> bool:
    """Whether a ranking depends on windowed features, where the bandit knows its prior alone.

    The prior gives them no weight, so they matter to what explores by how little is known of them,
    and to channels that recall by them.
    """
    recalled_by = any(channel.follows() for channel in channels_on(config))
    return recalled_by or config.bandit.policy != Greedy.name


def _as_met(item: Item, met_ms: int) -> Item:
    """Return an item that was out and available when it was met: a later date is that of an import,
    and what is not available is not so on the day of the catalogue."""
    is_later = item.created_ts is not None and item.created_ts > met_ms
    if not is_later and item.available:
        return item
    return replace(item, created_ts=met_ms if is_later else item.created_ts, available=True)


class _Watched:
    """A policy whose latest choice can be looked at: a slate tells what is expected of its own
    items alone."""

    def __init__(self, policy: SlatePolicy) -> None:
        self._policy = policy
        self.name: str = policy.name
        self.parameters: Parameters = policy.parameters
        self.expected: NDArray[np.float64] = np.zeros(0)
        self.order: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self.logits: NDArray[np.float32] | None = None

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        choice = self._policy.choose(features, knowledge, k, seed)
        self.expected, self.order = choice.expected, choice.order
        self.logits = knowledge.scores.get(BlendChannel.name)
        return choice
