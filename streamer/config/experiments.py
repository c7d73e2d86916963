"""Experiments, as the configuration has them: ``[experiments.NAME]``, who is in which variant, and
which slates shadow variants are computed for.

The split is a function of the configuration and the user's id alone, so that whoever asks, live or
over a log, finds the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, field

from streamer.config.section import Section
from streamer.events.messages import ANYBODY, CONTEXT_KEYS_MAX

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
_PERSON_OF_SHADOWS: Final = b"streamer shadow"


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
    shadow: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="above 0: it serves no users, and of this share of the slates of the"
            " experiment what it would have shown is computed and logged, such as 0.1",
        ),
    ] = 0.0
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

        ``anybody`` never does, who stands for all that give no name.

        A digest ``h = BLAKE2b-128(user_id, key=BLAKE2b-256(salt))`` gives two numbers in [0, 1):
        the first is below ``share`` for those who take part, the second falls into one of the
        intervals whose lengths are the shares of the weights, in the order of the variants' names.

        >>> plan = ExperimentConfig(variants={"bold": VariantConfig(), "control": VariantConfig()})
        >>> [plan.variant_of("ranker", user_id) for user_id in ("ann", "bob", "cem")]
        ['bold', 'control', 'control']
        """
        if user_id == ANYBODY:
            return None
        digest = hashlib.blake2b(
            user_id.encode(), digest_size=16, key=self._salt(name), person=_PERSON
        )
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

    @property
    def served(self) -> dict[str, VariantConfig]:
        """Variants that serve users."""
        return {name: each for name, each in self.variants.items() if not each.shadow}

    @property
    def shadows(self) -> dict[str, VariantConfig]:
        """Variants that are computed and logged, and not shown."""
        return {name: each for name, each in self.variants.items() if each.shadow}

    def shares(self) -> dict[str, float]:
        """Return the share of the users who take part, by variant that serves, in the order of
        names."""
        served = self.served
        total = sum(each.weight for each in served.values())
        return {name: served[name].weight / total for name in sorted(served)}

    def shadows_of(self, name: str, request_id: str) -> list[str]:
        """Return the shadow variants that are computed for the slate of a request.

        Those with ``h / 2^64`` below their share, h being ``BLAKE2b-64(request_id,
        key=BLAKE2b-256(salt))``: which ones a function of the request says, and of two shadows one
        is computed wherever the other is, so that they are compared over the same slates.

        >>> plan = ExperimentConfig(variants={"bold": VariantConfig(shadow=0.5)})
        >>> [plan.shadows_of("ranker", request_id) for request_id in ("r1", "r2", "r3")]
        [['bold'], ['bold'], []]
        """
        shadows = self.shadows
        if not shadows:
            return []
        digest = hashlib.blake2b(
            request_id.encode(), digest_size=8, key=self._salt(name), person=_PERSON_OF_SHADOWS
        )
        place = (int.from_bytes(digest.digest(), "little") >> 11) / (1 << 53)
        return [variant for variant, each in shadows.items() if place < each.shadow]

    def _salt(self, name: str) -> bytes:
        return hashlib.blake2b((self.salt or name).encode(), digest_size=32).digest()


OWN: Final = tuple(each for each in VariantConfig.__struct_fields__ if each != "settings")
"""Keys of a variant that are no settings of what serves."""
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
        elif variants[experiment.control].shadow:
            problem = "the control serves users: set 0, or name another as the control"
            yield f"{path}.{VARIANTS}.{experiment.control}.shadow", problem
        if not 2 <= len(variants) <= VARIANTS_MAX:
            problem = f"{len(variants)} variants; give it 2 to {VARIANTS_MAX}"
            yield f"{path}.{VARIANTS}", problem
        if not any(each.weight > 0 for each in experiment.served.values()):
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
    n, n_of_shadows = combinations(experiments), shadow_combinations(experiments)
    if n + n_of_shadows > COMBINATIONS_MAX:
        shadows = f", and shadows computed in {n_of_shadows}" if n_of_shadows else ""
        yield (
            "experiments",
            (
                f"users may be served in {n} combinations of variants{shadows}; a scorer keeps at"
                f" most {COMBINATIONS_MAX}; run fewer experiments at once"
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
    return math.prod(
        len(each.served) + (each.share < 1)  # those who take no part
        for each in experiments.values()
    )


def shadow_combinations(experiments: Mapping[str, ExperimentConfig]) -> int:
    """Return in how many ways shadows are computed: each beside all other experiments."""
    return sum(
        len(each.shadows)
        * combinations({other: found for other, found in experiments.items() if other != name})
        for name, each in experiments.items()
    )


def always_shadowed(
    experiments: Mapping[str, ExperimentConfig],
) -> dict[str, ExperimentConfig]:
    """Return experiments whose shadow variants are computed for all slates."""
    found = dict(experiments)
    for name, experiment in experiments.items():
        for shadow in experiment.shadows:
            found[name] = put(found[name], f"{VARIANTS}.{shadow}.shadow", 1.0)
    return found


def put(experiment: ExperimentConfig, path: str, value: object) -> ExperimentConfig:
    """Return an experiment with a setting changed: ``share``, ``variants.bold.slate.diversity``."""
    if not path.startswith(f"{VARIANTS}."):
        return msgspec.structs.replace(experiment, **{path: value})
    name, _, key = path.removeprefix(f"{VARIANTS}.").partition(".")
    variant = experiment.variants.get(name, VariantConfig())
    if key in OWN:
        variant = msgspec.structs.replace(variant, **{key: value})
    else:
        variant = msgspec.structs.replace(variant, settings=variant.settings | {key: value})
    return msgspec.structs.replace(experiment, variants=experiment.variants | {name: variant})


def settings_of(experiment: ExperimentConfig) -> Iterator[tuple[str, object]]:
    """Yield what :func:`put` makes an experiment of, in order."""
    for name in ("salt", "share", "control"):
        yield name, getattr(experiment, name)
    for name, variant in experiment.variants.items():
        for key in OWN:
            yield f"{VARIANTS}.{name}.{key}", getattr(variant, key)
        for key, value in variant.settings.items():
            yield f"{VARIANTS}.{name}.{key}", value
