"""The HTTP service against its own OpenAPI document: made-up requests of every operation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from streamer.http.routes.queries import REPEATABLE
from tests.http_world import HttpWorld, http_world

load_all_checks()
# What a schema can't say is refused too: ids of more bytes than characters, times after now. A key
# that is right is enough, whatever the other header holds; test_http_guard.py has the keys.
_NOT_SAID: Any = CHECKS.get_by_names(["positive_data_acceptance", "ignored_auth"])
_REFUSAL: Any = CHECKS.get_by_names(["negative_data_rejection"])
KEY = "a-key-of-16-chars"


@pytest.fixture(scope="module")
def world() -> Iterator[HttpWorld]:
    with http_world(api_keys=(KEY,)) as made:
        yield made


def wait_long(fields: Any) -> None:
    """Give the machine time: a caller that waits for a millisecond is rightly told 504."""
    given = fields.get("timeout_ms") if isinstance(fields, Mapping) else None
    if re.fullmatch(r"[1-9]\d{0,4}(\.0)?", str(given)):
        fields["timeout_ms"] = 60_000


def is_written_as_right(query: Any) -> bool:
    """Whether a query has a list that is none, or of no texts: a URL has it as a list of texts."""
    given = query if isinstance(query, Mapping) else {}
    lists = [given[name] for name in REPEATABLE if name in given]
    return any(
        not isinstance(each, list) or not all(isinstance(text, str) for text in each)
        for each in lists
    )


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_the_document_promises(
    world: HttpWorld, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", world.app)
    n_operations = 0
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        n_operations += 1
        if mode.is_negative and not {"parameters", "requestBody"} & operation.definition.raw.keys():
            continue  # nothing of it can be wrong

        @settings(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            assume(mode.is_positive or not is_written_as_right(case.query))
            wait_long(case.body)
            wait_long(case.query)
            headers = {"X-API-Key": KEY}
            answer = case.call(headers=headers)
            # Of several messages the bad ones are refused: 207, where one is good by chance. And a
            # body with many items too many is refused for its size.
            refused = answer.status_code in (207, 413)
            passed_over = [*_NOT_SAID, *(_REFUSAL if refused else ())]
            case.validate_response(
                answer,
                excluded_checks=passed_over,
                headers=headers,
                transport_kwargs={"headers": headers},
            )

        ask()
    assert n_operations == 24


def test_the_examples_of_the_document_are_taken(world: HttpWorld) -> None:
    document = world.client.get("/openapi.json").json()
    resolver = {"components": document["components"]}
    n_taken = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" not in operation:
                continue
            media = operation["requestBody"]["content"]["application/json"]
            url = path.format(
                item_id="tea", user_id="ann", event_id="75269ad0", version="v1.0", model="home"
            )
            for example in (each["value"] for each in media["examples"].values()):
                jsonschema.validate(example, {**media["schema"], **resolver})
                answer = world.client.request(
                    method.upper(), url, json=example, headers={"X-API-Key": KEY}
                )
                assert answer.status_code in (200, 201, 202, 204), answer.text
                n_taken += 1
    assert n_taken == 17


def test_every_answer_has_an_example_that_its_schema_takes(world: HttpWorld) -> None:
    document = world.client.get("/openapi.json").json()
    resolver = {"components": document["components"]}
    answered = {
        media["schema"]["$ref"].rpartition("/")[2]
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for media in response.get("content", {}).values()
    }
    assert len(answered) == 10
    for name in answered:
        schema = document["components"]["schemas"][name]
        (example,) = schema["examples"]
        jsonschema.validate(example, {**schema, **resolver})
