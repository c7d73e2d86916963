"""How many events a second do workers of the windowed features take, and what does a key cost?

``python -m benchmarks.bench_features --json OUT`` publishes made-up clicks and impressions to a
real Kafka (``KAFKA_BOOTSTRAP_SERVERS``, else a broker of its own), with the default set of features
at the default settings, and asks the workers' own metrics how far they are: events/s of one and of
two workers that find a topic full, until all is counted; then how far one is behind 2,000 events/s:
the events it has not read yet, and the age of the newest of which all is counted. Beside it,
without Kafka and in processes of their own: µs of CPU an event of the arithmetic, and by how much a
process grows for a record, with records in memory and in RocksDB; and µs of CPU an event of the
learner, with and without the default features that it holds itself.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from confluent_kafka import Producer

from benchmarks.environment import environment, parser, write
from benchmarks.held_features import held_features_us
from deploy.kafka.node import KafkaNode, free_port
from streamer.clock import SystemClock
from streamer.config import Config, feature_definitions, load_config
from streamer.events import Event, encode
from streamer.faust_worker.bundles import decode_bundle
from streamer.faust_worker.changes import ChangelogMessage
from streamer.faust_worker.ingest import Ingest
from streamer.faust_worker.local_records import LocalRecords
from streamer.faust_worker.shard import Shard
from streamer.kafka.partitioner import partition_of
from streamer.kafka.topics import create_topics
from streamer.protocols import MessageBatch
from streamer.windows.engine import FeatureEngine

N_USERS, N_ITEMS = 5_000, 2_000
COUNTER = "streamer_features_events_total"
AGE = "streamer_features_watermark_age_seconds{"
START_TIMEOUT_S = 120.0


def events(
    n: int,
    *,
    seed: int,
    per_s: float,
    n_users: int = N_USERS,
    evenly_of: int | None = None,
) -> list[Event]:
    """One in five a click; items are met by a power law, or evenly, of so many."""
    rng = np.random.default_rng(seed)
    start_ms = int(time.time() * 1000)
    items = np.minimum(rng.zipf(1.3, n), N_ITEMS).tolist()
    if evenly_of is not None:
        items = rng.integers(0, evenly_of, n).tolist()
    users = rng.integers(0, n_users, n).tolist()
    clicks = (rng.random(n) < 0.2).tolist()
    return [
        Event(
            event_id=f"{seed}-{i}",
            type="click" if clicks[i] else "impression",
            user_id=f"u{users[i]}",
            item_id=f"i{items[i]}",
            ts=start_ms + int(i * 1000 / per_s),
        )
        for i in range(n)
    ]


class OnDisk(MutableMapping[bytes, bytes]):
    """Records in RocksDB as Faust's table has them, with a broker that acknowledges at once."""

    def __init__(self, folder: Path) -> None:
        self._records = LocalRecords(folder, clock=SystemClock())
        self._records.hold([0])
        self._sent: list[ChangelogMessage] = []
        self._n_sent = 0

    def __getitem__(self, key: bytes) -> bytes:
        found = self._records.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: bytes, value: bytes | None) -> None:
        self._records.put(key, value)
        self._sent.append(ChangelogMessage(0, self._n_sent, int(time.time() * 1000), key, value))
        self._n_sent += 1

    def __delitem__(self, key: bytes) -> None:
        self[key] = None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def __len__(self) -> int:
        return sum(1 for _ in self._records)

    def acknowledged(self) -> None:
        """Write what was sent, as a worker does after each bundle."""
        self._records.settle(self._sent)
        self._sent.clear()


def in_a_process_of_its_own(store: str, n: int, *, seed: int) -> dict[str, float]:
    """:func:`arithmetic` where nothing else has grown before."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one,
    ):
        return one.submit(arithmetic, store, n, seed=seed, folder=Path(folder)).result()


def arithmetic(store: str, n: int, *, seed: int, folder: Path) -> dict[str, float]:
    """Decoding, contributions, counting and records of one partition, without Kafka or Faust.

    First few keys, of which most are met again, then ``5 n`` events of which nearly each brings
    keys of its own: there the state outgrows all else.
    """
    few = events(n, seed=seed, per_s=2_000.0)
    cpu_us, _, _ = _counted(few, _table(store, folder / "few"))
    many = events(5 * n, seed=seed, per_s=2_000.0, n_users=10**6, evenly_of=10**6)
    _, n_bytes, n_records = _counted(many, _table(store, folder / "many"))
    return {
        "cpu_us_an_event": cpu_us,
        "n_records": n_records,
        "bytes_a_record": n_bytes / n_records,
    }


def _table(store: str, folder: Path) -> MutableMapping[bytes, bytes]:
    return OnDisk(folder) if store == "rocksdb" else {}


def _counted(given: list[Event], table: MutableMapping[bytes, bytes]) -> tuple[float, int, int]:
    """µs of CPU an event once all keys are known, bytes the process grew by, records."""
    definitions = [each for each in feature_definitions(Config()) if each.held_by == "windows"]
    types = Config().event_types
    engine = FeatureEngine(definitions, types, cells_max=1)
    source = Ingest(
        0,
        types=types,
        n_partitions=1,
        entities=engine.entities,
        parents=engine.parents,
        categories=lambda item_id: (f"c{int(item_id[1:]) % 20}",),
        dedup_window=1,
        reread=lambda partition, start, end: iter(()),
    )
    payloads: list[bytes | None] = [encode(each) for each in given]
    n, before = len(given), psutil.Process().memory_info().rss
    shard = Shard(
        0, definitions, types, n_partitions=1, sources=[0], cells_max=10_000_000, table=table
    )
    for at in range(0, n, 500):
        _take(source, shard, table, payloads, at)
    gc.collect()
    n_bytes = psutil.Process().memory_info().rss - before
    begin = time.process_time()
    for at in range(n, 2 * n, 500):
        _take(source, shard, table, payloads, at - n, offset=at, prefix=b"b")
    return (time.process_time() - begin) / n * 1e6, n_bytes, len(table)


def _take(
    source: Ingest,
    shard: Shard,
    table: MutableMapping[bytes, bytes],
    payloads: list[bytes | None],
    at: int,
    *,
    offset: int | None = None,
    prefix: bytes = b"a",
) -> None:
    """One batch of 500; another ``prefix`` makes other ids of the same events."""
    field = b'"event_id":"'
    some = [each.replace(field, field + prefix) for each in payloads[at : at + 500] if each]
    first = at if offset is None else offset
    offsets = np.arange(first, first + len(some), dtype=np.int64)
    batch = MessageBatch("events", 0, list(some), offsets, np.full(len(some), -1, np.int64))
    for _, payload in source.take(batch)[0]:
        shard.take(decode_bundle(payload))
        shard.forget(shard.close())
        if isinstance(table, OnDisk):
            table.acknowledged()


# --- with Kafka ---------------------------------------------------------------------------------


class Workers:
    """Processes as a user starts them."""

    def __init__(self, config: Config, n: int) -> None:
        self._ports = [free_port() for _ in range(n)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "streamer", "features", "run", "--metrics-port", str(port)],
                env=os.environ
                | {
                    "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
                    "STREAMER_TOPICS__PREFIX": config.topics.prefix,
                },
                stderr=subprocess.DEVNULL,
            )
            for port in self._ports
        ]

    def n_taken(self) -> list[int]:
        return [int(sum(self._read(port, COUNTER))) for port in self._ports]

    def ages_s(self) -> list[float]:
        """By partition of the state: of the time up to which everything is counted."""
        return [age for port in self._ports for age in self._read(port, AGE)]

    def _read(self, port: int, name: str) -> list[float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                lines = page.read().decode().splitlines()
        except OSError:
            return []  # not started yet
        return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]

    def wait_for(self, n: int, *, all_share: bool, timeout_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while sum(taken := self.n_taken()) < n or (all_share and not all(taken)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{taken} of {n} events were taken within {timeout_s:.0f} s")
            time.sleep(0.1)

    def wait_until_counted(self, made: list[Event], config: Config, *, timeout_s: float) -> None:
        """Until the state of every partition has all of these events."""
        n = config.topics.partitions
        latest_ms: dict[int, int] = {}
        for each in made:
            at = partition_of(each.user_id.encode(), n)
            latest_ms[at] = max(each.ts, latest_ms.get(at, 0))
        reached_s = min(latest_ms.values()) / 1000
        deadline = time.monotonic() + timeout_s
        while len(ages := self.ages_s()) < n or max(ages) > time.time() - reached_s:
            if time.monotonic() > deadline:
                raise TimeoutError(f"watermarks are {ages} s behind after {timeout_s:.0f} s")
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def running(bootstrap_servers: str, n: int) -> Iterator[tuple[Config, Workers]]:
    """Topics of their own, and workers that have begun to take events."""
    flags = {
        "kafka.bootstrap_servers": bootstrap_servers,
        "topics.prefix": f"bench-{uuid.uuid4().hex[:8]}-",
    }
    config = load_config(None, env={}, flags=flags)
    create_topics(bootstrap_servers, config.topics)
    workers = Workers(config, n)
    try:
        first = events(400, seed=99, per_s=400.0)
        publish(config, first)
        workers.wait_until_counted(first, config, timeout_s=START_TIMEOUT_S)
        time.sleep(10.0 if n > 1 else 0.0)  # until both have their share
        yield config, workers
    finally:
        workers.stop()


def publish(config: Config, given: list[Event]) -> None:
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap_servers, "linger.ms": 5})
    topic, n = config.topics.topic("events"), config.topics.partitions
    for each in given:
        key = each.user_id.encode()
        producer.produce(topic, encode(each), key, partition_of(key, n))
        producer.poll(0)
    producer.flush(30)


def throughput(bootstrap_servers: str, n_workers: int, n: int, *, seed: int) -> float:
    """Events/s over a backlog."""
    made = events(n, seed=seed, per_s=2_000.0)
    with running(bootstrap_servers, n_workers) as (config, workers):
        before = sum(workers.n_taken())
        begin = time.perf_counter()
        publish(config, made)
        workers.wait_for(before + n, all_share=n_workers > 1, timeout_s=600.0)
        workers.wait_until_counted(made, config, timeout_s=600.0)
        return n / (time.perf_counter() - begin)


def lag(bootstrap_servers: str, seconds: int, *, per_s: int, seed: int) -> dict[str, float]:
    """Events not yet read, and the age of what is counted, sampled every tenth of a second."""
    made = events(per_s * seconds, seed=seed, per_s=float(per_s))
    with running(bootstrap_servers, 1) as (config, workers):
        before, begin = sum(workers.n_taken()), time.perf_counter()
        made_before_s = time.time() - made[0].ts / 1000
        waiting, ages_s = [], []
        step = per_s // 10
        for i in range(0, len(made), step):
            publish(config, made[i : i + step])
            waiting.append(i + step + before - sum(workers.n_taken()))
            ages_s.append(max(workers.ages_s()) - made_before_s)
            time.sleep(max(0.0, begin + (i + step) / per_s - time.perf_counter()))
        settled = slice(len(waiting) // 4, None)
        return {
            "per_s": (len(made)) / (time.perf_counter() - begin),
            "lag_p50": float(np.median(waiting[settled])),
            "lag_p99": float(np.quantile(waiting[settled], 0.99)),
            "age_s_p50": float(np.median(ages_s[settled])),
            "age_s_p99": float(np.quantile(ages_s[settled], 0.99)),
        }


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--events", type=int, default=40_000, help="of each run")
    made.add_argument("--seconds", type=int, default=20, help="of the run at 2,000 events/s")
    options = made.parse_args()
    result: dict[str, Any] = environment("faust-streaming", "aiokafka", "datasketches", "rocksdict")
    result["arithmetic"] = {
        store: in_a_process_of_its_own(store, options.events, seed=options.seed)
        for store in ("memory", "rocksdb")
    }
    result["learner_us"] = held_features_us(events(5 * options.events, seed=0, per_s=2_000.0))
    with contextlib.ExitStack() as stack:
        servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if not servers:
            node = KafkaNode(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            node.start()
            stack.callback(node.stop)
            servers = node.bootstrap_servers
        result["events_per_s"] = {
            str(n): throughput(servers, n, options.events, seed=options.seed + n) for n in (1, 2)
        }
        result["at_2000_per_s"] = lag(servers, options.seconds, per_s=2_000, seed=options.seed + 9)
    write(result, options.json)


if __name__ == "__main__":
    main()
