"""The funnels that users of experiments are served by."""

from __future__ import annotations

from collections.abc import Mapping

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.ranking.variants import all_served, tried, variants_of
from streamer.scorer.funnel import Funnel
from streamer.scorer.policy.choice import SlatePolicy


class Variants:
    """A funnel for each combination of variants that users may be in.

    Each remembers what it solved, so memory and the time after each commit grow with their number.

    Parameters
    ----------
    config
        With its experiments.
    policy
        Of all funnels; by default that of each one's configuration.

    Raises
    ------
    ConfigError
        Where a variant can't be served beside the others.
    """

    def __init__(self, config: Config, *, policy: SlatePolicy | None = None) -> None:
        self._config = config
        self._funnels = {
            tuple(served.variants.items()): Funnel(
                served.config,
                policy=policy,
                variants=served.variants,
                settings=served.settings,
            )
            for served in all_served(config)
        }

    def prepare(self, catalogue: Catalogue) -> None:
        """Make the columns of a catalogue that rules read, so that no request waits for them."""
        for funnel in self._funnels.values():
            funnel.prepare(catalogue)

    def of(self, user_id: str) -> Funnel:
        """Return the funnel that a user is served by."""
        return self._funnels[tuple(variants_of(self._config, user_id).items())]

    def tried(self, user_id: str, settings: Mapping[str, object]) -> Funnel:
        """Return the funnel that a user would be served by with some settings changed; any thread.

        Raises
        ------
        ConfigError
            As :func:`streamer.ranking.variants.tried`.
        """
        return Funnel(tried(self.of(user_id).config, settings))
