"""Colours that reports and the page of a service share, as variables of CSS."""

from __future__ import annotations

from typing import Final

ACCENT: Final = "#2f8f7c"
"""Of buttons and first lines, on light and on dark."""
LIGHT: Final = (
    "--paper: #f5f7f6; --card: #ffffff; --ink: #1d2523; --soft: #5c6764; --line: #d9dedc;"
    " --accent: #2f7d6d;"
)
DARK: Final = (
    "--paper: #151a18; --card: #1e2422; --ink: #e4eae8; --soft: #a3afab; --line: #37413e;"
    " --accent: #6cc3b0;"
)
