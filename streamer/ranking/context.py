"""Everything that is known of a request while it is answered."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.catalogue import Catalogue
from streamer.events import Request
from streamer.events.messages import ANYBODY
from streamer.events.pages import unpacked_keys
from streamer.events.profiles import NO_PROFILE, Profile
from streamer.ranking.asked import ComesAgain, FoundOnce, barred
from streamer.ranking.features import Logged
from streamer.ranking.known_features import NOTHING_KNOWN, FeatureSource
from streamer.ranking.rules.rules import Ruled, Rules
from streamer.replica.items import ItemView
from streamer.replica.tables import Tables
from streamer.replica.version import Version
from streamer_models.state.ids.id_table import id_key, keys_of
from streamer_models.state.items.item_embeddings import ItemEmbeddings
from streamer_models.state.items.item_tokens import ItemTokens
from streamer_models.state.table import Keys, Slots


@dataclass(frozen=True, slots=True)
class RequestContext(FoundOnce):
    """Who asks, when, and the one version of the parameters that the answer is made from.

    Attributes
    ----------
    user_row, seen
        Row of the user, -1 where there is none, and the items last met, the newest first. What
        visitors without a name met is no history of the one who asks, who is known by nothing.
    profile
        What the user says of themselves.
    barred
        Keys of those of them that are not to be recommended again.
    at_ms
        Time that counts are read at.
    seed
        Of every random draw, 63 bits; a function of the request_id.
    known
        What the features topic says.
    logged
        Of a decision that is made again: what the topic said then is taken from it.
    ruled
        What rules and the request's filter say of the items; None where there are none.
    """

    request: Request
    version: Version
    catalogue: Catalogue
    user_row: int
    seen: Keys
    barred: Keys
    at_ms: int
    seed: int
    profile: Profile = NO_PROFILE
    known: FeatureSource = NOTHING_KNOWN
    logged: Logged | None = None
    ruled: Ruled | None = None
    _found: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def user_id(self) -> str | None:
        """Id of the user; None: a visitor without a name."""
        return None if self.request.user_id == ANYBODY else self.request.user_id

    @property
    def tables(self) -> Tables:
        """Tables of the version."""
        return self.version.tables

    @property
    def item_keys(self) -> Keys:
        """Keys of items by row."""
        return self.items.keys

    @property
    def item_tokens(self) -> ItemTokens:
        """What the catalogue says of items."""
        return self.catalogue.tokens

    @property
    def item_embeddings(self) -> ItemEmbeddings:
        """Embeddings that the catalogue gives of items."""
        return self.catalogue.embeddings

    def item_rows(self, keys: Keys) -> Slots:
        """``(n,)`` rows of items, -1 where absent."""
        return self.items.map.find(keys)

    @property
    def items(self) -> ItemView:
        """Items of the version."""
        return self.version.items

    def seeds(self) -> Keys | None:
        """Keys of the items that the slate is to go with; None: with what the user met last."""
        asked = self.request.seed_items
        return keys_of(list(dict.fromkeys(asked))) if asked else None

    def last(self) -> Keys:
        """Keys of what the slate goes with: the seeds, or what the user met last."""
        seeds = self.seeds()
        return self.seen if seeds is None else seeds

    def excluded(self) -> Keys:
        """Return keys of items that are barred to the user, that the slate is to go with, that the
        request excludes or pins, or that the pages before show."""
        asked = [*(self.request.exclude or ()), *(self.request.seed_items or ())]
        asked += [pin.item_id for pin in self.request.pinned or ()]
        excluded = np.concatenate([self.barred, keys_of(asked)]) if asked else self.barred
        if not self.request.after:
            return excluded
        return np.concatenate([excluded, unpacked_keys(self.request.after)])

    def raised(self, keys: Keys) -> NDArray[np.float64] | None:
        """``(n,)`` by how many standard deviations rules boost items; None: none of them."""
        return None if self.ruled is None else self.ruled.raised(keys)

    def may_be_shown(self, keys: Keys) -> NDArray[np.bool_]:
        """``(n,)`` whether items without parameters may be in the slate."""
        kept_out: Keys = self.once("kept out", self._kept_out)
        at = np.minimum(kept_out.searchsorted(keys), len(kept_out) - 1)
        shown: NDArray[np.bool_] = ~(self.catalogue.blocked(keys) | (kept_out[at] == keys))
        if self.request.candidates:
            shown &= np.isin(keys, self.named())
        if self.ruled is not None:
            shown &= ~self.ruled.out[self.catalogue.columns.slots(keys)]
        return shown

    def new_ids(self, keys: Keys) -> Sequence[str]:
        """Ids of items of the catalogue or among the request's candidates; empty of others."""
        columns = self.catalogue.columns
        found = [columns.ids[slot] for slot in columns.slots(keys).tolist()]
        if self.request.candidates and not all(found):
            named = dict(zip(self.named().tolist(), self.request.candidates, strict=True))
            found = [
                each or named.get(key, "") for each, key in zip(found, keys.tolist(), strict=True)
            ]
        return found

    def named(self) -> Keys:
        """Keys of the candidates that the request names."""
        return self.once("named", lambda: keys_of(self.request.candidates or ()))

    def _kept_out(self) -> Keys:
        """Rising, and 0 first, which is the key of no item: there is one at least."""
        nothing = np.zeros(1, dtype=np.uint64)
        kept_out = [nothing, self.excluded(), self.catalogue.not_out(self.at_ms)]
        return np.sort(np.concatenate(kept_out))


def request_context(
    request: Request,
    version: Version,
    catalogue: Catalogue,
    *,
    known: FeatureSource = NOTHING_KNOWN,
    logged: Logged | None = None,
    comes_again: ComesAgain | None = None,
    rules: Rules | None = None,
) -> RequestContext:
    """Return the context of a request that is answered from ``version``.

    Parameters
    ----------
    comes_again
        When what the user met may be recommended again; None: never.
    rules
        Of the configuration; None: none, nor is the request's filter looked at.

    Raises
    ------
    BadMessage
        Where the request's filter can't be answered.
    """
    users, key = version.users, id_key(request.user_id.encode())
    user_row = -1 if request.user_id == ANYBODY else users.map.find_one(key)
    profile = users.profile(key)
    at_ms = max(request.ts, version.watermark_ms)
    seen = users.history(user_row)
    return RequestContext(
        request=request,
        version=version,
        catalogue=catalogue,
        user_row=user_row,
        seen=seen,
        barred=(
            users.not_again(user_row)
            if comes_again is None
            else barred(seen, users.history_ms(user_row), at_ms, comes_again)
        ),
        at_ms=at_ms,
        seed=id_key(request.request_id.encode()) >> 1,  # messages hold 63 bits
        profile=profile,
        known=known,
        logged=logged,
        ruled=None if rules is None else rules.of(request, profile, catalogue, at_ms),
    )


def context_texts(request: Request) -> dict[str, str]:
    """Fields of a request's context as text (numbers and booleans as JSON spells them), and its
    ``surface``."""
    texts = {
        field: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for field, value in (request.context or {}).items()
    }
    if request.surface is not None:
        texts["surface"] = request.surface
    return texts
