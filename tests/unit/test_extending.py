"""The pages on adding things work as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streamer.testing import ModelCheck
from streamer.testing.model_checks import (
    check_a_reload_changes_nothing,
    check_nothing_teaches_nothing,
    check_tables,
    check_tables_are_learned,
)

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def examples(section: str) -> dict[str, Any]:
    """Everything that the Python of a section defines."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    names: dict[str, Any] = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


@pytest.mark.parametrize(
    "check",
    [
        check_tables,
        check_tables_are_learned,
        check_nothing_teaches_nothing,
        check_a_reload_changes_nothing,
    ],
)
def test_the_model_of_the_page_passes_its_test(check: ModelCheck) -> None:
    examples("A model")["test_likes_keeps_the_contract"](check)
