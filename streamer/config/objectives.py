"""What slates are ranked for, as the configuration has it: ``[objectives.NAME]``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Final

from msgspec import Meta

from streamer.config.section import Section
from streamer.events.messages import OBJECTIVES_MAX
from streamer_models.bandits.policies.linear import LinearPolicy
from streamer_models.bandits.policies.registry import POLICIES


class ObjectiveConfig(Section, frozen=True, kw_only=True):
    """An outcome that is foreseen by itself; slates are ranked by the weighted sum of all."""

    events: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
        Meta(
            max_length=32,
            description="event types (`[events.NAME]`) that bring it, each 1, or the share of its"
            " `value_range`; must be given",
        ),
    ] = ()
    weight: Annotated[
        float,
        Meta(
            ge=-1_000,
            le=1_000,
            description="of what is expected of it in the score; read when a slate is made, so"
            " others need no other store; below 0: it is to be avoided",
        ),
    ] = 1.0


DEFAULT_OBJECTIVES: Final[Mapping[str, ObjectiveConfig]] = {}


def objective_problems(
    objectives: Mapping[str, ObjectiveConfig],
    types: Collection[str],
    *,
    ranker: str,
    policy: str,
    form: str,
) -> Iterator[tuple[str, str]]:
    """Yield (key, problem) of what contradicts itself, or what ranks slates.

    Parameters
    ----------
    types
        Names of the event types.
    ranker, policy, form
        ``funnel.ranker``, ``bandit.policy`` and ``bandit.form``.
    """
    if not objectives:
        return
    if len(objectives) > OBJECTIVES_MAX:
        many = f"{len(objectives)} objectives are over {OBJECTIVES_MAX}; join some"
        yield f"objectives.{max(objectives)}.events", many
    for name, each in objectives.items():
        key = f"objectives.{name}.events"
        if not each.events:
            yield key, 'an objective needs types of events, as ["purchase"]'
        for event in each.events:
            if event not in types:
                yield key, f"{event!r} is no type of event; add it to [events]"
    if not any(each.weight for each in objectives.values()):
        key = f"objectives.{next(iter(objectives))}.weight"
        yield key, "all weights are 0; give one another value"
    if ranker != "bandit":
        yield "funnel.ranker", f"{ranker} foresees no outcomes; set bandit, or no [objectives]"
    if not issubclass(POLICIES[policy], LinearPolicy):
        linear = [name for name, each in POLICIES.items() if issubclass(each, LinearPolicy)]
        problem = f"{policy} knows rewards alone; set {' or '.join(linear)}"
        yield "bandit.policy", f"{problem}, or no [objectives]"
    elif form != "shared":
        problem = "items have models of rewards alone; set shared, or no [objectives]"
        yield "bandit.form", f"{form}: {problem}"
