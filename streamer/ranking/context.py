"""What a request says of its circumstances."""

from __future__ import annotations

import msgspec

from streamer.events import Request


def context_texts(request: Request) -> dict[str, str]:
    """Fields of a request's context as text (numbers and booleans as JSON spells them), and its
    ``surface``."""
    texts = {
        field: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for field, value in (request.context or {}).items()
    }
    if request.surface is not None:
        texts["surface"] = request.surface
    return texts
