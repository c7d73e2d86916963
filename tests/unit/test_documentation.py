"""The generated documentation is up to date and true."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from streamer.config import describe, load_config
from streamer.documentation import PAGES, generated, write
from streamer.errors import ConfigError, StreamerError
from tests.default_types import decode_event

DOCS = Path(__file__).parents[2] / "docs"


def test_the_generated_documentation_is_up_to_date() -> None:
    stale = [
        path.relative_to(DOCS)
        for path, text in generated(DOCS).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `python -m streamer.documentation docs`"
    schemas = {path for path in generated(DOCS) if path.suffix == ".json"}
    assert set((DOCS / "messages").iterdir()) == schemas


def test_writing_restores_what_was_changed(tmp_path: Path) -> None:
    for name in PAGES:
        text = (DOCS / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("| `mf.factors` |", "| gone |"), encoding="utf-8")
    write(tmp_path)
    for path, text in generated(DOCS).items():
        assert (tmp_path / path.relative_to(DOCS)).read_text(encoding="utf-8") == text


def test_a_page_can_ask_only_for_what_is_generated(tmp_path: Path) -> None:
    page = "<!-- generated nonsense -->\n<!-- end -->\n"
    (tmp_path / "messages.md").write_text(page, encoding="utf-8")
    with pytest.raises(StreamerError, match=r"messages\.md: nothing generates 'nonsense'"):
        generated(tmp_path)


def test_the_example_file_is_every_default(tmp_path: Path) -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "streamer.toml"
    for block in blocks:
        file.write_text(block, encoding="utf-8")
        load_config(file, env={})
    shown = {key: value for key, value, _ in describe(load_config(file, env={}))}
    file.write_text("", encoding="utf-8")
    assert shown == {key: value for key, value, _ in describe(load_config(file, env={}))}
    assert set(tomllib.loads(blocks[-1])) >= {"kafka", "events", "metrics"}


def test_the_error_shown_is_the_one_that_comes(tmp_path: Path) -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    (tmp_path / "streamer.toml").touch()
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "streamer.toml", env={"STREAMER_MF__FACTORS": "0"})
    assert str(refused.value) in page


def test_the_event_shown_is_an_event() -> None:
    page = (DOCS / "messages.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)\n```", page)
    assert decode_event(shown.encode()).item_id == "m318"


def test_the_schemas_are_schemas() -> None:
    for path in (DOCS / "messages").iterdir():
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_test_that_a_page_names_is_there() -> None:
    tests = "\n".join(
        path.read_text(encoding="utf-8") for path in (DOCS.parent / "tests").rglob("test_*.py")
    )
    defined = set(re.findall(r"def (test_\w+)\(", tests))
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 80
    assert not named - defined
