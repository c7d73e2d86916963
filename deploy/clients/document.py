"""The OpenAPI document as clients are made from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import Mock

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from streamer.config import Config
from streamer.http.app import create_app
from streamer.http.parts import Parts

FOR_CLIENTS_OF_OTHERS: Final = frozenset({"metarank", "personalizer"})
"""Tags of the routes that take what other systems' clients send."""
_REF: Final = "#/components/schemas/"


def client_document() -> dict[str, Any]:
    """Return the document of a service with keys, without the routes for clients of others.

    Types of events are left open: a configuration may add some.
    """
    config = Config()
    config = replace(config, http=replace(config.http, api_keys=("of-this-document",)))
    described_alone = Parts(
        answers=Mock(), sink=Mock(), clock=Mock(), room=Mock(), check_broker=Mock()
    )
    document = create_app(config, described_alone, registry=CollectorRegistry()).openapi()
    document["paths"] = {
        path: operations
        for path, operations in document["paths"].items()
        if not any(FOR_CLIENTS_OF_OTHERS & {*each["tags"]} for each in operations.values())
    }
    schemas = document["components"]["schemas"]
    for name in ("EventFields", "FeedbackFields"):
        for kind in _kinds(schemas[name]["properties"]["type"]):
            kind.pop("enum", None)
    named = _named_in(document["paths"], schemas)
    document["components"]["schemas"] = {
        name: schema for name, schema in schemas.items() if name in named
    }
    return document


def digest(document: dict[str, Any]) -> str:
    """Return what tells one document from another: of its paths and components."""
    told = {name: document[name] for name in ("paths", "components")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _kinds(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema.get("anyOf", ())


def _named_in(part: Any, schemas: dict[str, Any]) -> set[str]:
    """Return the names of the schemas that a part of a document refers to, and those they do."""
    found: set[str] = set()
    parts = [part]
    while parts:
        each = parts.pop()
        if isinstance(each, dict):
            name = str(each.get("$ref", "")).removeprefix(_REF)
            if name in schemas and name not in found:
                found.add(name)
                parts.append(schemas[name])
            parts += each.values()
        elif isinstance(each, list):
            parts += each
    return found
