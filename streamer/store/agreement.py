"""A store and a configuration agree on what is learned from now on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from streamer.errors import LayoutMismatch, StoreError, TopicMismatch, damaged
from streamer.protocols import Generation, Layout, ModelSettings, ParameterStore
from streamer.store.layout import encode_layout
from streamer.store.refusals import check_whole
from streamer_models.state.table import TableSpec

log = logging.getLogger(__name__)

_SAID_MAX: Final = 20
"""Differences that are said one by one."""
_LINE_MAX: Final = 1_000
"""Characters of all differences that are said together."""
_TEXT_MAX: Final = 80
"""Characters of a value that are said: whole ones are in the layout of the store."""
_ATTEMPTS: Final = 20
"""Processes that start together write one after the other."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not what it was; None stands for one that is not there."""

    key: str
    stored: Any
    asked: Any

    def __str__(self) -> str:
        return f"{self.key} is {_text(self.stored)}, asked for {_text(self.asked)}"


def _has_commits(store: ParameterStore) -> bool:
    """Whether a store without a layout is more than empty. One that got its layout since is not
    without: somebody else has begun."""
    return bool(store.versions()) and store.layout() is None


def agree(store: ParameterStore, asked: Layout, *, may_change: bool) -> Layout:
    """Return the store's layout, after it was brought to the asked settings.

    An empty store takes what is asked. Else, where settings differ that can change, a new
    generation is added: models with other settings begin anew, the others go on.

    Parameters
    ----------
    asked
        Of one generation.
    may_change
        False for readers: they write into an empty store alone, and leave a generation to the
        learner.

    Raises
    ------
    LayoutMismatch
        Where the store can't go on under these settings: with each key, the stored and the asked
        value, and the remedy.
    TopicMismatch
        Where a topic was made anew since it was learned. A store that has no id of a topic takes
        the one asked for.
    StoreError
        Where a store without settings holds commits, or is a copy that is not finished.
    """
    for _ in range(_ATTEMPTS):
        stored = store.layout()
        if stored is None and _has_commits(store):
            raise damaged(
                f"the store has commits of partitions {sorted(store.versions())}, but not the"
                " settings that they were learned with"
            )
        if stored is not None:
            check_whole(stored)
        layout = asked if stored is None else _continued(stored, asked)
        if stored is not None and (layout == stored or not may_change):
            return stored
        if store.replace_layout(layout, expected=stored):
            if stored is not None and layout.newest > stored.newest:
                began = [
                    name
                    for name, model in layout.generations[-1].models.items()
                    if model.since == layout.newest
                ]
                log.warning(
                    "settings_changed",
                    extra={
                        "generation": layout.newest,
                        "models_that_begin_anew": began,
                        "changes": in_words(differences(stored, asked)),
                    },
                )
            return layout
    raise StoreError(
        f"the layout of the store was written by others at each of {_ATTEMPTS} attempts; give all"
        " processes the same configuration and start them again"
    )


def differences(stored: Layout, asked: Layout) -> list[Difference]:
    """Return the settings in which the asked generation is not the newest stored one.

    A setting of a model that changed as a key of the configuration did is said by this key alone,
    and tables that changed with it are not said.
    """
    before, after = stored.generations[-1], asked.generations[-1]
    found = list(_differing("", before.learner, after.learner))
    keys = [*found, *_differing("", before.config, after.config)]
    of_models: list[Difference] = []
    for name in dict.fromkeys((*before.models, *after.models)):
        ours, theirs = before.models.get(name), after.models.get(name)
        settings = _differing(f"{name}.", _settings(ours), _settings(theirs))
        tables = _differing(f"{name}.", _tables(ours), _tables(theirs))
        said = [(each, [key for key in keys if _is_same(key, each)]) for each in settings]
        found += [key for _, same in said for key in same if key not in found]
        own = [each for each, same in said if not same]
        of_models += [*own, *tables] if own or not said else own
    return [*found, *of_models]


def in_words(differences: Sequence[Difference]) -> list[str]:
    """Return what differs, a text each; of many the first ``_SAID_MAX``, or as many as make
    ``_LINE_MAX`` characters, and how many more."""
    said = [str(each) for each in differences[:_SAID_MAX]]
    while len(said) > 1 and sum(map(len, said)) > _LINE_MAX:
        said.pop()
    n_more = len(differences) - len(said)
    return [*said, f"and {n_more:,} more"] if n_more else said


def goes_on(stored: Layout | None, asked: Layout) -> bool:
    """Return whether a store goes on under the asked settings as it is."""
    try:
        if stored is None:
            return False
        check_whole(stored)
        return _continued(stored, asked) == stored
    except (StoreError, TopicMismatch):
        return False


def with_topics_of(layout: Layout, other: Layout) -> Layout:
    """Return a layout with the ids of topics that another one knows, too.

    Raises
    ------
    TopicMismatch
        Where they know other ids of one topic.
    """
    return replace(layout, topic_ids=_same_topics(layout.topic_ids, other.topic_ids))


def became(earlier: Layout, later: Layout) -> bool:
    """Return whether a layout is another one with generations that were added, or none; ids of
    topics are not compared."""
    cut = replace(
        later,
        tables=later.tables[: len(earlier.tables)],
        generations=later.generations[: len(earlier.generations)],
        topic_ids=earlier.topic_ids,
    )
    return encode_layout(cut) == encode_layout(earlier)


def _continued(stored: Layout, asked: Layout) -> Layout:
    """The stored layout, with one more generation where the asked settings are not the newest."""
    fixed = list(_differing("", stored.fixed, asked.fixed))
    if stored.n_partitions != asked.n_partitions and not fixed:
        fixed = [Difference("n_partitions", stored.n_partitions, asked.n_partitions)]
    if fixed:
        raise LayoutMismatch(
            f"the store can't go on with other settings of this kind: {'; '.join(map(str, fixed))}."
            f" Set {', '.join(each.key for each in fixed)} back, or use an empty store (another"
            " store.url or store.key_prefix), or empty this one with `streamer store rebuild`, and"
            " learn again from the topics"
        )
    topic_ids = _same_topics(stored.topic_ids, asked.topic_ids)
    before, after = stored.generations[-1], asked.generations[-1]
    since = len(stored.generations)
    models = {
        name: replace(model, since=_since(before.models.get(name), model, since))
        for name, model in after.models.items()
    }
    if models == before.models and after.learner == before.learner:
        return stored if topic_ids == stored.topic_ids else replace(stored, topic_ids=topic_ids)
    generation = replace(after, models=models)
    wanted = (*asked.tables[: len(asked.tables) - _n_tables(after)], *generation.stored_tables)
    known = {spec.name for spec in stored.tables}
    new = tuple(spec for spec in wanted if spec.name not in known)
    return replace(
        stored,
        tables=(*stored.tables, *new),
        generations=(*stored.generations, generation),
        topic_ids=topic_ids,
    )


def _same_topics(stored: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    """Return all ids that are known, where no topic has another one than the store was learned
    from."""
    for topic, found in asked.items():
        if stored.get(topic, found) != found:
            raise TopicMismatch(
                f"topic {topic} was deleted and made anew since the store was learned from it (its"
                f" id is {found}, it was {stored[topic]}), so the offsets in the store are of other"
                " messages: `streamer store rebuild` forgets what was learned, to learn the new"
                " topic from its first message; or name the broker and the topic that the store was"
                " learned from"
            )
    return {**stored, **asked}


def _since(before: ModelSettings | None, asked: ModelSettings, newest: int) -> int:
    same = before is not None and replace(asked, since=before.since) == before
    return before.since if before is not None and same else newest


def _n_tables(generation: Generation) -> int:
    return sum(len(model.tables) for model in generation.models.values())


def _settings(model: ModelSettings | None) -> Mapping[str, Any]:
    return {} if model is None else model.settings


def _tables(model: ModelSettings | None) -> Mapping[str, Any]:
    if model is None:
        return {}
    return {f"table {spec.name}": _spec_words(spec) for spec in model.tables}


def _is_same(key: Difference, of_model: Difference) -> bool:
    """Return whether a key changed by what a setting of a model did: where both were there, from
    the same value to the same value. Units stand last in names."""
    stored, asked = (_in_ms(of_model.key, each) for each in (of_model.stored, of_model.asked))
    if stored is None or asked is None:
        return False
    return bool(_in_ms(key.key, key.stored) == stored and _in_ms(key.key, key.asked) == asked)


def _in_ms(key: str, value: Any) -> Any:
    """Return a value as it is, of a key in seconds in milliseconds."""
    if isinstance(value, list):
        return [_in_ms(key, each) for each in value]
    return 1000 * value if key.endswith("_s") and isinstance(value, float) else value


def _spec_words(spec: TableSpec) -> str:
    return f"{spec.merge} {spec.dtype} × {spec.width} by {spec.entity}"


def _differing(
    prefix: str, stored: Mapping[str, Any], asked: Mapping[str, Any]
) -> Iterator[Difference]:
    for key in dict.fromkeys((*stored, *asked)):
        if stored.get(key) != asked.get(key):
            yield Difference(f"{prefix}{key}", stored.get(key), asked.get(key))


def _text(value: Any) -> str:
    if value is None:
        return "absent"
    text = msgspec.json.encode(value).decode()
    if len(text) <= _TEXT_MAX:
        return text
    n_values = f"{len(value):,} values" if isinstance(value, list) else f"{len(text):,} characters"
    return f"{text[:_TEXT_MAX]}… ({n_values})"
