"""Slots of an experiment's slates that shadow variants were computed for: columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from streamer.events import Decision, Shadow
from streamer.ope.bandit_log import Floats, Indices
from streamer.ope.logged_rewards import LoggedRewards


@dataclass(frozen=True, slots=True, eq=False)
class ShadowSlots:
    """What one shadow variant says of the slates that one variant served.

    Attributes
    ----------
    shadow, served
        The two variants.
    n_slates, n_slots, n_common
        Slates that it was computed for, their slots, and those slots in which it would have shown
        what was shown.
    users, rewards, propensities, target
        ``(n,)`` of the slots whose outcome is known: a number of the user, the reward, and the
        probabilities with which the serving variant and the shadow put the item there.
    gains
        Objective → ``(n,)`` what the slots brought of it.
    """

    shadow: str
    served: str
    n_slates: int
    n_slots: int
    n_common: int
    users: Indices
    rewards: Floats
    propensities: Floats
    target: Floats
    gains: Mapping[str, Floats]


def shadow_slots(
    decisions: Iterable[Decision], rewards: LoggedRewards, name: str
) -> tuple[ShadowSlots, ...]:
    """Return the slots of an experiment by shadow and serving variant, in the order of names."""
    found: dict[tuple[str, str], _Rows] = {}
    users: dict[str, int] = {}
    for decision in decisions:
        served = (decision.variants or {}).get(name)
        for shadow in decision.shadows or ():
            if served is not None and shadow.experiment == name:
                rows = found.setdefault((shadow.variant, served), _Rows())
                user = users.setdefault(decision.user_id, len(users))
                rows.add(decision, shadow, user, rewards)
    return tuple(found[at].slots(*at, rewards.objectives) for at in sorted(found))


@dataclass(slots=True)
class _Rows:
    n_slates: int = 0
    n_slots: int = 0
    n_common: int = 0
    users: list[Indices] = field(default_factory=list)
    columns: list[Floats] = field(default_factory=list)

    def add(self, decision: Decision, shadow: Shadow, user: int, rewards: LoggedRewards) -> None:
        self.n_slates += 1
        self.n_slots += len(decision.items)
        self.n_common += sum(
            one == other for one, other in zip(decision.items, shadow.items, strict=False)
        )
        gained = rewards.of(decision)
        columns = np.array(
            [gained, decision.propensities, shadow.propensities, *rewards.gains(decision).T]
        )
        columns = columns[:, ~np.isnan(gained)]
        self.users.append(np.full(columns.shape[1], user, dtype=np.intp))
        self.columns.append(columns)

    def slots(self, shadow: str, served: str, objectives: Iterable[str]) -> ShadowSlots:
        rewards, propensities, target, *gains = np.concatenate(self.columns, axis=1)
        return ShadowSlots(
            shadow,
            served,
            self.n_slates,
            self.n_slots,
            self.n_common,
            np.concatenate(self.users),
            rewards,
            propensities,
            target,
            dict(zip(objectives, gains, strict=True)),
        )
