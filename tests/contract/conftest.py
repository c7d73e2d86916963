"""The stores under contract."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from _pytest.mark.structures import ParameterSet

from deploy.kafka.node import free_port
from streamer.protocols import RestorableStore
from streamer.store import open_store
from tests.conftest import SERVICES_REQUIRED

STORE_KINDS = ("memory", "sqlite", "redis", "redis_cluster")
N_NODES = 3
START_TIMEOUT_S = 120.0


def store_params(*kinds: str) -> list[ParameterSet]:
    """Parameters for a fixture over kinds of stores."""
    real = pytest.mark.integration
    return [pytest.param(k, marks=[real] if k.startswith("redis") else []) for k in kinds]


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
        self._memory: RestorableStore | None = None

    @property
    def between_processes(self) -> bool:
        return self.kind != "memory"

    def open(
        self, *, log_entries_kept: int = 1_000, schedule_entries_max: int = 1_000_000
    ) -> RestorableStore:
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
        if self.kind == "redis":  # the others end with the test session
            with redis.Redis.from_url(self.url) as client:
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
            return str(request.getfixturevalue("redis_nodes_url"))
        return "memory:"

    return url


@pytest.fixture(scope="session")
def redis_nodes_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis cluster of three nodes, each with a third of the slots."""
    missing = [name for name in ("redis-server", "redis-cli") if shutil.which(name) is None]
    if missing:
        reason = f"no {' and no '.join(missing)} on the PATH: apt-get install redis-server"
        pytest.fail(reason) if SERVICES_REQUIRED else pytest.skip(reason)
    ports = [free_port() for _ in range(N_NODES)]
    with ExitStack() as stack:
        for port in ports:
            data_dir = tmp_path_factory.mktemp(f"redis-{port}")
            stack.enter_context(_node(port, data_dir))
        _join_cluster(ports)
        yield f"redis+cluster://127.0.0.1:{ports[0]}"


@contextmanager
def _node(port: int, data_dir: Path) -> Iterator[None]:
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with (data_dir / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=data_dir, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _join_cluster(ports: list[int]) -> None:
    """Make one cluster of the nodes and return when all of them know all slots."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for port in ports:
        while subprocess.run(_cli(port, "ping"), capture_output=True).returncode:
            assert time.monotonic() < deadline, f"no Redis on port {port}"
            time.sleep(0.05)
    nodes = [f"127.0.0.1:{port}" for port in ports]
    subprocess.run(
        ["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"],
        check=True,
        capture_output=True,
        timeout=START_TIMEOUT_S,
    )
    for port in ports:
        while (
            b"cluster_state:ok"
            not in subprocess.run(
                _cli(port, "cluster", "info"), capture_output=True, check=True
            ).stdout
        ):
            assert time.monotonic() < deadline, f"no cluster on port {port}"
            time.sleep(0.05)


def _cli(port: int, *command: str) -> list[str]:
    return ["redis-cli", "-p", str(port), *command]


@pytest.fixture(params=store_params(*STORE_KINDS))
def stored(
    request: pytest.FixtureRequest, store_url: Callable[[str], str]
) -> Iterator[StoreUnderTest]:
    """An empty store of each kind."""
    under_test = StoreUnderTest(request.param, store_url(request.param))
    yield under_test
    under_test.close()
