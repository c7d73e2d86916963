"""The configurations that users of experiments are served by: one for each combination of variants,
and those of shadow variants.

All of them read one store: what is learned, and the ranking columns, are the same in each.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from streamer.config import Config, changed, value_of
from streamer.config.experiments import VARIANTS, refusal
from streamer.config.keys import NAMED
from streamer.config.masking import toml_text
from streamer.errors import ConfigError
from streamer.model_set import build_models, learned_for, store_layout
from streamer.ranking.columns import feature_names

Settings = Mapping[str, str | int | float | bool]
"""Dotted key → value, a list as TOML writes it: as decisions log them."""


@dataclass(frozen=True, slots=True)
class Served:
    """How some users are served.

    Attributes
    ----------
    config
        Without experiments.
    variants
        Experiment → the variant that they are in; those that they take no part in are absent.
    settings
        What is in effect of the keys that any variant of any experiment changes.
    """

    config: Config
    variants: dict[str, str]
    settings: Settings


def all_served(config: Config) -> Iterator[Served]:
    """Return how users may be served, for each combination of variants; and how those are who take
    part in no experiment, as nobody does who gives no name.

    Raises
    ------
    ConfigError
        Where a variant changes what is learned or the ranking columns, or its settings contradict
        each other.
    """
    combined = list(_combined(_choices(config)))
    for chosen in combined if {} in combined else [{}, *combined]:
        yield _served(config, chosen)


def all_shadows(config: Config) -> Iterator[Served]:
    """Return how shadows are computed: each in place of its experiment's other variants, for each
    combination of those of other experiments.

    Raises
    ------
    ConfigError
        As :func:`all_served`.
    """
    for name, experiment in config.experiments.items():
        for chosen in _combined(_choices(config) | {name: [*experiment.shadows]}):
            yield _served(config, chosen)


def _choices(config: Config) -> dict[str, list[str | None]]:
    """Return what a user may be in: a variant of each experiment, or none of it."""
    return {
        name: [*([None] if each.share < 1 else []), *each.served]
        for name, each in config.experiments.items()
    }


def _combined(choices: Mapping[str, Sequence[str | None]]) -> Iterator[dict[str, str]]:
    """Return all ways to choose a variant of each experiment, or none where that is a choice."""
    for combination in itertools.product(*choices.values()):
        chosen = zip(choices, combination, strict=True)
        yield {name: variant for name, variant in chosen if variant is not None}


def served_to(config: Config, user_id: str) -> Served:
    """Return how a user is served.

    Raises
    ------
    ConfigError
        As :func:`all_served`.
    """
    return _served(config, variants_of(config, user_id))


def variants_of(config: Config, user_id: str) -> dict[str, str]:
    """Return the variant of a user by experiment, of those that the user takes part in."""
    found = ((name, each.variant_of(name, user_id)) for name, each in config.experiments.items())
    return {name: variant for name, variant in found if variant is not None}


def with_settings(config: Config, settings: Mapping[str, object]) -> Config:
    """Return the configuration by which a logged slate was made.

    Parameters
    ----------
    settings
        As the decision logged them.

    Raises
    ------
    ConfigError
        Where they can't be set now, or other parameters would be learned with them.
    """
    return _check(replace(config, experiments={}), settings, origin="a logged decision")


def tried(config: Config, settings: Mapping[str, object]) -> Config:
    """Return how users would be served with some settings changed.

    Parameters
    ----------
    config
        How they are served, of :class:`Served`.
    settings
        Dotted key → value, as text or as it is; what a variant of an experiment could change.

    Raises
    ------
    ConfigError
        Where there is none, or one that does not only serve.
    """
    if not settings:
        raise ConfigError("no setting to try; name one, such as slate.diversity = 0.3")
    found = changed(config, settings, origin="settings to try")
    refused = ((key, why) for key in settings if (why := refusal(key)) is not None)
    fault = next(refused, None) or _fault(config, found, settings)
    if fault is not None:
        raise ConfigError(f"{fault[0]} can't be tried: {fault[1]}")
    return found


def _served(config: Config, variants: dict[str, str]) -> Served:
    of_each = {
        f"experiments.{name}.{VARIANTS}.{variant}": config.experiments[name].variants[variant]
        for name, variant in variants.items()
    }
    given = {key: value for each in of_each.values() for key, value in each.settings.items()}
    found = _check(replace(config, experiments={}), given, origin=" with ".join(of_each))
    keys = {
        key
        for experiment in config.experiments.values()
        for each in experiment.variants.values()
        for key in each.settings
    }
    return Served(found, variants, in_effect(found, sorted(keys)))


def _check(base: Config, given: Mapping[str, object], *, origin: str) -> Config:
    """Return the configuration with some keys changed, if it reads the same store."""
    if not given:
        return base
    found = changed(base, given, origin=origin)
    fault = _fault(base, found, given)
    if fault is None:
        return found
    key, why = fault
    raise ConfigError(f"{origin}.{key}: a variant can't change {key}: {why}")


def _fault(base: Config, found: Config, given: Mapping[str, object]) -> tuple[str, str] | None:
    """Return which keys keep two configurations from reading one store, and why; None: none."""
    why = _other_store(base, found)
    if why is None:
        return None
    key = next(
        (key for key in given if _changes_store(base, key, given[key])), " with ".join(given)
    )
    return key, why


def _changes_store(base: Config, key: str, value: object) -> bool:
    """Whether a key alone is at fault."""
    try:
        return _other_store(base, changed(base, {key: value})) is not None
    except ConfigError:  # it needs another one beside it
        return False


def _other_store(base: Config, found: Config) -> str | None:
    """Return why two configurations can't read the same store; None: they can."""
    columns, of_base = feature_names(found), feature_names(base)
    if columns != of_base:
        differing = sorted({*columns} ^ {*of_base}) or columns
        return (
            f"the ranking columns would be others ({', '.join(differing[:3])}), and one model is"
            " learned of all variants"
        )
    layouts = [store_layout(each, build_models(each)) for each in (base, found)]
    before, after = (each.generations[0].models for each in layouts)
    if before == after and layouts[0].fixed == layouts[1].fixed:
        return None
    parts = learned_for(base) | learned_for(found)
    otherwise = {parts[name] for name in before | after if before.get(name) != after.get(name)}
    of_what = f"for {' and '.join(sorted(otherwise))}" if otherwise else "within other bounds"
    return f"the learner would learn otherwise {of_what}, so its variants would need a store each"


def in_effect(config: Config, keys: Iterable[str]) -> Settings:
    """Return values of settings; a table with a free name that is not there has none."""
    found: dict[str, str | int | float | bool] = {}
    for key in keys:
        section = key.partition(".")[0]
        if section in NAMED:
            shown = NAMED[section].shown(getattr(config, section))
            if key not in shown:
                continue
            value = shown[key]
        else:
            value = value_of(config, key)
        found[key] = value if isinstance(value, str | int | float | bool) else toml_text(value)
    return found
