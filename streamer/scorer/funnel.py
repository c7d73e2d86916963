"""From a request to a slate: recall, features, the policy's choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.events import Pin, Request
from streamer.events.pages import PAGED_MAX, unpacked_keys
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext, request_context
from streamer.ranking.emptied import unknown_seeds, why_empty
from streamer.ranking.features import Features, Logged
from streamer.ranking.known_features import NOTHING_KNOWN, FeatureSource
from streamer.ranking.lists import LISTS, Lists
from streamer.ranking.matrix import RankingMatrix
from streamer.ranking.recall.again import comes_again
from streamer.ranking.recall.blend import BlendedSlate, blend_of
from streamer.ranking.recall.fresh import NewItems
from streamer.ranking.recall.reasons import reasons
from streamer.ranking.recall.union import Recall
from streamer.ranking.rules.rules import Ruled, Rules
from streamer.ranking.scored import scored
from streamer.ranking.variants import Settings
from streamer.replica.version import Version
from streamer.scorer.policy.choice import Choice, Parameters, SlatePolicy
from streamer.scorer.policy.knowledge import Knowledge
from streamer.scorer.policy.policies import slate_policy
from streamer.scorer.prepared_slate import PreparedSlate
from streamer.scorer.shadow_slate import ShadowSlate, shadow_slate
from streamer.scorer.slate.composer import Composer
from streamer.scorer.slate.pins import pins_of, placed
from streamer_models.bandits.composition_bytes import packed

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Slate:
    """An answer, and all that is needed to evaluate it.

    Attributes
    ----------
    item_ids, expected, reasons, propensities, explored
        Of each place, best first; ``expected`` are rewards.
    because
        Of each place the id of the item that speaks for it, None where no single one does.
    candidates, features
        Ids the slate was drawn from and what was known of them, row by row.
    policy, policy_parameters, policy_state, boosts, seed
        What drew it; with the features, enough to draw it again.
    composition
        What its places asked of each other, packed; None where nothing was composed.
    blended
        What the blend learns from once the slate is answered; None where it learns from none.
    ruled
        What rules and the filter kept out; None where there are neither.
    why_empty
        Of a slate that shows nothing what emptied it, in words; None: nothing that is known.
    note
        Which of the items it was to go with are unknown, in words; None: none of them.
    pinned
        What stands among the items at which place, in that order, without having been chosen.
    objectives
        Weights of the outcomes whose sum is expected; None: rewards are.
    variants, settings
        Of the funnel, as decisions log them.
    channels
        Of each place the recall channel that placed its item highest.
    n_new
        Places with an item that is new, as ``recall.fresh.days`` has it.
    more
        Of a page whether it leaves something to show on the next one.
    """

    item_ids: list[str]
    expected: list[float]
    reasons: list[str]
    because: list[str | None]
    propensities: list[float]
    explored: list[bool]
    candidates: list[str]
    features: Features
    policy: str
    policy_parameters: Parameters
    policy_state: bytes
    boosts: NDArray[np.float64] | None
    seed: int
    composition: bytes | None
    blended: BlendedSlate | None
    ruled: Ruled | None = None
    why_empty: str | None = None
    note: str | None = None
    pinned: Sequence[Pin] = ()
    objectives: Mapping[str, float] | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    channels: Sequence[str] = ()
    n_new: int = 0
    more: bool = False

    @property
    def shown(self) -> list[str]:
        """Ids of all items that are shown, in no order."""
        return [*self.item_ids, *(pin.item_id for pin in self.pinned)]


class Funnel:
    """Answers requests from one version each; changes no state and adds no ids.

    The slate is a function of the request, the version, the catalogue and what is known of the
    features: the draw is seeded by the request_id. For use by one thread at a time (it remembers
    which rows are unavailable and ruled out, and the policy what it solved).

    Parameters
    ----------
    config
        The recall channels, the rules, the features, the policy.
    policy
        By default that of the configuration.
    variants, settings
        Variants of experiments that it serves, and what is in effect of the keys they change; see
        :class:`streamer.ranking.variants.Served`.

    Attributes
    ----------
    config
        As given.

    Raises
    ------
    ConfigError
        When a decision could not hold as many candidates as the settings ask for.
    """

    def __init__(
        self,
        config: Config,
        *,
        policy: SlatePolicy | None = None,
        variants: Mapping[str, str] = _NONE,
        settings: Settings = _NONE,
    ) -> None:
        self.config = config
        self._variants = variants
        self._settings = settings
        self._k_default = config.scorer.k_default
        self._objectives = {name: each.weight for name, each in config.objectives.items()} or None
        self._recall = Recall(config)
        self._rules = Rules(config)
        self._lists = Lists(config)
        self._matrix = RankingMatrix(config, self._recall.channels)
        self._policy: SlatePolicy = policy or slate_policy(config)
        self._blend = blend_of(self._recall.channels)
        self._composer = Composer(config)
        self._new = NewItems.of(config)

    def prepare(self, catalogue: Catalogue) -> None:
        """Make the columns of a catalogue that rules read, so that no request waits for them."""
        self._rules.prepare(catalogue)

    def recommend(
        self,
        request: Request,
        version: Version,
        catalogue: Catalogue,
        *,
        known: FeatureSource = NOTHING_KNOWN,
        logged: Logged | None = None,
    ) -> Slate:
        """The slate for a request; empty while there is nothing to recommend.

        Parameters
        ----------
        known
            What the features topic says, which may not change meanwhile.
        logged
            Of a decision that is made again: what the topic said then is taken from it.

        Raises
        ------
        BadMessage
            Where the request's filter can't be answered.
        """
        context = self._context(request, version, catalogue, known, logged)
        k, pins = self._places(context)
        if request.list_name is not None:
            return self._listed(context, request.list_name, k, pins)
        prepared = self._prepared(context, k, pins)
        choice = self._policy.choose(prepared.features, prepared.knowledge, k, context.seed)
        return self._slate(prepared, choice, pins)

    def shadow(
        self,
        shown: Sequence[str],
        request: Request,
        version: Version,
        catalogue: Catalogue,
        *,
        known: FeatureSource = NOTHING_KNOWN,
        logged: Logged | None = None,
    ) -> ShadowSlate:
        """The slate that this funnel would have given in place of the one of another.

        Parameters
        ----------
        shown
            Items of that slate, without pinned ones, each once.
        request, version, catalogue, known, logged
            As for :meth:`recommend`, and for that slate.

        Raises
        ------
        BadMessage
            As :meth:`recommend`.
        ValueError
            Where the policy can't say how likely it shows what it did not draw.
        """
        context = self._context(request, version, catalogue, known, logged)
        k, pins = self._places(context)
        prepared = self._prepared(context, k, pins)
        return shadow_slate(self._policy, prepared, k, shown, self._settings)

    def _context(
        self,
        request: Request,
        version: Version,
        catalogue: Catalogue,
        known: FeatureSource,
        logged: Logged | None,
    ) -> RequestContext:
        return request_context(
            request,
            version,
            catalogue,
            known=known,
            logged=logged,
            comes_again=comes_again(self.config, request.surface),
            rules=self._rules,
        )

    def _places(self, context: RequestContext) -> tuple[int, Sequence[Pin]]:
        """Return how many places are drawn, and what is pinned beside them."""
        k = context.request.k or self._k_default
        if context.request.after:
            k = min(k, max(PAGED_MAX - len(unpacked_keys(context.request.after)), 0))
        pins = pins_of(context, k)
        return k - len(pins), pins

    def _prepared(self, context: RequestContext, k: int, pins: Sequence[Pin]) -> PreparedSlate:
        """Return what ``k`` places beside the pinned ones are drawn from."""
        candidates = self._recall(context, k)
        known_of = scored(context, candidates, self._recall.channels)
        features = self._matrix.make(known_of)
        pinned, _ = placed(pins, min(k, len(candidates)))
        composition = self._composer(context, candidates, pinned)
        knowledge = Knowledge(
            context.version.bandit,
            candidates.keys,
            context.at_ms,
            known_of.scores,
            context.raised(candidates.keys),
            composition,
        )
        return PreparedSlate(context, candidates, features, knowledge)

    def _listed(self, context: RequestContext, name: str, k: int, pins: Sequence[Pin]) -> Slate:
        """Return a list as a slate without candidates, of which no decision is made."""
        # One more tells a page whether another follows.
        n_asked = k if context.request.after is None else k + 1
        found, reason = self._lists(context, name, n_asked), LISTS[name].reason
        n = min(len(found.item_ids), k)
        pinned = placed(pins, n)[0]
        return Slate(
            item_ids=list(found.item_ids[:n]),
            expected=list(found.values[:n]),
            reasons=[reason] * n,
            because=[None] * n,
            propensities=[1.0] * n,
            explored=[False] * n,
            candidates=[],
            features=Features((), np.zeros((0, 0), dtype=np.float32)),
            policy=name,
            policy_parameters={},
            policy_state=b"",
            boosts=None,
            seed=context.seed,
            composition=None,
            blended=None,
            ruled=context.ruled,
            why_empty=None if n or pinned else why_empty(context),
            pinned=pinned,
            variants=self._variants,
            settings=self._settings,
            more=len(found.item_ids) > n,
        )

    def _leaves_some(self, context: RequestContext, candidates: Candidates, n_shown: int) -> bool:
        """Return whether a page leaves something to show on the next one."""
        if context.request.after is None or len(candidates) != n_shown:
            return len(candidates) > n_shown
        # Recall may stop at as many as there are places.
        return len(self._recall(context, n_shown + 1)) > n_shown

    def _slate(
        self,
        prepared: PreparedSlate,
        choice: Choice,
        pins: Sequence[Pin],
    ) -> Slate:
        context, candidates = prepared.context, prepared.candidates
        composition = prepared.knowledge.composition
        ids = candidates.ids(context.items)
        blended = None
        pinned, places = placed(pins, len(choice.order))
        if self._blend is not None:
            blended = self._blend.slate(context, candidates, choice.order, places)
        why = reasons(context, candidates, choice.order, self._recall.channels)
        return Slate(
            item_ids=[ids[place] for place in choice.order.tolist()],
            expected=choice.expected[choice.order].tolist(),
            reasons=[each.text for each in why],
            because=[each.because for each in why],
            propensities=choice.propensities.tolist(),
            explored=choice.explored.tolist(),
            candidates=ids,
            features=prepared.features,
            policy=self._policy.name,
            policy_parameters=self._policy.parameters | self._composer.parameters,
            policy_state=choice.state,
            boosts=choice.boosts,
            seed=context.seed,
            composition=packed(composition, choice.order) if composition.on else None,
            blended=blended,
            ruled=context.ruled,
            why_empty=None if len(choice.order) or pinned else why_empty(context),
            note=unknown_seeds(context),
            pinned=pinned,
            objectives=self._objectives,
            variants=self._variants,
            settings=self._settings,
            channels=[each.channel for each in why],
            n_new=int(self._new.among(context, candidates.keys[choice.order]).sum()),
            more=self._leaves_some(context, candidates, len(choice.order)),
        )
