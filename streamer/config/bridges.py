"""Topics of others that are read as a team has them: ``[bridges.NAME]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from streamer.config.files import Holds
from streamer.config.section import Section


class BridgeConfig(Section, frozen=True, kw_only=True):
    """A topic whose messages `streamer bridge` publishes as events or items (docs/bridge.md)."""

    topic: Annotated[str, Meta(description="its full name, on the broker of [kafka]")] = ""
    holds: Annotated[Holds, Meta(description="what its messages are")] = "events"
    map: Annotated[
        str,
        Meta(description="FIELD=PLACE,FIELD=PLACE …, as --map; `properties.sku` is in an object"),
    ] = ""
    type: Annotated[str, Meta(description='of all events; "": as the messages say')] = ""
    start: Annotated[
        Literal["earliest", "latest"],
        Meta(description="where to begin in a topic that was never read; then where it was left"),
    ] = "earliest"


DEFAULT_BRIDGES: Final[Mapping[str, BridgeConfig]] = {}
