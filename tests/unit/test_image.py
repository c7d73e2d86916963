"""The Dockerfile and the compose file, checked without an engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.imports import ROOT

pytest.importorskip("check_jsonschema", reason="pip install '.[dev]'")
HADOLINT = Path(sys.executable).with_name("hadolint")


def complaints(dockerfile: str) -> str:
    """What hadolint says of a Dockerfile."""
    done = subprocess.run(
        [HADOLINT, "--no-color", "-"],
        input=dockerfile,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def faults(compose: Any) -> Iterator[str]:
    """Return what the schema of compose files does not allow."""
    text = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json")
    schema = json.loads(text.read_text(encoding="utf-8"))
    for error in jsonschema.Draft7Validator(schema).iter_errors(compose):
        yield error.message


def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert complaints(dockerfile) == ""
    untagged = dockerfile.replace("python:3.13-slim", "python")
    assert untagged != dockerfile
    assert "DL3006" in complaints(untagged)


def test_the_compose_file_is_one_by_its_schema() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert list(faults(compose)) == []
    compose["services"]["http"]["healthcheck"]["retry"] = 3
    assert ["retry" in each for each in faults(compose)] == [True]
