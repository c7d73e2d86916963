"""Topics of others that are read as a team has them: ``[bridges.NAME]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta

from streamer.config.files import Holds
from streamer.config.section import Section


class BridgeConfig(Section, frozen=True, kw_only=True):
    """A topic that `streamer bridge` publishes as events, items or users (docs/bridge.md)."""

    topic: Annotated[str, Meta(description="its full name, on the broker of [kafka]")] = ""
    holds: Annotated[Holds, Meta(description="what its messages are")] = "events"
    format: Annotated[
        Literal["json", "avro", "protobuf"],
        Meta(description="how they are written; avro and protobuf: with a schema of [registry]"),
    ] = "json"
    descriptors: Annotated[
        str,
        Meta(
            description="of protobuf, a file of `protoc --include_imports --descriptor_set_out`,"
            " in the place of a registry"
        ),
    ] = ""
    message: Annotated[
        str, Meta(description="full name of the message in `descriptors`, as shop.v1.Order")
    ] = ""
    map: Annotated[
        str,
        Meta(description="FIELD=PLACE,FIELD=PLACE …, as --map; `properties.sku` is in an object"),
    ] = ""
    type: Annotated[str, Meta(description='of all events; "": as the messages say')] = ""
    start: Annotated[
        Literal["earliest", "latest"],
        Meta(description="where to begin in a topic that was never read; then where it was left"),
    ] = "earliest"


def bridge_problems(bridge: BridgeConfig, *, has_registry: bool) -> Iterator[tuple[str, str]]:
    """Yield (field, problem) of what a bridge's format lacks, or has too much."""
    if bool(bridge.descriptors) != bool(bridge.message):
        missing = "message" if bridge.descriptors else "descriptors"
        yield missing, "descriptors and message go together; give both, or neither"
    if bridge.descriptors and bridge.format != "protobuf":
        yield "descriptors", f"they are of protobuf, and the format is {bridge.format}"
    if bridge.format != "json" and not (has_registry or bridge.descriptors):
        yield (
            "format",
            f"{bridge.format} needs schemas; set registry.url"
            + (", or descriptors and message" if bridge.format == "protobuf" else ""),
        )


DEFAULT_BRIDGES: Final[Mapping[str, BridgeConfig]] = {}
