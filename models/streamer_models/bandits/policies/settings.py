"""Settings of policies: typed, with their bounds and meanings, from which configuration derives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np

Value = str | int | float | bool
"""A setting as decisions log it: slots are one text, divided by spaces."""

SLOTS_MAX: Final = 500
"""Bound of the slots of a slate."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a policy.

    Attributes
    ----------
    kind
        ``float``, ``int``, ``bool``, a ``Literal`` of texts, or ``tuple[int, ...]``.
    default
        As the live system has it.
    ge, gt, le
        Bounds of the number, or of each number of a tuple; None: none.
    description
        Meaning, for the documentation.
    estimates
        Whether it shapes the estimate alone: a logged decision carries the estimate, so it is
        drawn again without this setting.
    """

    kind: Any
    default: object
    ge: float | None
    gt: float | None
    le: float | None
    description: str
    estimates: bool

    def read(self, text: str) -> object:
        """Return the value that a text stands for.

        Raises
        ------
        ValueError
            Where it stands for none.
        """
        if self.kind is bool:
            if text not in ("true", "false"):
                raise ValueError("write true or false")
            return text == "true"
        if get_origin(self.kind) is tuple:
            return tuple(int(part) for part in text.split())
        return self.kind(text) if self.kind in (int, float) else text

    def problem(self, value: object) -> str | None:
        """Return what a value must be; None where it is that."""
        if get_origin(self.kind) is Literal:
            choices = get_args(self.kind)
            return None if value in choices else f"must be {' or '.join(map(str, choices))}"
        numbers = value if isinstance(value, tuple) else (value,)
        low = f"above {self.gt:g}" if self.gt is not None else f"at least {self.ge or 0:g}"
        for number in numbers:
            inside = (
                isinstance(number, int | float)
                and np.isfinite(number)
                and (self.ge is None or number >= self.ge)
                and (self.gt is None or number > self.gt)
                and (self.le is None or number <= self.le)
            )
            if not inside:
                return f"must be {low}" + ("" if self.le is None else f" and at most {self.le:g}")
        return None


def setting(
    default: object,
    description: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    estimates: bool = False,
) -> Any:
    """Declare a field of :class:`PolicySettings`; see :class:`Setting`."""
    given = {"ge": ge, "gt": gt, "le": le, "description": description, "estimates": estimates}
    return field(default=default, metadata=given)


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Base of the settings of a policy.

    Raises
    ------
    ValueError
        Where a setting is out of its range.
    """

    def __post_init__(self) -> None:
        for name, each in self.described().items():
            value = getattr(self, name)
            if problem := each.problem(value):
                raise ValueError(f"{name}={value!r} {problem}")

    @classmethod
    def described(cls) -> Mapping[str, Setting]:
        """Return the settings by name, in their order."""
        kinds = get_type_hints(cls)
        return {each.name: _described(each, kinds[each.name]) for each in fields(cls)}

    def parameters(self) -> dict[str, Value]:
        """Return what a decision logs: enough to draw again from an estimate."""
        return {
            name: _logged(getattr(self, name))
            for name, each in self.described().items()
            if not each.estimates
        }

    @classmethod
    def logged(cls, parameters: Mapping[str, Value]) -> Self:
        """Return the settings that :meth:`parameters` gave.

        Raises
        ------
        KeyError
            Where one is missing.
        ValueError
            Where one is of another type or out of its range.
        """
        values: dict[str, Any] = {}
        for name, each in cls.described().items():
            if not each.estimates:
                value = parameters[name]
                values[name] = each.read(value) if isinstance(value, str) else value
        return cls(**values)


def _described(given: Field[Any], kind: Any) -> Setting:
    assert given.default is not MISSING, f"{given.name} has no default"
    return Setting(kind, given.default, **given.metadata)


def _logged(value: Any) -> Value:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


@dataclass(frozen=True, kw_only=True)
class ExploringSettings(PolicySettings):
    """Settings of every policy that explores."""

    uniform_share: float = setting(
        0.02,
        "of each explored slot drawn at random; 0 leaves items no chance at all",
        ge=0,
        le=1,
    )
    explore_slots: tuple[int, ...] = setting(
        (), "slots that explore; []: all of them", ge=0, le=SLOTS_MAX - 1
    )


@dataclass(frozen=True, kw_only=True)
class LearnedSettings(PolicySettings):
    """Settings of the prior that an estimate starts from."""

    pooled: bool = setting(
        True,
        "what was learned of all items is the prior of each; false: each item by itself",
        estimates=True,
    )
    prior_strength: float = setting(
        100.0, "outcomes of one item that its prior is worth", gt=0, le=1e6, estimates=True
    )
    prior_reward: float = setting(
        0.05,
        "what a standard deviation of the blend is worth, or a share of positive outcomes",
        gt=0,
        le=1_000,
        estimates=True,
    )


@dataclass(frozen=True, kw_only=True)
class LinearSettings(LearnedSettings):
    """Settings of policies over a linear model."""

    form: Literal["shared", "disjoint"] = setting(
        "shared", "one linear model, or one more for each item"
    )
    blend_strength: float = setting(
        100.0,
        "items shown that the prior (the blend) is worth, where one model is learned of all items",
        gt=0,
        le=1e6,
        estimates=True,
    )


@dataclass(frozen=True, kw_only=True)
class BoundSettings(ExploringSettings):
    """Settings of optimistic policies."""

    alpha: float = setting(0.25, "width of the confidence bound", ge=0, le=100)


@dataclass(frozen=True, kw_only=True)
class SampledSettings(ExploringSettings):
    """Settings of policies that draw from the posterior."""

    n_draws: int = setting(64, "posterior draws behind a propensity", ge=1, le=10_000)


def settings_from(kind: type[PolicySettings], source: object) -> PolicySettings:
    """Return settings of a type, each an attribute of ``source`` of the same name."""
    return kind(**{name: getattr(source, name) for name in kind.described()})


def union(kinds: Mapping[str, type[PolicySettings]]) -> dict[str, tuple[Setting, Sequence[str]]]:
    """Return every setting of some policies, with the names of those that have it.

    Raises
    ------
    ValueError
        Where two policies mean different things by one name.
    """
    found: dict[str, tuple[Setting, list[str]]] = {}
    for policy, kind in kinds.items():
        for name, each in kind.described().items():
            first, policies = found.setdefault(name, (each, []))
            policies.append(policy)
            if first != each:
                raise ValueError(
                    f"{name} of {policy} differs from that of {policies[0]}: give it another name,"
                    " or declare both in one base"
                )
    return {name: (each, policies) for name, (each, policies) in found.items()}
