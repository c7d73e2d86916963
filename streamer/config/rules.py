"""What may be recommended, as the configuration has it: ``[rules.NAME]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final

from msgspec import Meta

from streamer.config.section import Section
from streamer.expressions.reading import LENGTH_MAX, read
from streamer.expressions.syntax import BadExpression

Expression = Annotated[
    str,
    Meta(
        max_length=LENGTH_MAX,
        examples=["'adult' in item.categories", "now_ms - item.created_ts < 3600000"],
    ),
]


class RuleConfig(Section, frozen=True, kw_only=True):
    """What may be recommended: expressions in CEL over an item and the request (docs/rules.md)."""

    exclude: Annotated[
        Expression, Meta(description='items for which this is true are left out; "": none')
    ] = ""
    only: Annotated[
        Expression,
        Meta(
            description='items are left out for which this is not true, or can\'t be said; "": none'
        ),
    ] = ""
    boost: Annotated[
        float,
        Meta(
            ge=-100,
            le=100,
            description="how far items move up for which `when` is true, in standard deviations of"
            " what is expected of the candidates; below 0: down (buried)",
        ),
    ] = 0.0
    when: Annotated[
        Expression, Meta(description='the items that are boosted or buried; "": none')
    ] = ""


DEFAULT_RULES: Final[Mapping[str, RuleConfig]] = {}


def rule_problems(name: str, rule: RuleConfig) -> Iterator[tuple[str, str]]:
    """Return the keys of a rule that are wrong, and why."""
    if rule == RuleConfig():
        yield f"rules.{name}.exclude", "the rule says nothing; give it exclude, only, or boost"
    if bool(rule.boost) != bool(rule.when):
        yield f"rules.{name}.when", "a boost needs boost and when; give both"
    for field in ("exclude", "only", "when"):
        text = getattr(rule, field)
        try:
            if text:
                read(text)
        except BadExpression as error:
            yield f"rules.{name}.{field}", f"{text!r}: {error}"
