"""Protobuf → fields, with the schemas of a registry or with descriptors of a file; no compiler and
no generated classes."""

from __future__ import annotations

import base64
import binascii
import functools
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format, message_factory, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message import DecodeError, Message

from streamer.bridge.decoder import (
    SCHEMAS_MAX,
    Schemas,
    check_kind,
    framed,
    is_framed,
    text_key,
    text_of,
)
from streamer.errors import BadMessage, ConfigError, RegistryError
from streamer_producers.times import Instant

_VARINT_BYTES_MAX: Final = 5
"""Of a number of 32 bits."""
_DEPTH_MAX: Final = 32
"""Messages in messages on the way to the one that is meant."""
_GOOGLE: Final = re.compile(r"google/(protobuf|type)/\w+\.proto")


class ProtobufDecoder:
    """Reads messages behind the prefix of a serializer with a schema registry.

    ``google.protobuf.Timestamp`` becomes ms since 1970, a duration seconds, a wrapper what it
    wraps, an enumeration its name, bytes text, ``confluent.type.Decimal`` a number. A field that
    is not there is None where Protobuf can say so, else its default.

    Parameters
    ----------
    schemas
        Asked once for each id, while the last ``SCHEMAS_MAX`` of them are in use.
    """

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._file = functools.lru_cache(SCHEMAS_MAX)(self._read)
        self._class = functools.lru_cache(SCHEMAS_MAX)(self._found)

    def record(self, payload: bytes) -> dict[str, Any]:
        schema_id, body = framed(payload)
        path, at = _message_path(body)
        return _decoded(self._class(schema_id, path), body[at:])

    def key(self, payload: bytes) -> str | None:
        return None if is_framed(payload) else text_key(payload)

    def _found(self, schema_id: int, path: tuple[int, ...]) -> type[Message]:
        messages = self._file(schema_id)
        for depth, index in enumerate(path):
            if not 0 <= index < len(messages):
                raise BadMessage(
                    f"schema {schema_id} has no message {'.'.join(map(str, path[: depth + 1]))}"
                )
            found = messages[index]
            messages = found.nested_types
        kind: type[Message] = message_factory.GetMessageClass(found)
        return kind

    def _read(self, schema_id: int) -> list[Descriptor]:
        """Messages of the file that a schema is, in its order."""
        schema = self._schemas(schema_id)
        check_kind(schema, schema_id, "PROTOBUF")
        name = f"streamer-{schema_id}.proto"
        files = [_file(each, text) for each, text in schema.imports.items()]
        files.append(_file(name, schema.text))
        try:
            return [*_pool(files).FindFileByName(name).message_types_by_name.values()]
        except (TypeError, KeyError) as error:
            raise BadMessage(f"schema {schema_id} can't be read: {error}") from error


class DescribedDecoder:
    """Reads messages of one type that a file describes, with or without the prefix of a serializer.

    Parameters
    ----------
    path
        Of a FileDescriptorSet, as `protoc --include_imports --descriptor_set_out` writes it.
    message
        Full name of the message.

    Raises
    ------
    ConfigError
        When the file can't be read, or has no such message.
    """

    def __init__(self, path: Path, message: str) -> None:
        try:
            files = FileDescriptorSet.FromString(path.read_bytes()).file
            pool = _pool(files)
            found = pool.FindMessageTypeByName(message)
        except OSError as error:
            raise ConfigError(f"descriptors {path}: can't be read ({error.strerror})") from error
        except (DecodeError, TypeError) as error:
            raise ConfigError(
                f"descriptors {path}: {error}; write it with protoc --include_imports"
                " --descriptor_set_out"
            ) from error
        except KeyError as error:
            names = sorted(each for file in files for each in _names(pool, file.name))
            raise ConfigError(
                f"descriptors {path}: no message {message!r}; there are {', '.join(names)}"
            ) from error
        self._class = message_factory.GetMessageClass(found)

    def record(self, payload: bytes) -> dict[str, Any]:
        if is_framed(payload):  # no message begins with a zero: it would be a field without number
            _, payload = framed(payload)
            payload = payload[_message_path(payload)[1] :]
        return _decoded(self._class, payload)

    def key(self, payload: bytes) -> str | None:
        return None if is_framed(payload) else text_key(payload)


# --- schemas ----------------------------------------------------------------------------------


def _file(name: str, text: str) -> FileDescriptorProto:
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, DecodeError) as error:
        raise RegistryError(
            f"the schema registry gives {name!r} as text, and not as a descriptor, in which it was"
            " asked for it; give the bridge a file of descriptors (docs/bridge.md)"
        ) from error
    file.name = name
    return file


def _pool(files: Iterable[FileDescriptorProto]) -> DescriptorPool:
    """Return a pool of files, each behind those that it imports, and of the known ones."""
    pool, added = DescriptorPool(), set()

    def add(file: FileDescriptorProto) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for name in file.dependency:
            if name not in added and (known := _known(name)) is not None:
                add(known)
        pool.AddSerializedFile(file.SerializeToString())

    for each in files:
        add(each)
    return pool


def _known(name: str) -> FileDescriptorProto | None:
    """A file that comes with Protobuf, or with a registry's client; None: it is none of them."""
    try:
        if _GOOGLE.fullmatch(name):
            importlib.import_module(f"{name.removesuffix('.proto').replace('/', '.')}_pb2")
        return FileDescriptorProto.FromString(Default().FindFileByName(name).serialized_pb)
    except (ImportError, KeyError):
        return None


def _names(pool: DescriptorPool, file: str) -> Iterable[str]:
    return (each.full_name for each in pool.FindFileByName(file).message_types_by_name.values())


def _message_path(body: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of the file a payload is, by the places of those around it, and where it
    begins: a count and so many indices, or a zero for the first message.
    """
    n, at = _varint(body, 0)
    if n == 0:
        return (0,), at
    if not 0 < n <= _DEPTH_MAX:
        raise BadMessage(f"it is said to be a message {n} deep in its file")
    path = []
    for _ in range(n):
        index, at = _varint(body, at)
        path.append(index)
    return tuple(path), at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """A number at a place, in zigzag, and the place behind it."""
    number = 0
    for n, byte in enumerate(body[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + n + 1
    raise BadMessage("it does not say which message of its schema it is")


# --- values -----------------------------------------------------------------------------------


def _decoded(kind: type[Message], payload: bytes) -> dict[str, Any]:
    try:
        return _fields(kind.FromString(payload))
    except (DecodeError, ValueError, ArithmeticError, RecursionError) as error:
        raise BadMessage(f"not a message {kind.DESCRIPTOR.full_name}: {error}") from error


def _fields(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            found[field.name] = None
            continue
        value: Any = getattr(message, field.name)
        if not field.is_repeated:
            found[field.name] = _plain(field, value)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            found[field.name] = {str(key): _plain(inner, each) for key, each in value.items()}
        else:
            found[field.name] = [_plain(field, each) for each in value]
    return found


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        convert = _TO_PLAIN.get(field.message_type.full_name)
        return _fields(value) if convert is None else convert(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return text_of(value) if isinstance(value, bytes) else value


def _wrapped(message: Any) -> Any:
    return _plain(message.DESCRIPTOR.fields_by_name["value"], message.value)


def _decimal(message: Any) -> int | float:
    unscaled = int.from_bytes(message.value, "big", signed=True)
    return float(Decimal(unscaled).scaleb(-message.scale)) if message.scale else unscaled


_TO_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "google.protobuf.Timestamp": lambda each: Instant(
        each.seconds * 1000 + each.nanos // 1_000_000
    ),
    "google.protobuf.Duration": lambda each: each.seconds + each.nanos / 1e9,
    "confluent.type.Decimal": _decimal,
    **dict.fromkeys(
        (each.full_name for each in wrappers_pb2.DESCRIPTOR.message_types_by_name.values()),
        _wrapped,
    ),
    **dict.fromkeys(
        (f"google.protobuf.{kind}" for kind in ("Struct", "Value", "ListValue")),
        json_format.MessageToDict,
    ),
}
"""Messages that stand for a value, by their full names."""
