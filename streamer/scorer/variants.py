"""The funnels that users of experiments are served by, and those of shadow variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamer.catalogue.catalogue import Catalogue
from streamer.config import Config
from streamer.ranking.variants import all_served, all_shadows, tried, variants_of
from streamer.scorer.funnel import Funnel
from streamer.scorer.policy.choice import SlatePolicy


class Variants:
    """A funnel for each combination of variants that users may be in, and for each shadow beside
    each combination of other experiments' variants.

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
            for served in (*all_served(config), *all_shadows(config))
        }

    def prepare(self, catalogue: Catalogue) -> None:
        """Make the columns of a catalogue that rules read, so that no request waits for them."""
        for funnel in self._funnels.values():
            funnel.prepare(catalogue)

    @property
    def configs(self) -> list[Config]:
        """How users and shadows are served, each in its turn."""
        return [funnel.config for funnel in self._funnels.values()]

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

    def shadows_of(
        self, request_id: str, variants: Mapping[str, str]
    ) -> Iterator[tuple[str, str, Funnel]]:
        """Yield experiment, shadow variant and funnel of what is computed for a slate.

        Parameters
        ----------
        variants
            That the slate was served by.
        """
        for name in variants:
            for shadow in self._config.experiments[name].shadows_of(name, request_id):
                yield name, shadow, self._funnels[tuple({**variants, name: shadow}.items())]
