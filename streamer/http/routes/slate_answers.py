"""Fields of a request → its answer over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Response

from streamer.config import Config
from streamer.events import encode
from streamer.http.bodies import request_of
from streamer.http.parts import Parts
from streamer.http.schemas import JSON
from streamer.http.waiting import answered


class SlateAnswers:
    """Has requests answered by the scorer."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._timeout_ms = config.http.timeout_ms
        self._parts = parts

    def timeout_s(self, given_ms: int | None = None) -> float:
        """Return how long an answer is waited for."""
        return (given_ms or self._timeout_ms) / 1000

    async def __call__(self, fields: Mapping[str, Any]) -> Response:
        """Return the answer to the request of some fields.

        Raises
        ------
        BadMessage
            With the words of a dead letter.
        Overloaded, RequestTimeout
        """
        asked = request_of(fields, now_ms=self._parts.clock.now_ms())
        wait_s = self.timeout_s(asked.timeout_ms)
        found = await answered(self._parts.answers.recommend(asked, timeout_s=wait_s), wait_s)
        return Response(
            encode(found.recommendation), media_type=JSON, headers={"Cache-Control": "no-store"}
        )
