"""The section ``[bandit]``: its own keys, and the settings of every policy of the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_origin

import msgspec
from msgspec import Meta

from streamer.config.section import Rows, Section
from streamer_models.bandits.policies.registry import POLICIES
from streamer_models.bandits.policies.settings import SLOTS_MAX, Setting, union

if TYPE_CHECKING:
    PolicyName = str
else:
    PolicyName = Literal.__getitem__(tuple(POLICIES))


class BanditSection(Section, frozen=True, kw_only=True):
    """How candidates are ranked and what is explored."""

    policy: Annotated[
        PolicyName,
        Meta(description="what draws the slate; greedy: learns as the others, explores nothing"),
    ] = next(iter(POLICIES))
    half_life_s: Annotated[
        float,
        Meta(ge=0, le=3_153_600_000, description="after which evidence counts half; 0: for ever"),
    ] = 0.0
    arms_max: Annotated[Rows, Meta(description="items a partition whose outcomes are kept")] = (
        50_000
    )
    impressions: Annotated[
        int,
        Meta(
            ge=0,
            le=1_024,
            description="last items shown that are kept of each user, 8 B each, to show less of "
            "what was passed by; from events of type impression; 0: none",
        ),
    ] = 128
    propensity_weight_max: Annotated[
        float,
        Meta(
            ge=1,
            le=1_000,
            description="what was shown with a small propensity counts as 1 / propensity examples,"
            " as so many at most: less bias by what the policy chose, more chance; 1: all count"
            " alike",
        ),
    ] = 1.0
    context: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[^=]{1,100}=.{1,100}$")], ...],
        Meta(
            max_length=32,
            description="one feature each of a request's surface and context, e.g. "
            '["surface=home", "device=phone"]',
        ),
    ] = ()
    context_hashed: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...],
        Meta(max_length=16, description="fields of the context whose values are hashed"),
    ] = ()
    hash_buckets: Annotated[
        int, Meta(ge=1, le=64, description="features that the hashed fields share")
    ] = 8
    time_features: Annotated[
        bool,
        Meta(
            description="weigh the channels by hour, day of the week, and how long ago the user's "
            "last event was"
        ),
    ] = False
    drift_rate_boost: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="what the factorization's learning rate is multiplied by when the watch "
            "for drift says that rewards are foreseen worse; 1: it only tells",
        ),
    ] = 1.0
    drift_boost_events: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000, description="events after which half of that boost is left"),
    ] = 5_000
    drift_delta: Annotated[
        float,
        Meta(
            ge=0,
            le=0.5,
            description="chance of a false alarm of the watch for drift, which logs and counts; it "
            "needs the extra `river`; 0: off",
        ),
    ] = 0.002


def _policy_fields() -> list[tuple[str, Any, Any]]:
    """Return the settings of all policies as fields: name, type with range, default."""
    settings = union({name: policy.settings_type for name, policy in POLICIES.items()})
    return [
        (name, Annotated[_type(each), _meta(each, policies)], each.default)
        for name, (each, policies) in settings.items()
    ]


def _type(setting: Setting) -> Any:
    if get_origin(setting.kind) is tuple:
        return tuple[Annotated[int, Meta(ge=setting.ge, le=setting.le)], ...]
    return setting.kind


def _meta(setting: Setting, policies: Sequence[str]) -> Meta:
    of_some = "" if len(policies) >= _N_EXPLORING else f"{', '.join(policies)}: "
    description = f"{of_some}{setting.description}"
    if get_origin(setting.kind) is tuple:
        return Meta(max_length=SLOTS_MAX, description=description)
    bounds: dict[str, Any] = {"ge": setting.ge, "gt": setting.gt, "le": setting.le}
    return Meta(**bounds, description=description)


_N_EXPLORING: Final = len(POLICIES) - 1
"""All policies but greedy: what so many share is of them all."""

if TYPE_CHECKING:

    class BanditConfig(BanditSection, frozen=True, kw_only=True):
        """How candidates are ranked and what is explored."""

        def __init__(self, **settings: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

else:
    BanditConfig = msgspec.defstruct(
        "BanditConfig",
        _policy_fields(),
        bases=(BanditSection,),
        namespace={"__doc__": BanditSection.__doc__},
        module=__name__,
        frozen=True,
        kw_only=True,
    )
