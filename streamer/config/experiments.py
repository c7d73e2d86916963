"""Experiments, as the configuration has them: ``[experiments.NAME]``, and who is in which variant.

The split is a function of the configuration and the user's id alone, so that whoever asks, live or
over a log, finds the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, field

from streamer.config.section import Section
from streamer.events.messages import CONTEXT_KEYS_MAX

CONTROL: Final = "control"
VARIANTS: Final = "variants"
LEARNING: Final = (
    "learner", "mf", "popularity", "practice", "catalogue", "events", "join",
)  # fmt: skip
"""Sections by which the same log is learned otherwise."""
SERVING: Final = ("funnel", "scorer", "recall", "bandit", "objectives", "rules", "slate")
"""Sections that requests are answered by; some of their keys shape what is learned, too."""
_OF_COLUMN: Final = "it says what a ranking column means, and all variants share its learned weight"
_OF_LEARNER: Final = "the learner reads it, whoever asks"
_NOT_OF_REQUESTS: Final = {
    "scorer.poll_ms": "it belongs to a process, not to a request",
    "bandit.context_hashed": _OF_COLUMN,
    "bandit.drift_rate_boost": _OF_LEARNER,
    "bandit.drift_boost_events": _OF_LEARNER,
    "bandit.drift_delta": _OF_LEARNER,
    "bandit.propensity_weight_max": _OF_LEARNER,
}
COMBINATIONS_MAX: Final = 64
"""Settings that one scorer answers by: each has a funnel of its own in memory."""
VARIANTS_MAX: Final = 16
_BITS: Final = 64
_PERSON: Final = b"streamer split"


class VariantConfig(Section, frozen=True, kw_only=True):
    """One of the ways in which users of an experiment are served."""

    weight: Annotated[
        float,
        Meta(
            ge=0,
            le=1e6,
            description="share of the users against the other variants; beside it"
            " stand settings of its own, such as `slate.diversity = 0.3`",
        ),
    ] = 1.0
    settings: dict[str, Any] = field(default_factory=dict)


class ExperimentConfig(Section, frozen=True, kw_only=True):
    """Users served in different ways, to see which is better (docs/experiments.md)."""

    salt: Annotated[
        str,
        Meta(
            max_length=256,
            description='users are split by a hash of it and their id; "": the name',
        ),
    ] = ""
    share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="of the users who take part; raising it moves nobody to another variant",
        ),
    ] = 1.0
    control: Annotated[
        str, Meta(min_length=1, max_length=64, description="the variant others are compared with")
    ] = CONTROL
    variants: dict[str, VariantConfig] = field(default_factory=dict)

    def variant_of(self, name: str, user_id: str) -> str | None:
        """Return the variant of a user; None where the user takes no part.

        A digest ``h = BLAKE2b-128(user_id, key=BLAKE2b-256(salt))`` gives two numbers in [0, 1):
        the first is below ``share`` for those who take part, the second falls into one of the
        intervals whose lengths are the shares of the weights, in the order of the variants' names.

        >>> plan = ExperimentConfig(variants={"bold": VariantConfig(), "control": VariantConfig()})
        >>> [plan.variant_of("ranker", user_id) for user_id in ("ann", "bob", "cem")]
        ['bold', 'control', 'control']
        """
        salt = hashlib.blake2b((self.salt or name).encode(), digest_size=32).digest()
        digest = hashlib.blake2b(user_id.encode(), digest_size=16, key=salt, person=_PERSON)
        number = int.from_bytes(digest.digest(), "little")
        # Integers below 2^53 are exact in a float: 53 bits of each half.
        taking_part = ((number & (1 << _BITS) - 1) >> 11) / (1 << 53)
        if taking_part >= self.share:
            return None
        place = (number >> _BITS + 11) / (1 << 53)
        return self._at(place)

    def _at(self, place: float) -> str:
        """Return the variant at a place of [0, 1)."""
        weights = self.shares()
        end, last = 0.0, ""
        for name, share in weights.items():
            end += share
            last = name if share else last
            if place < end:
                return name
        return last  # the sum of the shares may be rounded to less than 1

    def shares(self) -> dict[str, float]:
        """Return the share of the users who take part, by variant, in the order of names."""
        total = sum(each.weight for each in self.variants.values())
        return {name: self.variants[name].weight / total for name in sorted(self.variants)}


DEFAULT_EXPERIMENTS: Final[Mapping[str, ExperimentConfig]] = {}


def experiment_problems(
    experiments: Mapping[str, ExperimentConfig],
) -> Iterator[tuple[str, str]]:
    """Return keys that are wrong, and why."""
    changed_by: dict[str, str] = {}
    for name, experiment in experiments.items():
        path = f"experiments.{name}"
        variants = experiment.variants
        if experiment.control not in variants:
            names = ", ".join(variants) or "none"
            problem = (
                f'"{experiment.control}" is no variant (there are: {names}); add'
                f" [{path}.{VARIANTS}.{experiment.control}] with a weight, or name another"
            )
            yield f"{path}.control", problem
        if not 2 <= len(variants) <= VARIANTS_MAX:
            problem = f"{len(variants)} variants; give it 2 to {VARIANTS_MAX}"
            yield f"{path}.{VARIANTS}", problem
        if not sum(each.weight > 0 for each in variants.values()):
            yield f"{path}.{VARIANTS}", "all weights are 0; give one of them more"
        for variant, each in variants.items():
            for key in each.settings:
                at = f"{path}.{VARIANTS}.{variant}.{key}"
                if why := refusal(key):
                    yield at, f"a variant can't change {key}: {why}"
                other = changed_by.setdefault(key, name)
                if other != name:
                    yield at, f"experiment {other} changes {key} too; a user may be in both"
    if len(changed_by) > CONTEXT_KEYS_MAX:
        yield (
            "experiments",
            (
                f"they change {len(changed_by)} settings; a decision says what was in effect of"
                f" {CONTEXT_KEYS_MAX} at most"
            ),
        )
    n = combinations(experiments)
    if n > COMBINATIONS_MAX:
        yield (
            "experiments",
            (
                f"users may be served in {n} combinations of variants; a scorer keeps at most"
                f" {COMBINATIONS_MAX}; run fewer experiments at once"
            ),
        )


def refusal(key: str) -> str | None:
    """Return why a variant can't change a setting; None: it may, if models stay as they are."""
    if key in _NOT_OF_REQUESTS:
        return _NOT_OF_REQUESTS[key]
    section = key.partition(".")[0]
    if section in LEARNING:
        return "the learner reads it, so its variants would need a store each"
    if section not in SERVING:
        return "it belongs to a process, not to a request"
    return None


def combinations(experiments: Mapping[str, ExperimentConfig]) -> int:
    """Return in how many ways users may be served."""
    n = 1
    for each in experiments.values():
        n *= len(each.variants) + (each.share < 1)  # those who take no part
    return n


def put(experiment: ExperimentConfig, path: str, value: object) -> ExperimentConfig:
    """Return an experiment with a setting changed: ``share``, ``variants.bold.slate.diversity``."""
    if not path.startswith(f"{VARIANTS}."):
        return msgspec.structs.replace(experiment, **{path: value})
    name, _, key = path.removeprefix(f"{VARIANTS}.").partition(".")
    variant = experiment.variants.get(name, VariantConfig())
    if key == "weight":
        variant = msgspec.structs.replace(variant, weight=value)
    else:
        variant = msgspec.structs.replace(variant, settings=variant.settings | {key: value})
    return msgspec.structs.replace(experiment, variants=experiment.variants | {name: variant})


def settings_of(experiment: ExperimentConfig) -> Iterator[tuple[str, object]]:
    """Yield what :func:`put` makes an experiment of, in order."""
    for name in ("salt", "share", "control"):
        yield name, getattr(experiment, name)
    for name, variant in experiment.variants.items():
        yield f"{VARIANTS}.{name}.weight", variant.weight
        for key, value in variant.settings.items():
            yield f"{VARIANTS}.{name}.{key}", value
