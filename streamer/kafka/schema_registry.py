"""A schema registry that speaks Confluent's API, as Karapace and Apicurio do too.

The extra ``registry`` brings what it needs; nothing else of ours imports it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Final, TypeVar

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

# Files that schemas of Protobuf import without referring to them: importing them here is what puts
# them into the default pool of descriptors, where the bridge finds them.
from confluent_kafka.schema_registry.confluent import meta_pb2  # noqa: F401
from confluent_kafka.schema_registry.confluent.type import (  # noqa: F401
    decimal_pb2,
    variant_pb2,
)
from confluent_kafka.schema_registry.confluent.types import (  # noqa: F401
    decimal_pb2 as old_decimal_pb2,
)
from confluent_kafka.schema_registry.error import OAuthTokenError

from streamer.config import RegistryConfig, masked
from streamer.errors import BadMessage, ConfigError, RegistryError, RegistryUnavailable
from streamer.protocols import RegisteredSchema

logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line at INFO for each request

Answer = TypeVar("Answer")

_NOT_FOUND: Final = 404
_REFUSED: Final = (401, 403)
_LATER: Final = (408, 429, 500, 502, 503, 504)
_SERIALIZED: Final = "serialized"
"""Descriptors of Protobuf in the place of text, for which it would take a compiler."""


class SchemaRegistry:
    """Asks a registry for schemas; each question is one try.

    Raises
    ------
    ConfigError
        When the client does not take the configuration.
    """

    def __init__(self, config: RegistryConfig) -> None:
        self.where = f"the schema registry at {masked('url', config.url)}"
        options: dict[str, object] = {
            "url": config.url,
            "timeout": config.timeout_s,
            "max.retries": 0,  # who asks waits, and hears when to stop meanwhile
            **config.client,
        }
        if config.user or config.password:
            options["basic.auth.user.info"] = f"{config.user}:{config.password}"
        if config.ca_file:
            options["ssl.ca.location"] = config.ca_file
        try:
            self._client = SchemaRegistryClient(options)
        except OSError as error:
            raise ConfigError(
                f"[registry]: a certificate can't be read ({error}); correct ca_file, or ssl.* of"
                " [registry.client]"
            ) from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"[registry]: {error}; correct it there") from error

    def check(self) -> None:
        """Return when the registry answers this user.

        Raises
        ------
        RegistryError
            When it refuses, or is none.
        RegistryUnavailable
            When no answer came in ``registry.timeout_s``.
        """
        try:
            self._asked(self._client.get_schema_types)
        except SchemaRegistryError as error:
            raise RegistryError(
                f"{self.where} does not say its types of schemas ({error}); correct registry.url:"
                " it has a path where the registry has one, as /apis/ccompat/v7"
            ) from error

    def schema(self, schema_id: int, *, serialized: bool) -> RegisteredSchema:
        """Return the schema that an id is of, with all that it refers to.

        Parameters
        ----------
        serialized
            Whether to ask for Protobuf as descriptors.

        Raises
        ------
        BadMessage
            When there is no such schema: the message is at fault.
        RegistryError, RegistryUnavailable
            As :meth:`check`.
        """
        form = _SERIALIZED if serialized else None
        imports: dict[str, str] = {}
        try:
            found = self._found(schema_id, form)
            self._add_imports(found, imports, asked=set(), form=form)
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise RegistryError(f"schema {schema_id} of {self.where}: {error}") from error
            raise BadMessage(
                f"schema {schema_id} is not in {self.where}, or one that it refers to"
                f" ({error.error_message})"
            ) from error
        return RegisteredSchema(found.schema_type or "AVRO", found.schema_str or "", imports)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _found(self, schema_id: int, form: str | None) -> Schema:
        try:
            return self._asked(lambda: self._client.get_schema(schema_id, fmt=form))
        except SchemaRegistryError as error:
            if form is None or error.http_status_code == _NOT_FOUND:
                raise
            return self._found(schema_id, None)  # one that is not of Protobuf, or as text alone

    def _add_imports(
        self, schema: Schema, imports: dict[str, str], *, asked: set[str], form: str | None
    ) -> None:
        for each in schema.references or ():
            name, subject, version = each.name, each.subject, each.version
            if name is None or subject is None or version is None or name in asked:
                continue
            asked.add(name)
            ask = functools.partial(
                self._client.get_version,
                subject,
                version,
                deleted=True,  # others may refer to it still
                fmt=form,
            )
            found = self._asked(ask).schema
            self._add_imports(found, imports, asked=asked, form=form)
            imports[name] = found.schema_str or ""

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        try:
            return ask()
        except SchemaRegistryError as error:
            if error.http_status_code in _REFUSED:
                raise RegistryError(
                    f"{self.where} refuses this user ({error}); correct registry.user and"
                    " registry.password, or grant it to read schemas"
                ) from error
            if error.http_status_code in _LATER:
                raise self._unavailable(error) from error
            raise
        except (httpx2.HTTPError, OAuthTokenError) as error:
            raise self._unavailable(error) from error
        except (ValueError, httpx2.InvalidURL) as error:  # ValueError: of what is no JSON
            raise RegistryError(f"{self.where} is none: {error}; correct registry.url") from error

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        reason = str(error) or type(error).__name__
        return RegistryUnavailable(
            f"{self.where} did not answer: {reason}; start it, or correct [registry]"
        )
