"""Fixtures that every test may use: real services, and names of a test's own on them."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from deploy.kafka.node import KafkaNode, Unavailable
from tests.brokers import kafka_service, keys_apart, redis_service, topics_apart
from tests.redis_server import RedisServer

TESTS = Path(__file__).parent
LONG_S = 0.5
SERVICE_FIXTURES = {
    "chromium",
    "kafka_bootstrap",
    "kafka_broker",
    "kcat",
    "node",
    "redis_cluster_url",
    "redis_server",
    "redis_url",
}
SERVICES_REQUIRED = os.environ.get("CI") == "true" or (
    os.environ.get("STREAMER_REQUIRE_SERVICES") == "1"
)

# The settings of whoever runs the tests must not reach what they test.
# STREAMER_DATA is theirs alone: it says where the real logs are.
for key in [key for key in os.environ if key.startswith("STREAMER_") and key != "STREAMER_DATA"]:
    del os.environ[key]

# What one worker of pytest-xdist compiles, the others find, and the processes that they start. It
# is a __pycache__, so that whoever throws away compiled kernels throws away these too.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(TESTS / "__pycache__" / "kernels")

# What a script runs in its background ignores SIGINT, and so would all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Some 110 processes are started, and each would compile all of ours that it imports: half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples every time; how long one takes is a matter of the machine, and the first ones
# of a fresh checkout wait for tables of characters.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


class _Garbage:
    """Collects what a test leaves that took long enough to have made systems.

    They are cycles of few and large objects, of which Python takes little note: without it a worker
    grows to gigabytes. To collect takes 50 ms, so it is not done after each test.
    """

    def __init__(self) -> None:
        self._is_due = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._is_due |= report.duration > LONG_S
        if report.when == "teardown" and self._is_due:
            gc.collect()
            self._is_due = False


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Garbage())


HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail where a test leaves a signal to somebody: a later one would wait for it in vain."""
    yield
    left = [number for number, handler in HANDLERS.items() if signal.getsignal(number) != handler]
    found = ", ".join(f"{number.name} is handled by {signal.getsignal(number)}" for number in left)
    for number in left:
        signal.signal(number, HANDLERS[number])
    assert not left, f"after {item.nodeid} {found}: restore what handled it before"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SERVICE_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("integration")
        if item.path.is_relative_to(TESTS / "e2e"):
            item.add_marker("e2e")


def _missing(reason: str) -> NoReturn:
    if SERVICES_REQUIRED:
        pytest.fail(f"{reason} (services are required here)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka that all tests share; ours makes no topic by itself."""
    with ExitStack() as stack:
        try:
            folder = tmp_path_factory.mktemp("kafka")
            address = stack.enter_context(kafka_service(folder, short_lived=True))
        except Unavailable as error:
            _missing(str(error))
        yield address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis that all tests share."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(redis_service(tmp_path_factory.mktemp("redis")))
        except Unavailable as error:
            _missing(str(error))
        yield url


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis in cluster mode: it refuses what touches keys of several slots."""
    try:
        server = RedisServer(tmp_path_factory.mktemp("redis-cluster"), cluster=True)
    except Unavailable as error:
        _missing(str(error))
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def topic_prefix(kafka_bootstrap: str) -> Iterator[str]:
    """A prefix for the topics of one test; what begins with it is deleted afterwards."""
    with topics_apart(kafka_bootstrap) as prefix:
        yield prefix


@pytest.fixture
def redis_prefix(redis_url: str) -> Iterator[str]:
    """A prefix for the keys of one test; what begins with it is deleted afterwards."""
    with keys_apart(redis_url) as prefix:
        yield prefix


@pytest.fixture
def kafka_broker(tmp_path: Path) -> Iterator[KafkaNode]:
    """A running broker of the test's own: ``stop()``, ``kill()``, ``start()``."""
    try:
        node = KafkaNode(tmp_path / "kafka", short_lived=True)
    except Unavailable as error:
        _missing(str(error))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running, durable Redis of the test's own: ``stop()``, ``kill()``, ``start()``."""
    try:
        server = RedisServer(tmp_path / "redis", durable=True)
    except Unavailable as error:
        _missing(str(error))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kcat() -> str:
    """Path of kcat, a Kafka client that isn't ours."""
    path = shutil.which("kcat")
    if path is None:
        _missing("no kcat on the PATH: apt-get install kcat")
    return path


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        _missing("no chromium on the PATH: apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def node() -> str:
    """Path of Node, with npm beside it."""
    path = shutil.which("node")
    if path is None or shutil.which("npm") is None:
        _missing("no node and npm on the PATH: apt-get install nodejs npm")
    return path


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("pem")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    try:
        subprocess.run(
            [*command, "-out", str(certificate), "-keyout", str(key)],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return certificate, key
