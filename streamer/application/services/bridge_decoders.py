"""Decoders of bridges, and the schema registry that they ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamer.application.starting import wait_for
from streamer.bridge.decoder import Decoder, JsonDecoder, Schemas
from streamer.config import Config
from streamer.config.bridges import BridgeConfig
from streamer.errors import BadMessage, ConfigError
from streamer.kafka.connection import Stopping, check_stopping
from streamer.protocols import RegisteredSchema

if TYPE_CHECKING:
    from streamer.kafka.schema_registry import SchemaRegistry


def opened_registry(config: Config, bridges: Iterable[BridgeConfig]) -> SchemaRegistry | None:
    """Return the registry that bridges ask, which was asked nothing yet; None: none of them does.

    Raises
    ------
    ConfigError
        Where the packages of the extra ``registry`` are missing, or an option is none.
    """
    if not any(each.format != "json" and not each.descriptors for each in bridges):
        return None
    try:
        from streamer.kafka.schema_registry import SchemaRegistry
    except ImportError as error:
        raise _extra_missing(error) from error
    return SchemaRegistry(config.registry)


def _awaited_schemas(
    registry: SchemaRegistry | None, bridge: BridgeConfig, stopping: Stopping
) -> Schemas:
    """Return what asks a registry as long as it is away, so that nothing is skipped meanwhile."""

    def schema(schema_id: int) -> RegisteredSchema:
        assert registry is not None, "it is there where a bridge needs it"

        def ask() -> RegisteredSchema:
            check_stopping(stopping, f"waiting for {registry.where}")
            return registry.schema(schema_id, serialized=_is_serialized(bridge))

        return wait_for(registry.where, ask, at_most_s=math.inf)

    return schema


def await_registry(config: Config, registry: SchemaRegistry) -> None:
    """Return when the registry answers.

    Raises
    ------
    RegistryError
        When it refuses the client, or gave no answer within ``kafka.request_timeout_s``.
    """
    wait_for(registry.where, registry.check, at_most_s=config.kafka.request_timeout_s)


def decoder_of(
    bridge: BridgeConfig, registry: SchemaRegistry | None, stopping: Stopping
) -> Decoder:
    """Return the decoder of a bridge's format.

    Parameters
    ----------
    registry
        Of :func:`opened_registry`.
    stopping
        Asked while the registry is waited for.

    Raises
    ------
    ConfigError
        Where the packages of the extra ``registry`` are missing.
    """
    return _decoder(bridge, _awaited_schemas(registry, bridge, stopping))


def decoder_at_once(bridge: BridgeConfig, registry: SchemaRegistry | None) -> Decoder:
    """Return a decoder as :func:`decoder_of`, which waits for no registry that is away, and asks
    for each schema once, whatever the answer."""
    refused: dict[int, BadMessage] = {}

    def schema(schema_id: int) -> RegisteredSchema:
        assert registry is not None, "it is there where a bridge needs it"
        if schema_id in refused:
            raise refused[schema_id]
        try:
            return registry.schema(schema_id, serialized=_is_serialized(bridge))
        except BadMessage as error:
            refused[schema_id] = error
            raise

    return _decoder(bridge, schema)


def _is_serialized(bridge: BridgeConfig) -> bool:
    return bridge.format == "protobuf"


def _decoder(bridge: BridgeConfig, schemas: Schemas) -> Decoder:
    if bridge.format == "json":
        return JsonDecoder()
    try:
        return _DECODERS[bridge.format](bridge, schemas)
    except ImportError as error:
        raise _extra_missing(error) from error


def _avro(bridge: BridgeConfig, schemas: Schemas) -> Decoder:
    from streamer.bridge.avro import AvroDecoder

    return AvroDecoder(schemas)


def _protobuf(bridge: BridgeConfig, schemas: Schemas) -> Decoder:
    from streamer.bridge.protobuf import DescribedDecoder, ProtobufDecoder

    if bridge.descriptors:
        return DescribedDecoder(Path(bridge.descriptors), bridge.message)
    return ProtobufDecoder(schemas)


_DECODERS: Final[Mapping[str, Callable[[BridgeConfig, Schemas], Decoder]]] = {
    "avro": _avro,
    "protobuf": _protobuf,
}


def _extra_missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"{error}: bridges of Avro and Protobuf need the extra `registry`: pip install"
        " '.[registry]' in the folder of streamer's code"
    )
