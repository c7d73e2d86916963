"""``NAME:KEY=VALUE,KEY=VALUE``: how people name a model and its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streamer.errors import ConfigError

_DURATION_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PARAMETER = re.compile(r"\s*[\w.]+\s*=")
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True)
class Spec:
    """One model as it was asked for.

    Attributes
    ----------
    text
        As it was written; the model's name in results.
    name
        What is before the first colon.
    rest
        What is behind it.
    """

    text: str
    name: str
    rest: str

    @property
    def inner(self) -> Spec:
        """What its rest names: of ``nightly:ease,every=30d`` it is ``ease`` with ``every=30d``."""
        name, _, rest = self.rest.partition(",")
        return Spec(self.text, name.strip(), rest.strip())

    def parameters(self, converters: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
        """Its parameters, converted.

        Raises
        ------
        ConfigError
            When one is unknown, given twice, or not a value of its kind.
        """
        found: dict[str, Any] = {}
        for part in filter(None, divided(self.rest)):
            key, equals, value = (each.strip() for each in part.partition("="))
            if not equals or key not in converters or key in found:
                known = ", ".join(converters) or "none"
                raise ConfigError(
                    f"model {self.text!r}: {part!r} is no parameter of {self.name}, or one given"
                    f" twice; write KEY=VALUE; its parameters are: {known}"
                )
            try:
                found[key] = converters[key](value)
            except ValueError as error:
                raise ConfigError(f"model {self.text!r}: {key}={value!r} is wrong: {error}") from (
                    error
                )
        return found


def parse_specs(texts: Iterable[str]) -> list[Spec]:
    """Specs out of one or several lists of them, divided by commas.

    A part ``KEY=VALUE`` belongs to the model before it; commas in brackets or quotes divide
    nothing.

    Raises
    ------
    ConfigError
        When there is none, or one twice.

    Examples
    --------
    >>> [spec.text for spec in parse_specs(["popularity:half_life=7d,isgd:factors=8,steps=1,mf"])]
    ['popularity:half_life=7d', 'isgd:factors=8,steps=1', 'mf']
    >>> [spec.name for spec in parse_specs(["river:reco.BiasedMF(n_factors=10, seed=1),isgd"])]
    ['river', 'isgd']
    """
    found: list[str] = []
    for text in texts:
        parts: list[str] = []
        for part in divided(text):
            if parts and ":" in parts[-1] and _PARAMETER.match(part):
                parts[-1] += "," + part
            else:
                parts.append(part)
        found += [part.strip() for part in parts if part.strip()]
    if not found or len(set(found)) < len(found):
        raise ConfigError(
            f"models {', '.join(found) or 'none'}: name at least one, and none of them twice"
        )
    return [Spec(text, *_name_and_rest(text)) for text in found]


def _name_and_rest(text: str) -> tuple[str, str]:
    name, _, rest = text.partition(":")
    return name.strip(), rest.strip()


def divided(text: str) -> list[str]:
    """Return the parts of a text between commas; those in brackets or quotes divide nothing."""
    parts, depth, quote, start = [], 0, "", 0
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
        else:
            depth += _BRACKETS.get(character, 0)
    return [*parts, text[start:]]


def duration_ms(text: str) -> int:
    """Milliseconds of a duration such as ``30s``, ``1.5h``, ``7d``; ``0`` needs no unit.

    Raises
    ------
    ValueError
        When it is none.

    Examples
    --------
    >>> duration_ms("1.5h"), duration_ms("0")
    (5400000, 0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*", text)
    if match is None or (match[2] is None and float(match[1]) != 0):
        units = ", ".join(_DURATION_MS)
        raise ValueError(f"{text!r} is no duration; write a number and one of {units}, as in 7d")
    return round(float(match[1]) * _DURATION_MS[match[2] or "ms"])


def swept_values(text: str) -> list[str]:
    """The values of ``KEY=VALUE,VALUE``; those in brackets or quotes are one.

    Raises
    ------
    ConfigError
        When there are fewer than two, or one comes twice.
    """
    texts = [each.strip() for each in divided(text.partition("=")[2]) if each.strip()]
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise ConfigError(
            f"--sweep {text!r}: write KEY=VALUE,VALUE with two values or more, none of them twice"
        )
    return texts
