"""One recall channel as one of an experiment's models: ``channel:NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.catalogue.content import CatalogueContent
from streamer.config import Config
from streamer.errors import ConfigError
from streamer.events import check_embedding
from streamer.learner.practice.own_tables import OwnTables
from streamer.learner.practice.practice import Practice
from streamer.model_set import recall_models
from streamer.ranking.recall.blend import BlendChannel
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer.ranking.recall.registry import channels_on, measuring_on, registered
from streamer.replay.baselines.one_partition import OnePartition
from streamer.replay.funnel_model import funnel_config
from streamer.replay.interactions import Interaction
from streamer_models.state.table import ITEM


def channel_config(config: Config, name: str, given: Mapping[str, object], *, seed: int) -> Config:
    """Return a configuration with one channel on; all that have measures, if it brings nothing.

    Parameters
    ----------
    given
        Keys with values that are changed.

    Raises
    ------
    ConfigError
        When no channel with measures has this name, or it is off.
    """
    measuring = measuring_on(config)
    chosen = next((each for each in registered() if each.name == name), None)
    brings = chosen is not None and chosen.settings_of(config).candidates
    flags = dict(given)
    for channel in registered():
        if channel.name not in ({name} if brings else measuring):
            flags |= channel.off()
    changed = funnel_config(config, flags, seed=seed, n_partitions=1)
    if name not in measuring_on(changed):
        raise ConfigError(
            f"channel {name!r} is unknown, off, or has no measures to rank by; choose one of"
            f" {', '.join(measuring) or 'none'}"
        )
    return changed


class ChannelAlone(OnePartition):
    """Candidates of a channel by its own measures, as the learner and the scorer ask it.

    It learns what it reads through the live code, and is asked as practice asks it, which gives to
    the bit what the scorer would see. Candidates stand in the order of a blend that has no other
    measures and has learned nothing: by ``Σ ln(1 + share)``, or by the score. A channel that brings
    no candidates orders those of the other channels with measures.

    Parameters
    ----------
    config
        Of :func:`channel_config`.
    name
        Of the channel.
    """

    def __init__(self, config: Config, name: str) -> None:
        super().__init__(recall_models(config))
        self._practice = Practice(config)
        channel = next(each for each in channels_on(config) if each.name == name)
        assert isinstance(channel, MeasuringChannel)
        self._blend = BlendChannel(config)
        self._blend.beside([channel])
        self._tables = OwnTables(self.state)
        self._catalogue = CatalogueContent(config.catalogue)
        self._inputs = replace(self._catalogue.inputs, feedback=self._batch)
        self._n_numbers = config.catalogue.embedding
        self._scores: NDArray[np.float64] = np.zeros(1_024)
        self._logits: NDArray[np.float64] | None = None

    def learn(self, interaction: Interaction) -> None:
        """Learn one event, and before it what the catalogue says of its item."""
        if interaction.item is not None and interaction.item_row >= self.state.items.n_slots:
            check_embedding(interaction.item, self._n_numbers)
            self._catalogue.put(interaction.item)
        super().learn(interaction)

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.floating[Any]]:
        """Logits of the candidates; -inf for an item that is none."""
        state, blend = self.state, self._blend
        n_rows = len(state.shared.ids[ITEM].keys)
        if n_rows > len(self._scores):
            self._scores = np.zeros(2 * n_rows)
        scores = self._scores
        scores[:n_rows] = -np.inf
        asked = self._practice.asked(user_row, ts_ms, self._tables, state, self._inputs)
        candidates = self._practice.candidates(asked)
        if len(candidates):
            assert blend.model is not None
            untaught = blend.model.merged_weights(None)
            columns = blend.measured(asked, candidates)
            scores[candidates.rows] = untaught.scores(columns, blend.who(asked))
        self._logits = scores[state.item_rows[:n_items]]
        return self._logits

    def logits(self) -> NDArray[np.float64] | None:
        """The scores: those of a blend, though it learned nothing."""
        return self._logits
