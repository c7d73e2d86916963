"""A scorer that answers every request with items named after its user, or always with the same."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec
import numpy as np

from streamer.config.settings import TopicsConfig
from streamer.events import (
    Recommendation,
    RecommendedItem,
    RecommendedRow,
    Request,
    decode_request,
    encode,
)
from streamer.events.pages import packed_keys, unpacked_keys
from streamer.kafka.log_ends import LATEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink


def recommendation(
    request_id: str,
    user_id: str,
    n_items: int = 1,
    *,
    item_ids: Sequence[str] = (),
    preview: bool = False,
) -> Recommendation:
    return Recommendation(
        request_id=request_id,
        user_id=user_id,
        ts=1,
        items=_items(item_ids or [f"{user_id}-{i}" for i in range(n_items)]),
        model_version="1",
        preview=preview,
    )


def _items(item_ids: Sequence[str]) -> list[RecommendedItem]:
    return [
        RecommendedItem(item_id=item_id, rank=rank, score=1.0, reason="test")
        for rank, item_id in enumerate(item_ids)
    ]


def _echo(request: Request, item_ids: Sequence[str]) -> Recommendation:
    """The answer of a scorer that knows no items: those pinned, and made-up ones."""
    answer = recommendation(
        request.request_id,
        request.user_id,
        request.k or 1,
        item_ids=[*(pin.item_id for pin in request.pinned or ()), *item_ids],
        preview=request.preview,
    )
    if request.rows:
        rows = [
            RecommendedRow(
                name=row.name,
                request_id=f"{request.request_id}/{row.name}",
                items=_items([f"{row.name}-{i}" for i in range(row.k or 0)]),
                list_name=row.list_name,
            )
            for row in request.rows
        ]
        return msgspec.structs.replace(answer, items=[], rows=rows)
    if request.seed_items:
        return msgspec.structs.replace(answer, note=f"unknown: {request.seed_items}")
    if request.after is not None:
        shown = np.append(unpacked_keys(request.after), np.uint64(1))  # one more a page
        return msgspec.structs.replace(answer, next=packed_keys(shown))
    return answer


class EchoScorer:
    """Answers each request with ``k`` items, or with ``item_ids``; the newest of a batch first."""

    def __init__(
        self, bootstrap_servers: str, topics: TopicsConfig, *, item_ids: Sequence[str] = ()
    ) -> None:
        self._item_ids = item_ids
        self._reader = KafkaReader(bootstrap_servers)
        partitions = self._reader.partitions(topics.topic("requests"))
        self._reader.start(dict.fromkeys(partitions, LATEST))
        self._answers = topics.topic("recommendations")
        self._sink = KafkaSink(bootstrap_servers, linger_s=0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sink.close()
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for batch in self._reader.poll(n_max=100, timeout_s=0.1):
                for value in reversed(batch.values):
                    request = decode_request(value)
                    answer = _echo(request, self._item_ids)
                    key = request.user_id.encode()
                    self._sink.send(self._answers, key=key, value=encode(answer))
