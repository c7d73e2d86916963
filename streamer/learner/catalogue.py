"""The catalogue as a learner knows it: up to offsets that are recorded with each commit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Self

from streamer.catalogue.content import NOTHING_LEARNED, CatalogueContent
from streamer.config import CatalogueConfig
from streamer.errors import KafkaError
from streamer.protocols import ItemsReader
from streamer_models.state.inputs import Inputs

log = logging.getLogger(__name__)


class LearnedCatalogue:
    """Follows the items topic between the steps of a learner.

    While the broker does not answer, it goes on with what it has.

    Parameters
    ----------
    config
        What is learned of items; nothing: the topic is not followed.
    reader
        Of the items topic; None: nothing is ever said.
    """

    def __init__(self, config: CatalogueConfig, reader: ItemsReader | None) -> None:
        self._catalogue = CatalogueContent(config)
        self._reader = reader if self._catalogue.is_learned else None
        self._fails = False

    @classmethod
    def empty(cls) -> Self:
        """Return one that nothing is said of."""
        return cls(NOTHING_LEARNED, None)

    @property
    def inputs(self) -> Inputs:
        """What models are given of items: it is what is known now, whenever it is looked at."""
        return self._catalogue.inputs

    @property
    def gone(self) -> Sequence[str]:
        """Ids of the items that are deleted now."""
        return list(self._catalogue.gone)

    @property
    def n_gone(self) -> int:
        """Deletions so far."""
        return self._catalogue.n_gone

    @property
    def offsets(self) -> dict[int, int]:
        """Partition of the topic → next offset, of what is known now."""
        return dict(self._catalogue.offsets)

    def load(self) -> None:
        """Take the topic up to its present end.

        Raises
        ------
        KafkaError
            When the broker does not answer.
        """
        if self._reader is not None:
            self._catalogue.load(self._reader)

    def follow(self) -> None:
        """Take all that came since."""
        if self._reader is None:
            return
        try:
            self._catalogue.follow(self._reader)
            self._fails = False
        except KafkaError as error:
            if not self._fails:
                log.warning("items_unavailable", extra={"reason": str(error)})
            self._fails = True
