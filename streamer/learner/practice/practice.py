"""A listwise step before an event is learned: from what would have been recommended to what was
chosen."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.events.profiles import NO_PROFILE, PROFILE_WORDS, Profile, profile_of
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.practice.own_tables import OwnTables
from streamer.ranking.asked import ComesAgain, FoundOnce, barred, met
from streamer.ranking.candidates import Candidates
from streamer.ranking.recall.again import comes_again
from streamer.ranking.recall.blend import BlendChannel, blend_of
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer.ranking.recall.registry import channels_on
from streamer.ranking.recall.union import union
from streamer_models.counters.history import UserHistory
from streamer_models.counters.profiles import UserProfiles
from streamer_models.counters.seen import UserSeen
from streamer_models.state.inputs import Inputs
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_models.state.items.item_tokens import ItemTokens
from streamer_models.state.model import Model, learn
from streamer_models.state.partition import PartitionState
from streamer_models.state.seeding import stream
from streamer_models.state.table import ITEM, PROFILE, Keys, Slots, recent_keys

_PRACTISES: Final = np.uint64(0x7072616374697365)
"""Sets these random draws apart from others with the same seed."""
_PROFILES: Final = UserProfiles(words=PROFILE_WORDS)
_SHARE_UNITS: Final = 1 << 32
_FIRST_STEPS: Final = 500
"""Of all partitions together, at some .5 ms each: what the prior is worth is learned by then. So
many events of a process practise for it, though what was taken is not among the candidates of
each, and teaches nothing then."""


@dataclass(frozen=True, slots=True)
class Practised(FoundOnce):
    """The user of an event, just before it: what a scorer's request context is there."""

    tables: OwnTables
    user_row: int
    at_ms: int
    item_keys: Keys
    item_tokens: ItemTokens
    item_embeddings: ItemEmbeddings
    _state: PartitionState
    _history: UserHistory
    _seen: UserSeen | None
    _comes_again: ComesAgain | None
    _found: dict[Hashable, Any] = field(default_factory=dict)

    def item_rows(self, keys: Keys) -> Slots:
        """``(n,)`` rows of items, -1 where absent."""
        return self._state.shared.item_map.find(keys)

    @property
    def profile(self) -> Profile:
        """What the user says of themselves."""
        return self.once(Profile, self._profile)

    def _profile(self) -> Profile:
        if self.user_row < 0:
            return NO_PROFILE
        key = int(self._state.users.keys[self.user_row])
        slot = self._state.ids[PROFILE].map.find_one(key)
        return profile_of(self.tables.read(_PROFILES.rows).row(slot))

    def excluded(self) -> Keys:
        """Keys of the items that the user has met of late, and may not have again."""
        return self.once(Practised.excluded, self._excluded)

    def _excluded(self) -> Keys:
        last = met(self, self._history)
        if self._comes_again is None:
            return last.keys if self._seen is None else self._met_before(self._seen, last.keys)
        return barred(last.keys, last.ts_ms, self.at_ms, self._comes_again)

    def _met_before(self, seen: UserSeen, last: Keys) -> Keys:
        row = self.tables.read(seen.ring).row(self.user_row)
        before = last[:0] if row is None else recent_keys(row)
        return before if len(before) > len(last) else last

    def may_be_shown(self, keys: Keys) -> NDArray[np.bool_]:
        """``(n,)`` all: they take a place among the best, as in a scorer."""
        return np.ones(len(keys), dtype=np.bool_)

    def new_ids(self, keys: Keys) -> Sequence[str]:
        """None: what has no parameters can't have been chosen."""
        return ()

    def seeds(self) -> None:
        """None: who practises goes with what the user met."""


class Practice:
    """Learns steps, and before some of their positive events takes a step of the blend.

    Which events practise is a function of the seed, the partition, the offset and the reward, so a
    step that is executed again practises on the same ones. An event that is worth less than 1
    practises with the square of its reward as its chance: what is liked little says little about
    what should be recommended, and takes as long.

    Parameters
    ----------
    config
        Its channels that have measures bring and score the candidates.
    budget
        Says how many may practise; None: ``practice.share`` of them, however long it takes.
    """

    def __init__(self, config: Config, *, budget: PracticeBudget | None = None) -> None:
        channels = channels_on(config)
        self._blend = blend_of(channels)
        self._channels = [each for each in channels if isinstance(each, MeasuringChannel)]
        self._share_max = config.practice.share
        self._budget = budget
        self._n_partitions = config.topics.partitions
        self._n_first = _FIRST_STEPS
        self._seed = np.uint64(config.learner.seed & 0xFFFFFFFFFFFFFFFF) ^ _PRACTISES
        self._history = UserHistory(length=config.mf.history)
        self._seen = UserSeen(length=config.mf.seen) if config.mf.seen else None
        self._comes_again = comes_again(config)
        self._allowed = np.ones(0, dtype=np.bool_)

    def share(self, n_events: int, state: PartitionState) -> float:
        """Return the share of the fully rewarded events of the next batch that are to practise.

        The first steps, spread over the partitions, are taken whatever they cost: who begins with a
        backlog would else be ranked by the prior, since a backlog leaves no time to practise.
        """
        if self._budget is None:
            return self._share_max
        share = self._budget.share(n_events)
        if self._blend is None or self._blend.model is None:
            return share
        n_first = _FIRST_STEPS // self._n_partitions - self._blend.model.n_steps(state)
        n_first = max(0, min(n_first, self._n_first))
        return max(share, min(self._share_max, n_first / max(n_events, 1)))

    def learn(
        self,
        models: Sequence[Model],
        inputs: Inputs,
        state: PartitionState,
        share: float,
        answering: NDArray[np.int64] | None = None,
    ) -> None:
        """Learn a step with all models, and the blend from the events that practise.

        Parameters
        ----------
        share
            Of the events with a reward of 1 or more; to be recorded with the commit.
        answering
            Offsets of events that teach the blend as answers to slates, and don't practise.
        """
        batch, units = inputs.feedback, round(share * _SHARE_UNITS)
        if self._blend is None or self._blend.model is None or not units or not len(batch):
            learn(models, inputs, state)
            return
        chosen = _chosen(
            batch.offsets, batch.rewards, self._seed, np.uint64(state.partition), units
        )
        if answering is not None and len(answering):
            chosen = chosen[~np.isin(batch.offsets[chosen], answering)]
        prepared = [model.prepare(inputs, state, state.shared) for model in models]
        tables, start, spent_s = OwnTables(state), 0, 0.0
        for stop in chosen.tolist():
            for each in prepared:
                each.run(start, stop)
            begun_s = perf_counter()
            self._practise(self._blend, inputs, stop, tables, state)
            spent_s += perf_counter() - begun_s
            start = stop
        if self._budget is not None and len(chosen):
            self._budget.spent(spent_s, len(chosen))
            self._n_first -= len(chosen)
        for each in prepared:
            each.run(start, len(batch))

    def asked(
        self,
        user_row: int,
        at_ms: int,
        tables: OwnTables,
        state: PartitionState,
        inputs: Inputs,
    ) -> Practised:
        """Return what channels are asked with for a user at a time, with what ``inputs`` say of
        items."""
        keys = state.shared.ids[ITEM].keys
        return Practised(
            tables,
            user_row,
            at_ms,
            keys,
            inputs.item_tokens,
            inputs.item_embeddings,
            state,
            self._history,
            self._seen,
            self._comes_again,
        )

    def candidates(self, asked: Practised) -> Candidates:
        """Return what the channels would have brought."""
        allowed = self._allowed
        if len(allowed) < len(asked.item_keys):
            allowed = self._allowed = np.ones(len(asked.item_keys), dtype=np.bool_)
        ruled_out = asked.item_rows(asked.excluded())
        ruled_out = ruled_out[ruled_out >= 0]
        allowed[ruled_out] = False
        found = [each.recall(asked, allowed, each.settings.candidates) for each in self._channels]
        allowed[ruled_out] = True
        return union(asked, found)

    def _practise(
        self, blend: BlendChannel, inputs: Inputs, i: int, tables: OwnTables, state: PartitionState
    ) -> None:
        batch = inputs.feedback
        user, at_ms = int(batch.user_slots[i]), int(batch.ts_ms[i])
        asked = self.asked(user, at_ms, tables, state, inputs)
        item_row = batch.item_rows[i]
        if asked.item_keys[item_row] in asked.excluded():
            return  # it could not have been recommended, whatever would have been
        candidates = self.candidates(asked)
        at = np.flatnonzero(candidates.rows == item_row)
        if not len(at):
            return  # no choice among what is there could have been this one
        columns = blend.measured(asked, candidates)
        assert blend.model is not None
        blend.model.step(columns, blend.who(asked), int(at[0]), state, state.shared)


@numba.njit(cache=True, nogil=True)
def _chosen(
    offsets: NDArray[np.int64],
    rewards: NDArray[np.float32],
    seed: np.uint64,
    partition: np.uint64,
    share: int,
) -> NDArray[np.int64]:
    """Indices of the positive events that practise, ``share`` times the square of a reward up to
    1 of them."""
    found = np.empty(len(offsets), dtype=np.int64)
    n = 0
    for i in range(len(offsets)):
        bits = stream(seed, partition, np.uint64(offsets[i])) >> np.uint64(32)
        reward = min(max(np.float64(rewards[i]), 0.0), 1.0)
        if np.float64(bits) < share * reward * reward:
            found[n] = i
            n += 1
    return found[:n]
