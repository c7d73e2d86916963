"""A live run executed again: do its parameters give the slates that it logged?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.config.keys import OBJECTIVES
from streamer.errors import ConfigError
from streamer.events import Decision, Request, RequestRow, Shadow, pack_features
from streamer.events.rows import row_id, row_request
from streamer.model_set import build_models, store_layout
from streamer.protocols import Entry
from streamer.ranking.columns import feature_names
from streamer.ranking.features import Features, Logged
from streamer.ranking.variants import with_settings
from streamer.replica.metrics import ReplicaMetrics
from streamer.replica.replica import Replica
from streamer.scorer.funnel import Funnel, Slate
from streamer.scorer.policy.boosts import packed_boosts
from streamer.simulation.broker import ManualClock
from streamer.store.memory import MemoryStore
from streamer.store.of_models import StoreOfModels
from streamer.verify.shadows import is_same

PROBLEMS_MAX: Final = 20
"""Decisions that are told of one by one; the others are counted."""
SAME_ID_MAX: Final = 20
"""Requests of one id that a decision is tried with; beyond, it is one without its request."""
_VERSION = re.compile(r"p(\d+):(\d+)")


@dataclass(slots=True)
class SlatesVerification:
    """What came out: all is well when every decision was compared and none differs.

    Attributes
    ----------
    n_same, n_different
        Decisions whose slate was made again.
    n_other_settings
        Decisions made from commits under other settings of the models than the configuration's, or
        by settings of a variant that can't be set beside it.
    n_shadows_same, n_shadows_different, n_shadows_unknown
        Shadow variants in these decisions, made again too: alike, otherwise, and not, where their
        settings can't be set or they had candidates of whose features nobody keeps what the
        features topic said. One that differs makes its decision differ.
    n_without_request, n_without_version
        Decisions that could not be: their request is not on the topic any more, or can't be told
        from many others of its id, or their version
        names no commits (with very many partitions) or ones that were not executed.
    problems
        The first that differ, each with what differs.
    """

    n_same: int = 0
    n_different: int = 0
    n_other_settings: int = 0
    n_shadows_same: int = 0
    n_shadows_different: int = 0
    n_shadows_unknown: int = 0
    n_without_request: int = 0
    n_without_version: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def n_shadows(self) -> int:
        """Shadow variants in the decisions whose slate was made again."""
        return self.n_shadows_same + self.n_shadows_different + self.n_shadows_unknown

    def count_shadow(self, same: bool | None) -> None:
        """Count a shadow variant; None: it could not be made again."""
        self.n_shadows_same += same is True
        self.n_shadows_different += same is False
        self.n_shadows_unknown += same is None


def verify_slates(
    config: Config,
    *,
    entries: Mapping[tuple[int, int], Entry],
    requests: Iterable[Request],
    decisions: Iterable[Decision],
    catalogue: Catalogue,
    alike: Collection[int] = (0,),
    began: Mapping[int, int] = MappingProxyType({}),
) -> SlatesVerification:
    """Ask the funnel each request again, of a replica that holds what the decision was made from.

    A decision's ``model_version`` names the last commit of each partition that its scorer had
    seen. Parameters are sums, so the order in which several partitions' commits came does not
    matter: they are applied up to there and the slate, its propensities, the candidates, their
    features and the channels that placed the items are compared bit for bit.

    What the features topic said at that moment nobody keeps. So the columns that come from there
    are taken as they were logged, and all else follows from them: what is compared of the features
    are the other columns.

    What was in effect of the keys that experiments change, a decision says itself: it is made again
    by that, whatever became of the experiments since. So it is for its shadow variants.

    Parameters
    ----------
    config
        That of the live run, but for what decisions say.
    entries
        (partition, version) → the commit, as it was executed again.
    requests
        Those on the topic. Of several with one ``request_id``, a decision answers one of its user
        that is not after it; it is well if one of them makes it again.
    catalogue
        As it was throughout: decisions do not say how much of the items topic they had seen.
    alike
        Generations of the store whose models are those of the configuration.
    began
        Partition → version with which it began, if that is not 0.
    """
    found = SlatesVerification()
    funnels, names = _Funnels(config), feature_names(config)
    asked = _Asked(requests)
    named: list[tuple[Decision, list[Request], dict[int, int]]] = []
    for decision in decisions:
        versions = _versions(decision.model_version)
        if versions is None or any(
            v != began.get(p, 0) and (p, v) not in entries for p, v in versions.items()
        ):
            found.n_without_version += 1
        elif funnels.of(decision) is None or any(
            (p, v) in entries and entries[p, v].schedule.generation not in alike
            for p, v in versions.items()
        ):
            found.n_other_settings += 1
        elif not (possible := asked.by(decision)):
            found.n_without_request += 1
        else:
            named.append((decision, possible, versions))
    following = _Following(config, entries, began)
    for decision, possible, versions in sorted(named, key=lambda each: sum(each[2].values())):
        if not following.can_reach(versions):  # another scorer saw commits in another order
            following = _Following(config, entries, began)
        following.advance(versions)
        version = following.replica.current()
        assert version.model_version == decision.model_version
        funnel = funnels.of(decision)
        assert funnel is not None, "it was found before"
        logged = _logged(decision, names)
        tried: list[tuple[list[str], Request]] = []
        for each in possible:
            slate = funnel.recommend(each, version, catalogue, logged=logged)
            tried.append((_differing(decision, slate), each))
            if not tried[-1][0]:
                break
        differing, request = min(tried, key=lambda each: len(each[0]))
        for shadow in decision.shadows or ():
            by = funnels.of(decision, shadow)
            same = None
            if by is not None:
                same = is_same(shadow, by, decision, request, version, catalogue, logged)
            found.count_shadow(same)
            if same is False:
                differing.append(f"shadow of variant {shadow.variant}")
        if not differing:
            found.n_same += 1
            continue
        found.n_different += 1
        if len(found.problems) < PROBLEMS_MAX:
            found.problems.append(
                f"decision {decision.request_id} of {decision.model_version}: made again it has"
                f" other {', '.join(differing)}"
            )
    return found


def _logged(decision: Decision, names: tuple[str, ...]) -> Logged | None:
    """What a decision was made from; None where they are other ones than the configuration's."""
    if tuple(decision.feature_names) != names:
        return None
    return Logged(decision.candidates, Features(names, decision.feature_matrix()))


class _Asked:
    """The requests that decisions answer, which may be rows of others."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._asked: defaultdict[str, list[tuple[Request, RequestRow | None]]] = defaultdict(list)
        for request in requests:
            self._asked[request.request_id].append((request, None))
            for row in request.rows or ():
                self._asked[row_id(request, row)].append((request, row))

    def by(self, decision: Decision) -> list[Request]:
        """Return what a decision may answer, the latest first; nothing where that is not known any
        more, or where more than ``SAME_ID_MAX`` requests have its id."""
        found = self._asked.get(decision.request_id, [])
        if len(found) > 1:
            found = [
                (request, row)
                for request, row in found
                if request.user_id == decision.user_id and request.ts <= decision.ts
            ]
        if len(found) > SAME_ID_MAX:
            return []
        return [
            request if row is None else row_request(request, row, decision.above or ())
            for request, row in sorted(found, key=lambda each: -each[0].ts)
        ]


class _Funnels:
    """The funnels that decisions were made by: what a variant changed is logged with each."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._of_settings: dict[tuple[tuple[str, object], ...], Funnel | None] = {}

    def of(self, decision: Decision, shadow: Shadow | None = None) -> Funnel | None:
        """Return the funnel that made a decision, or a shadow in it; None where it can't be made
        again."""
        weights = decision.objectives or {}
        if weights.keys() != self._config.objectives.keys():
            return None
        settings: dict[str, object] = {
            f"{OBJECTIVES}.{name}.weight": weight for name, weight in weights.items()
        }
        settings |= (decision if shadow is None else shadow).settings or {}
        at = tuple(sorted(settings.items()))
        if at not in self._of_settings:
            try:
                self._of_settings[at] = Funnel(with_settings(self._config, settings))
            except ConfigError:
                self._of_settings[at] = None
        return self._of_settings[at]


class _Following:
    """A replica that is moved to the versions that decisions were made from."""

    def __init__(
        self,
        config: Config,
        entries: Mapping[tuple[int, int], Entry],
        began: Mapping[int, int],
    ) -> None:
        self._entries = entries
        self._at = {p: began.get(p, 0) for p in range(config.topics.partitions)}
        models = build_models(config)
        self.replica = Replica(
            store=StoreOfModels(MemoryStore(), store_layout(config, models), learns=False),
            models=models,
            n_partitions=config.topics.partitions,
            clock=ManualClock(),
            metrics=ReplicaMetrics(CollectorRegistry()),
            began_at=began,
        )

    def can_reach(self, versions: Mapping[int, int]) -> bool:
        return all(versions.get(partition, 0) >= at for partition, at in self._at.items())

    def advance(self, versions: Mapping[int, int]) -> None:
        for partition, to in versions.items():
            between = range(self._at[partition] + 1, to + 1)
            self.replica.apply([self._entries[partition, version] for version in between])
            self._at[partition] = to


def _versions(model_version: str) -> dict[int, int] | None:
    """Partition → version of a name by :func:`streamer.replica.version.version_name`."""
    parts = [_VERSION.fullmatch(part) for part in model_version.split(",")]
    found = [(int(part[1]), int(part[2])) for part in parts if part is not None]
    return dict(found) if len(found) == len(parts) else None


def _differing(decision: Decision, slate: Slate) -> list[str]:
    """Names of what differs between a decision as it was logged and as it was made again."""
    again = {
        "items": (decision.items, slate.item_ids),
        "propensities": (decision.propensities, slate.propensities),
        "expected rewards": (decision.expected, slate.expected),
        "explored slots": (decision.explored, slate.explored),
        "candidates": (decision.candidates, slate.candidates),
        "features": (decision.features, pack_features(slate.features.values)),
        "policy state": (decision.policy_state, slate.policy_state),
        "boosts": (decision.boosts, packed_boosts(slate.boosts)),
        "seed": (decision.seed, slate.seed),
        "composition": (decision.composition, slate.composition),
        "pinned items": (decision.pinned or [], list(slate.pinned)),
    }
    if decision.slate_names is not None and slate.blended is not None:  # it may be of before
        again["slate"] = (decision.slate, pack_features(slate.blended.values))
    if decision.channels is not None:  # likewise
        again["channels"] = (decision.channels, list(slate.channels))
    return [name for name, (logged, made) in again.items() if logged != made]
