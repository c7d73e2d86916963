"""Waiting, in an event loop, for what other threads do; never for longer than asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from streamer.errors import DeliveryFailed, RequestTimeout

T = TypeVar("T")


async def answered(future: Future[T], timeout_s: float) -> T:
    """Return what a scorer answers.

    Raises
    ------
    RequestTimeout
        When it has not begun to after ``timeout_s``; it won't then.
    """
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait([waiting], timeout=timeout_s)
    if not done and future.cancel():
        raise RequestTimeout(
            f"no answer within {1000 * timeout_s:.0f} ms; ask again, or start more of these"
            " services"
        )
    return await waiting  # it is being scored: its decision will be logged, so it is shown


async def acknowledged(futures: Sequence[Future[Any]], timeout_s: float) -> list[str | None]:
    """Wait until the broker has messages; return of each why not, None: it has it."""
    if not futures:
        return []
    waiting = [asyncio.wrap_future(future) for future in futures]
    await asyncio.wait(waiting, timeout=timeout_s)
    return [_failure(each, timeout_s) for each in waiting]


def _failure(waiting: asyncio.Future[Any], timeout_s: float) -> str | None:
    if waiting.done():
        error = waiting.exception()
        return None if error is None else str(error)
    waiting.cancel()
    return (
        f"the broker has not acknowledged it within {1000 * timeout_s:.0f} ms; send it again under"
        " the same id: what comes twice counts once"
    )


async def delivered(future: Future[Any], timeout_s: float) -> None:
    """Wait until the broker has one message.

    Raises
    ------
    DeliveryFailed
        When it has not after ``timeout_s``, or has refused it.
    """
    (failure,) = await acknowledged([future], timeout_s)
    if failure is not None:
        raise DeliveryFailed(failure)
