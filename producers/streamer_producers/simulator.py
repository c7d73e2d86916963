"""Users who react to slates and browse by themselves, with known click probabilities.

What they would click is :mod:`streamer_producers.click_model`; here it becomes events. Because the
true probabilities are known, so is the regret of any slate: what the best one would have got, less
what this one gets.

Examples
--------
>>> simulator = Simulator(SimulatorConfig(n_users=3, n_items=50, seed=1))
>>> user, ts_ms = simulator.user_ids[0], simulator.config.start_ms
>>> best = simulator.best_slate(user, 5, ts_ms)
>>> shown = simulator.item_ids[:5]
>>> regret = simulator.expected_clicks(user, best, ts_ms) - simulator.expected_clicks(
...     user, shown, ts_ms
... )
>>> regret > 0
True
>>> [event.type for event in simulator.react(user, shown, ts_ms, "r1")][:5]
['impression', 'impression', 'impression', 'impression', 'impression']
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError
from streamer.events import Event, Item
from streamer_producers.click_model import (
    GOLDEN,
    ClickModel,
    Probabilities,
    Rows,
    SimulatorConfig,
    mixed,
)

__all__ = ["Simulator", "SimulatorConfig"]

_CLICK, _EXAMINE, _WATCH, _WATCHED = range(4)
"""What a coin decides: each choice has its own, so that one never moves another."""


class Simulator:
    """A seeded population; every time is an argument, no clock is read.

    Reactions are a function of (seed, user, item, time): two policies that show the same item to
    the same user at the same time get the same answer, whatever else they showed. These common
    random numbers take the luck out of a comparison. Browsing (:meth:`organic_events`) draws from
    a stream of its own: the n-th organic event is the same in every run that asks for it at the
    same time.

    Examples are in the module.
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config = config or SimulatorConfig()
        self.model = ClickModel(config)
        self.user_ids = [f"u{row:05d}" for row in range(config.n_users)]
        self.item_ids = [f"i{row:05d}" for row in range(config.n_items)]
        self._user_rows = {name: row for row, name in enumerate(self.user_ids)}
        self._item_rows = {name: row for row, name in enumerate(self.item_ids)}
        self._all_items = np.arange(config.n_items)[None, :]
        self._cumulative_activity = _cumulative(self.model.activity)
        weights = np.exp(config.browse_popularity * self.model.quality)
        self._cumulative_popularity = _cumulative(weights)
        self._browsing = np.random.default_rng([config.seed, 0x0B5E55ED])
        self._n_organic = 0

    def items(self) -> list[Item]:
        """The catalogue at the start; :meth:`arrivals` has what comes later."""
        return self._as_items(np.flatnonzero(self.model.arrival_ms <= self.config.start_ms))

    def arrivals(self, after_ms: int, until_ms: int) -> list[Item]:
        """Items that arrive in ``(after_ms, until_ms]``, in the order of their arrival."""
        arrival_ms = self.model.arrival_ms
        rows = np.flatnonzero((arrival_ms > after_ms) & (arrival_ms <= until_ms))
        return self._as_items(rows[np.argsort(arrival_ms[rows], kind="stable")])

    def click_probabilities(
        self, user_id: str, item_ids: Sequence[str], ts_ms: int
    ) -> Probabilities:
        """``(len(item_ids),)`` probabilities that the user clicks each item when looking at it.

        Raises
        ------
        ConfigError
            When the user or an item is not of this world (so in all methods that take ids).
        """
        return self._probabilities(self._user(user_id), self._rows(item_ids), ts_ms)

    def examined(self, n_slots: int) -> Probabilities:
        """``(n_slots,)`` probabilities that a slot is looked at; all 1 without position bias."""
        return np.asarray(np.arange(1, n_slots + 1) ** -self.config.position_bias, np.float64)

    def expected_clicks(self, user_id: str, slate: Sequence[str], ts_ms: int) -> float:
        """Expected number of clicks on a slate shown in this order."""
        probabilities = self.click_probabilities(user_id, slate, ts_ms)
        return float(probabilities @ self.examined(len(slate)))

    def best_slate(
        self, user_id: str, k: int, ts_ms: int, *, exclude: Collection[str] = ()
    ) -> list[str]:
        """The ``k`` items of most expected clicks, best first, without those in ``exclude``."""
        probabilities = self._probabilities(self._user(user_id), self._all_items[0], ts_ms)
        probabilities[self._rows([name for name in exclude if name in self._item_rows])] = -1.0
        best = np.argsort(-probabilities, kind="stable")[:k]
        return [self.item_ids[row] for row in best if probabilities[row] >= 0]

    def react(
        self, user_id: str, slate: Sequence[str], ts_ms: int, request_id: str | None = None
    ) -> list[Event]:
        """What the user does when shown a slate: impressions, then clicks and watches.

        All happen at ``ts_ms``: a reaction takes no time here, so that freshness can be measured
        from event times. Pure: the same call gives the same events.

        Parameters
        ----------
        slate
            Items in the order shown, each at most once.
        request_id
            Of the recommendation; it makes the event ids. None: user and time make them.

        Returns
        -------
        One impression a slot, one click a slot that is examined and clicked, and for a share of
        the clicks a watch whose value is the fraction watched, higher for better liked items.
        """
        user, rows = self._user(user_id), self._rows(slate)
        probabilities = self._probabilities(user, rows, ts_ms)
        coins = self._coins(user, rows, ts_ms)
        clicked = coins[_CLICK] < probabilities
        clicked &= coins[_EXAMINE] < self.examined(len(slate))
        watched = clicked & (coins[_WATCH] < self.config.watch_share)
        fractions = coins[_WATCHED] ** (1.0 - 0.8 * probabilities)
        prefix = request_id or f"{user_id}-{ts_ms}"

        def event(kind: str, slot: int, value: float | None = None) -> Event:
            return Event(
                event_id=f"{prefix}-{kind}-{slot}",
                type=kind,
                user_id=user_id,
                item_id=slate[slot],
                ts=ts_ms,
                request_id=request_id,
                position=slot,
                value=value,
            )

        events = [event("impression", slot) for slot in range(len(slate))]
        for slot in np.flatnonzero(clicked).tolist():
            events.append(event("click", slot))
            if watched[slot]:
                events.append(event("watch", slot, round(float(fractions[slot]), 3)))
        return events

    def organic_events(self, ts_ms: Rows) -> list[Event]:
        """Clicks that no recommendation led to, at the times ``ts_ms`` ``(n,)``.

        Somebody (active users more often) comes across ``n_considered`` items, popular ones more
        often, and clicks one of them, drawn in proportion to the true click probabilities. In
        batches or one by one the events are the same.
        """
        draws = self._browsing.random((len(ts_ms), self.config.n_considered + 2))
        users = np.searchsorted(self._cumulative_activity, draws[:, 0], side="right")
        met = np.searchsorted(self._cumulative_popularity, draws[:, 2:], side="right")
        # Should somebody meet nothing that exists yet, the first item met is as good as any.
        cumulative = np.cumsum(self.model.probabilities(users, met, ts_ms), axis=1)
        chosen = (cumulative < draws[:, 1:2] * cumulative[:, -1:]).sum(axis=1)
        items = met[np.arange(len(met)), chosen]
        events = []
        for user, item, ts in zip(users.tolist(), items.tolist(), ts_ms.tolist(), strict=True):
            events.append(
                Event(
                    # The time keeps ids of several runs on one broker apart.
                    event_id=f"organic-{self.config.seed}-{self._n_organic}-{ts}",
                    type="click",
                    user_id=self.user_ids[user],
                    item_id=self.item_ids[item],
                    ts=ts,
                )
            )
            self._n_organic += 1
        return events

    def _probabilities(self, user: int, items: Rows, ts_ms: int) -> Probabilities:
        shape = (1, len(items))
        users, times = np.array([user]), np.array([ts_ms], np.int64)
        found: Probabilities = self.model.probabilities(users, items.reshape(shape), times)[0]
        return found

    def _coins(self, user: int, items: Rows, ts_ms: int) -> NDArray[np.float64]:
        """``(4, n)`` uniform numbers in [0, 1), a function of (seed, user, item, time)."""
        start = np.array([self.config.seed], np.uint64)
        for part in (user, ts_ms):
            start = mixed(start ^ np.uint64(part))
        streams = mixed(start ^ items.astype(np.uint64))
        bits = mixed(streams + np.arange(1, 5, dtype=np.uint64)[:, None] * GOLDEN)
        coins: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return coins

    def _as_items(self, rows: Rows) -> list[Item]:
        return [
            Item(
                item_id=self.item_ids[row],
                title=f"Item {row} of category {self.model.categories[row]}",
                categories=[f"c{self.model.categories[row]:02d}"],
                created_ts=int(self.model.arrival_ms[row]),
            )
            for row in rows.tolist()
        ]

    def _user(self, user_id: str) -> int:
        try:
            return self._user_rows[user_id]
        except KeyError:
            raise ConfigError(
                f"user {user_id!r} is not one of the {self.config.n_users} simulated ones; take"
                f" one of Simulator.user_ids, as {self.user_ids[0]!r}"
            ) from None

    def _rows(self, item_ids: Sequence[str]) -> Rows:
        try:
            return np.array([self._item_rows[name] for name in item_ids], np.int64)
        except KeyError as error:
            raise ConfigError(
                f"item {error.args[0]!r} is not one of the {self.config.n_items} simulated ones;"
                f" take one of Simulator.item_ids, as {self.item_ids[0]!r}"
            ) from None


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.cumsum(weights)
    sums /= sums[-1]
    return sums
