"""A user's slate as it is, beside the one that other settings would make."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from streamer.catalogue.catalogue import Catalogue
from streamer.config.masking import toml_text
from streamer.events import RecommendedItem, Request
from streamer.ranking.known_features import NOTHING_KNOWN, FeatureSource
from streamer.ranking.reads import fields_read, unread_of_items
from streamer.ranking.variants import in_effect
from streamer.replica.version import Version
from streamer.scorer.funnel import Funnel
from streamer.scorer.replies import slate_items


@dataclass(frozen=True, slots=True)
class ShownSlate:
    """What a user would see.

    Attributes
    ----------
    settings
        In effect, of those that are tried; None: of a table that is not there, or says nothing.
    items
        In order; scores are expected rewards.
    why_empty
        What emptied it, in words.
    """

    settings: Mapping[str, str | int | float | bool | None]
    items: Sequence[RecommendedItem]
    why_empty: str | None

    @property
    def expected(self) -> float | None:
        """Mean expected reward of a place; None where there is none."""
        return fmean(item.score for item in self.items) if self.items else None

    def place_of(self, item_id: str) -> int | None:
        """Return the place of an item, from 1; None: it is not in it."""
        return next((item.rank + 1 for item in self.items if item.item_id == item_id), None)


@dataclass(frozen=True, slots=True)
class SlateChange:
    """A slate with and without a change of settings, of one version.

    Attributes
    ----------
    now, then
        As it is, and as it would be with the settings.
    unread
        What the settings read that no item has, in sentences.
    """

    user_id: str
    model_version: str
    now: ShownSlate
    then: ShownSlate
    unread: Sequence[str] = ()

    def said(self) -> str:
        """Return what becomes of the slate, in a sentence."""
        before = {item.item_id: item.rank for item in self.now.items}
        after = {item.item_id: item.rank for item in self.then.items}
        both = before.keys() & after.keys()
        n_moved = sum(before[item_id] != after[item_id] for item_id in both)
        counts = (
            (len(after) - len(both), "came in"),
            (len(before) - len(both), "went out"),
            (n_moved, "moved"),
            (len(both) - n_moved, "stayed"),
        )
        return ", ".join(f"{n} {word}" for n, word in counts)

    def becomes(self, item_id: str) -> str:
        """Return the place that an item has with the settings, or ``out``."""
        return str(self.then.place_of(item_id) or "out")

    def was(self, item_id: str) -> str:
        """Return the place that an item has now, or ``new``."""
        return str(self.now.place_of(item_id) or "new")

    def changes(self) -> Iterator[tuple[str, str, str]]:
        """Yield each setting with its value before and after, in words."""
        for key, before in self.now.settings.items():
            yield key, _word(before), _word(self.then.settings[key])


def slate_change(
    request: Request,
    funnel: Funnel,
    other: Funnel,
    keys: Collection[str],
    version: Version,
    catalogue: Catalogue,
    *,
    known: FeatureSource = NOTHING_KNOWN,
) -> SlateChange:
    """Draw the slate of a request by two funnels, from the same version and the same seed.

    Parameters
    ----------
    keys
        Of the settings in which they differ.
    """

    def shown(by: Funnel) -> ShownSlate:
        slate = by.recommend(request, version, catalogue, known=known)
        settings = in_effect(by.config, keys)
        return ShownSlate(
            {key: settings.get(key) for key in keys}, slate_items(slate), slate.why_empty
        )

    before = fields_read([funnel.config])
    tried = [each for each in fields_read([other.config]) if each not in before]
    unread = [*unread_of_items(tried, catalogue.described)] if len(catalogue) else []
    return SlateChange(request.user_id, version.model_version, shown(funnel), shown(other), unread)


def _word(value: str | float | None) -> str:
    return "not set" if value is None else value if isinstance(value, str) else toml_text(value)
