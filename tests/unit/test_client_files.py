"""What `make clients` writes is up to date: no field or route of the service is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import streamer_client
from deploy.clients.document import client_document
from deploy.clients.files import JAVASCRIPT, PYTHON, python_files
from deploy.clients.python_messages import QUERIES
from deploy.clients.typescript import head
from tests.http_world import http_world
from tests.imports import project_version


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return client_document()


def test_the_generated_files_are_up_to_date(document: dict[str, Any]) -> None:
    stale = [path.name for path, text in python_files(document).items() if path.read_text() != text]
    if not (JAVASCRIPT / "openapi.d.ts").read_text().startswith(head(document)):
        stale.append("openapi.d.ts")
    assert not stale, "run `make clients`"


def test_a_field_that_the_service_gets_makes_all_of_them_stale(document: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(document))
    changed["components"]["schemas"]["Pin"]["properties"]["until_ts"] = {"type": "integer"}
    before, after = python_files(document), python_files(changed)
    assert "until_ts: int | None = None" in after[PYTHON / "messages.py"]
    assert "until_ts" not in before[PYTHON / "messages.py"]
    assert head(changed) != head(document)


def test_the_document_of_clients_is_that_of_a_service_but_for_clients_of_others(
    document: dict[str, Any],
) -> None:
    with http_world() as world:
        served = world.client.get("/openapi.json").json()["paths"]
    assert {*served} - {*document["paths"]} == {
        "/personalizer/{version}/rank",
        "/personalizer/{version}/events/{event_id}/reward",
        "/personalizer/{version}/events/{event_id}/activate",
        "/rank/{model}",
        "/feedback",
    }


def test_queries_of_several_parameters_have_a_class(document: dict[str, Any]) -> None:
    def n_parameters(operations: dict[str, Any]) -> int:
        given = operations.get("get", {}).get("parameters", ())
        return sum(each["in"] == "query" for each in given)

    several = {path for path, each in document["paths"].items() if n_parameters(each) > 3}
    assert several == {*QUERIES}


def test_the_clients_have_the_version_of_the_service_and_name_no_address() -> None:
    package = (JAVASCRIPT / "package.json").read_text()
    assert streamer_client.__version__ == json.loads(package)["version"] == project_version()
    for group in ("dependencies", "devDependencies"):
        for version in json.loads(package)[group].values():
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), "exact: there is no lock file"
    assert "://" not in package
