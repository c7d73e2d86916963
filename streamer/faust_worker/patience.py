"""A worker whose broker is away waits for it quietly.

aiokafka's producer asks who leads a partition again as soon as it was told that nobody does, two
thousand times a second, and says so each time.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any, Final

from faust.transport.drivers.aiokafka import Producer

_BACKOFF_S: Final = 0.1
_SAID_AGAIN_AFTER_S: Final = 10.0
_LINES_MAX: Final = 1_000
_NUMBER: Final = re.compile(r"[0-9]+")


class PatientProducer(Producer):
    """Faust's producer, which waits a moment before it asks again who leads a partition."""

    def _new_producer(self, *args: Any, **kwargs: Any) -> Any:
        producer = super()._new_producer(*args, **kwargs)
        update = producer.client.force_metadata_update

        waited_for: asyncio.Future[bool] | None = None

        async def updated() -> bool:
            found: bool = await update()
            await asyncio.sleep(_BACKOFF_S)
            return found

        def update_once() -> asyncio.Future[bool]:
            nonlocal waited_for
            if waited_for is None or waited_for.done():
                waited_for = asyncio.ensure_future(updated())
            return asyncio.shield(waited_for)

        producer.client.force_metadata_update = update_once
        return producer


class NotAgain(logging.Filter):
    """Of lines by one logger that are alike but for their numbers, one in ten seconds.

    The next one says how many were left out, in a field ``n_left_out``.

    Parameters
    ----------
    names
        Loggers it is for, with those below them; lines of others pass.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names
        self._said_s: dict[tuple[str, str], float] = {}
        self._n_left_out: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in self._names:
            return True
        line, now_s = (record.name, _NUMBER.sub("#", str(record.msg))), time.monotonic()
        if len(self._said_s) > _LINES_MAX:
            self._said_s.clear()
            self._n_left_out.clear()
        if now_s - self._said_s.get(line, -_SAID_AGAIN_AFTER_S) < _SAID_AGAIN_AFTER_S:
            self._n_left_out[line] = self._n_left_out.get(line, 0) + 1
            return False
        self._said_s[line] = now_s
        if n_left_out := self._n_left_out.pop(line, 0):
            record.n_left_out = n_left_out
        return True
