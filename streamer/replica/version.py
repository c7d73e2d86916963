"""One state of all parameters, as a request sees it from start to end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from streamer.replica.arms import BanditView
from streamer.replica.decayed_features import DecayedView
from streamer.replica.factorized import FactorizedView
from streamer.replica.items import ItemView
from streamer.replica.tables import Tables
from streamer.replica.users import UserView
from streamer_models.factorization.factors import Factorization, factorization_of
from streamer_models.state.model import Model, model_of

K = TypeVar("K", bound=Model)

_NAME_MAX = 256
"""Bound of ``model_version`` in a message."""


@dataclass(frozen=True, slots=True)
class Version:
    """Parameters after certain commits; immutable, so readers need no lock.

    ``items``, ``users``, ``bandit`` and ``decayed`` read some of the tables in terms of their
    models; whatever else a model declares is read from ``tables``, by its readings.

    Attributes
    ----------
    model_version
        Which commits: see :func:`version_name`.
    watermark_ms
        Greatest event time applied in any partition.
    models
        Whose tables these are.
    tables
        All tables that the models declare readable.
    """

    model_version: str
    watermark_ms: int
    models: Sequence[Model]
    tables: Tables
    items: ItemView
    users: UserView
    bandit: BanditView
    decayed: DecayedView

    @classmethod
    def of(
        cls,
        name: str,
        watermark_ms: int,
        models: Sequence[Model],
        tables: Tables,
        *,
        before: Version | None,
    ) -> Version:
        """The version that follows another."""
        return cls(
            model_version=name,
            watermark_ms=watermark_ms,
            models=models,
            tables=tables,
            items=ItemView.of(tables, models),
            users=UserView.of(tables, models),
            bandit=BanditView.of(
                tables, models, watermark_ms, None if before is None else before.bandit
            ),
            decayed=DecayedView.of(tables, models),
        )

    def model(self, kind: type[K]) -> K | None:
        """The model of a kind among those whose tables these are; None where there is none."""
        return model_of(self.models, kind)

    def factors(self, kind: type[Factorization] | None = None) -> FactorizedView | None:
        """Return what a kind of factorization knows, the first without one; None without any."""
        model = factorization_of(self.models, kind)
        return None if model is None else FactorizedView.of(self.tables, model)


def version_name(versions: Mapping[int, int]) -> str:
    """Name of a version by its last commit of each partition: ``p0:123,p1:98``.

    Equal names are equal parameters, unless the store went back to an older copy between them and
    learned the same versions again. With more partitions than 256 characters can name it is
    ``sum:221,`` and a digest of the full name: then sums alone tell older from newer.

    >>> version_name({1: 98, 0: 123})
    'p0:123,p1:98'
    """
    name = ",".join(f"p{partition}:{version}" for partition, version in sorted(versions.items()))
    if len(name) <= _NAME_MAX:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return f"sum:{sum(versions.values())},{digest}"
