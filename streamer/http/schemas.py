"""The OpenAPI document: schemas of the messages as they are, and examples."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from streamer.config import Config
from streamer.events import Event, EventTypes, Item, Recommendation, Request, User
from streamer.http.examples import ANSWERS
from streamer.http.problems import PROBLEM_JSON, Problem
from streamer.scorer.explanation import Explanation

JSON: Final = "application/json"
DOCS: Final = "/docs"
DOCS_FILES: Final = "/docs-files"
"""The page that shows the document, and below this path what it loads."""
OPEN: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/openapi.json",
        DOCS,
        *(
            f"{DOCS_FILES}/{name}"
            for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
        ),
    }
)
"""Paths that need no key."""
_REF: Final = "#/components/schemas/{name}"
_SENT: Final = (
    "EventFields",
    "FeedbackFields",
    "RequestFields",
    "RequestRow",
    "Pin",
    *(f"{noun}{part}" for noun in ("Item", "User") for part in ("", "Fields", "Patch")),
)
"""What is refused where it has other fields (:mod:`streamer.http.mistakes`)."""


class PublishResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one message of a body."""

    index: Annotated[int, Meta(ge=0, description="its place in the body")]
    status: Annotated[
        int, Meta(ge=202, le=503, description="202: the broker has it; 422: bad; 503: not taken")
    ]
    event_id: str | None = None
    item_id: str | None = None
    user_id: str | None = None
    detail: Annotated[str | None, Meta(description="why it was not taken")] = None
    field: Annotated[str | None, Meta(description="that is wrong")] = None


class PublishResults(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the messages of a body, in their order."""

    accepted: Annotated[int, Meta(ge=0)]
    rejected: Annotated[int, Meta(ge=0)]
    results: list[PublishResult]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a service is well, and what it lacks."""

    status: Annotated[str, Meta(description="`ok`, or `unavailable`")]
    lacks: Annotated[list[str], Meta(description="in words; empty: nothing")]


def components(types: EventTypes, structs: Sequence[type[msgspec.Struct]]) -> dict[str, Any]:
    """Return the schemas by name: of what is sent with what the service fills in left out."""
    own = (Recommendation, Event, Item, User, Request, Explanation, Problem, PublishResults, Health)
    _, schemas = msgspec.json.schema_components((*own, *structs), ref_template=_REF)
    for schema in schemas.values():
        schema.get("properties", {}).pop("v", None)
        for field in schema.get("properties", {}).values():
            _allow_nulls_inside(field)
    event = schemas.pop("Event")
    event["properties"]["type"]["enum"] = list(types.names)
    schemas["EventFields"] = _sent(event, filled=("event_id", "ts"))
    schemas["FeedbackFields"] = _sent(event, filled=("event_id", "ts", "type"), needs="request_id")
    schemas["RequestFields"] = _sent(schemas.pop("Request"), filled=("request_id", "ts"))
    for name, words in (("Item", "an item"), ("User", "a user")):
        id_field = f"{name.lower()}_id"
        sent = schemas[f"{name}Fields"] = _sent(schemas[name], filled=())
        sent["required"].remove(id_field)
        sent["properties"][id_field]["description"] = "that of the path; may be left out"
        fields = {key: _changed(field) for key, field in sent["properties"].items()}
        schemas[f"{name}Patch"] = {
            "title": f"{name}Patch",
            "type": "object",
            "properties": {**fields, id_field: sent["properties"][id_field]},
            "description": f"A JSON merge patch (RFC 7396) of {words}: null removes a field.",
        }
    for name in _SENT:
        schemas[name]["additionalProperties"] = False
    for name, example in ANSWERS.items():
        schemas[name]["examples"] = [example]
    return schemas


def completed(
    document: dict[str, Any], config: Config, structs: Sequence[type[msgspec.Struct]]
) -> dict[str, Any]:
    """Return the document of the routes with what holds for all of them: the schemas, those of
    ``structs`` too, the keys, and the answers of who lets requests in."""
    document["components"] = {"schemas": components(config.event_types, structs)}
    keys = bool(config.http.api_keys)
    if keys:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
    problem = content("Problem", media_type=PROBLEM_JSON)
    guards = (*((401,) if keys else ()), 408, 413, 429)
    for path, operations in document["paths"].items():
        for operation in () if path in OPEN else operations.values():
            for status in guards:
                words = {"description": _WORDS[status], "content": problem}
                operation["responses"][str(status)] = words
            if keys:
                operation["security"] = [{"bearer": []}, {"api_key": []}]
    return document


def _sent(schema: Mapping[str, Any], *, filled: Sequence[str], needs: str = "") -> dict[str, Any]:
    found = copy.deepcopy(dict(schema))
    found["required"] = [name for name in found["required"] if name not in filled]
    for name in filled:  # null is absent
        found["properties"][name] = {"anyOf": [found["properties"][name], {"type": "null"}]}
    for flat in (each for field in found["properties"].values() for each in field.get("anyOf", ())):
        if "additionalProperties" in flat:  # a name whose value is null is absent
            flat["additionalProperties"]["anyOf"].append({"type": "null"})
    if needs:
        found["required"].append(needs)
        found["properties"][needs] = found["properties"][needs]["anyOf"][0]
    return found


def _allow_nulls_inside(field: Mapping[str, Any]) -> None:
    """Let a flat object hold nulls, which are as if they were absent."""
    for kind in (field, *field.get("anyOf", ())):
        inner = kind.get("additionalProperties")
        if isinstance(inner, dict) and "anyOf" in inner:
            inner["anyOf"].append({"type": "null"})


def _changed(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field in a patch: null removes it, and absent it stays as it is."""
    given, null = {key: value for key, value in field.items() if key != "default"}, {"type": "null"}
    return given if null in given.get("anyOf", ()) else {"anyOf": [given, null]}


def content(
    name: str, *, media_type: str = JSON, examples: Mapping[str, object] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the content of a body or an answer that holds a schema; examples by their names."""
    found: dict[str, Any] = {"schema": {"$ref": _REF.format(name=name)}}
    if examples:
        found["examples"] = {key: {"value": value} for key, value in examples.items()}
    return {media_type: found}


def body(name: str, example: object, **more: object) -> dict[str, Any]:
    """Return what FastAPI adds to a route that takes such a body, with examples."""
    examples = {"example": example, **more}
    return {"requestBody": {"required": True, "content": content(name, examples=examples)}}


def one_or_many(*names: str, n_max: int, **examples: object) -> dict[str, Any]:
    """Return what FastAPI adds to a route that takes one of some schemas, or an array of them."""
    one = [{"$ref": _REF.format(name=name)} for name in names]
    many = {"type": "array", "items": {"anyOf": one}, "minItems": 1, "maxItems": n_max}
    found = {
        "schema": {"anyOf": [*one, many]},
        "examples": {key: {"value": value} for key, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {JSON: found}}}


def answers(name: str, *statuses: int, ok: int = 200, words: str = "Done") -> dict[Any, Any]:
    """Return the answers of a route: one with a schema, and problems."""
    return {ok: {"description": words, "content": content(name)}} | problems(*statuses)


def problems(*statuses: int) -> dict[Any, Any]:
    """Return the problems that a route may answer with: some, and those of all."""
    problem = content("Problem", media_type=PROBLEM_JSON)
    return {
        status: {"description": _WORDS[status], "content": problem}
        for status in (*statuses, 400, 422, 500)
    }


_WORDS: Final[Mapping[int, str]] = {
    400: "The request is no HTTP that is understood",
    401: "Without a key, or with one that is not configured",
    404: "There is no such thing",
    408: "The body took too long to come",
    413: "The body is larger than it may be",
    422: "A field is wrong: the problem names it",
    429: "More requests than this key, or this address, may have",
    500: "An error of the service",
    503: "Too much at once, too early, or the broker does not take it: send it again",
    504: "Not answered in time",
}
