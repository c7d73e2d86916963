"""Who gets an item: the slates of late that it stood in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from streamer.events import Decision
from streamer.events.messages import ANYBODY
from streamer.learner.join.clicks import NO_SURFACE

SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Receipt:
    """One slate that an item stood in.

    Attributes
    ----------
    position
        Its place on the screen, from 0.
    propensity
        Probability with which it got the place; None: it was pinned.
    expected
        Reward that the policy expected of it; None: it was pinned, or the policy expects none.
    """

    user_id: str
    ts: int
    surface: str
    position: int
    propensity: float | None
    expected: float | None


@dataclass(frozen=True, slots=True)
class Recipients:
    """Who got an item of late.

    Attributes
    ----------
    n_slates, n_with
        Slates looked at, and those with the item.
    n_users, n_users_with
        Users of either, but for visitors without a name.
    n_unnamed
        Slates looked at of visitors without a name.
    by_surface
        Surface, slates with the item, and slates: the surface that shows it most comes first.
    last
        The newest slates with it, the newest first.
    """

    n_slates: int
    n_with: int
    n_users: int
    n_users_with: int
    n_unnamed: int
    by_surface: Sequence[tuple[str, int, int]]
    last: Sequence[Receipt]


def recipients(decisions: Iterable[Decision], item_id: str) -> Recipients:
    """Look for an item in slates; takes time linear in all their items."""
    n_slates: Counter[str] = Counter()
    users: Counter[str] = Counter()
    found: list[Receipt] = []
    for decision in decisions:
        surface = decision.surface or NO_SURFACE
        n_slates[surface] += 1
        users[decision.user_id] += 1
        receipt = _receipt(decision, surface, item_id)
        if receipt is not None:
            found.append(receipt)
    n_with = Counter(each.surface for each in found)
    found.sort(key=lambda each: -each.ts)
    return Recipients(
        n_slates=n_slates.total(),
        n_with=len(found),
        n_users=len(users.keys() - {ANYBODY}),
        n_users_with=len({each.user_id for each in found} - {ANYBODY}),
        n_unnamed=users[ANYBODY],
        by_surface=[(surface, n, n_slates[surface]) for surface, n in n_with.most_common()],
        last=found[:SHOWN_MAX],
    )


def _receipt(decision: Decision, surface: str, item_id: str) -> Receipt | None:
    """Return where the item stands in one slate; None: nowhere."""
    user_id, ts = decision.user_id, decision.ts
    if item_id in decision.items:
        place = decision.items.index(item_id)
        expected = None if decision.expected is None else decision.expected[place]
        position, propensity = decision.positions[place], decision.propensities[place]
        return Receipt(user_id, ts, surface, position, propensity, expected)
    for pin in decision.pinned or ():
        if pin.item_id == item_id:
            return Receipt(user_id, ts, surface, pin.position, None, None)
    return None
