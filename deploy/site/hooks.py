"""What the site makes of docstrings beyond Markdown."""

from __future__ import annotations

import re
from typing import Any, Final

_ROLE: Final = re.compile(r":(?:attr|class|data|exc|func|meth|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Leave out the roles of docstrings: what they are of is code, and says what it is."""
    return _ROLE.sub("", html)
