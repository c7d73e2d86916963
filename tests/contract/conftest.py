"""The stores under contract."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from streamer.protocols import ParameterStore
from streamer.store import open_store

STORE_KINDS = ("memory", "sqlite", "redis", "redis_cluster")


class StoreUnderTest:
    """One empty store, which can be opened several times.

    Parameters
    ----------
    kind : of ``STORE_KINDS``.
    url : as for ``open_store``.
    """

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url
        self.key_prefix = f"test-{uuid.uuid4().hex[:12]}"
        self._handles = ExitStack()
        self._memory: ParameterStore | None = None

    @property
    def between_processes(self) -> bool:
        return self.kind != "memory"

    def open(
        self, *, log_entries_kept: int = 1_000, schedule_entries_max: int = 1_000_000
    ) -> ParameterStore:
        """One more handle (of a memory store: the first one again)."""
        if self._memory is not None:
            return self._memory
        store = open_store(
            self.url,
            key_prefix=self.key_prefix,
            timeout_s=10.0,
            log_entries_kept=log_entries_kept,
            schedule_entries_max=schedule_entries_max,
        )
        if self.kind == "memory":
            self._memory = store
        self._handles.callback(store.close)
        return store

    def close(self) -> None:
        self._handles.close()
        if self.url.startswith("redis"):
            with redis.Redis.from_url(self.url.replace("redis+cluster:", "redis:")) as client:
                for key in client.scan_iter(match=f"{self.key_prefix}:*", count=1_000):
                    client.unlink(key)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """From the kind of a store to the URL of an empty one, started if need be."""

    def url(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:{tmp_path / 'store.db'}"
        if kind == "redis":
            return str(request.getfixturevalue("redis_url"))
        if kind == "redis_cluster":
            node: str = request.getfixturevalue("redis_cluster_url")
            return node.replace("redis:", "redis+cluster:")
        return "memory:"

    return url


@pytest.fixture(params=STORE_KINDS)
def stored(
    request: pytest.FixtureRequest, store_url: Callable[[str], str]
) -> Iterator[StoreUnderTest]:
    """An empty store of each kind."""
    under_test = StoreUnderTest(request.param, store_url(request.param))
    yield under_test
    under_test.close()
