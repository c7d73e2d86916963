"""The async client, written from the sync one."""

from __future__ import annotations

import re
from typing import Final

_RULES: Final = (
    (
        r'\A"""[^"]*"""',
        '"""The client for event loops; ``make clients`` writes it from client.py."""',
    ),
    (r"\bimport time\b", "import asyncio"),
    (r"for any number of threads", "for any number of tasks of one event loop"),
    (r"\bwith (?=Client\()", "async with "),
    (r"(\.\.\.     )(?=client\.)", r"\1await "),
    (r"(?<![\w.`])Client\b(?!Error)", "AsyncClient"),
    (r"\bhttpx\.Client\b", "httpx.AsyncClient"),
    (r"\b__(enter|exit)__\b", r"__a\1__"),
    (r"(?m)^    def (?!__init__|within\b)", "    async def "),
    (r"(?<!def )(?=self\.(?:_done|_sent|close|_http\.request|_http\.close)\()", "await "),
    (r"\b_http\.close\b", "_http.aclose"),
    (r"\btime\.sleep\b", "await asyncio.sleep"),
)


def async_client(client: str) -> str:
    """Return the source of the async client.

    Parameters
    ----------
    client
        Source of the sync one.
    """
    for found, put in _RULES:
        client = re.sub(found, put, client)
    return client
