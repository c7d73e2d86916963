"""Where the clients are, and what their generated files should hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deploy.clients.async_client import async_client
from deploy.clients.python_messages import python_messages

_PRODUCERS: Final = Path(__file__).resolve().parents[2] / "producers"
PYTHON: Final = _PRODUCERS / "streamer_client"
JAVASCRIPT: Final = _PRODUCERS / "streamer_client_js"


def python_files(document: Mapping[str, Any]) -> dict[Path, str]:
    """Return the generated files of the Python client."""
    return {
        PYTHON / "messages.py": python_messages(document),
        PYTHON / "async_client.py": async_client((PYTHON / "client.py").read_text()),
    }
