"""Windowed features over a real Kafka and Faust workers: what is published, crashes, sharing."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.kafka.node import KafkaNode
from streamer.config import Config, feature_definitions, load_config
from streamer.events import Event, Item, decode_dead_letter, decode_feature_value, encode
from streamer.faust_worker.settings import features_settings
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.partitioner import partition_of
from streamer.kafka.reader import KafkaReader
from streamer.kafka.topics import create_topics
from streamer.windows.engine import windowed_features
from tests.forked import ForkedCommand
from tests.unit.windowed_logs import Values, as_values, columns, disordered, with_duplicates

pytest.importorskip("faust", reason="pip install '.[features]'")
N_PARTITIONS = 2
START_MS = 1_700_000_000_000
TOML = """
[topics]
partitions = 2
[windows]
default_features = false
lateness_s = 30
idle_s = 2
flush_ms = 20
batch_messages_max = 50
commit_interval_s = 1
[features.item_ctr]
entity = "item"
numerator = "click"
denominator = "impression"
window = "4m"
hop = "1m"
smoothing = 5
[features.taste]
entity = "user_category"
numerator = "click"
denominator = "impression"
window = "3m"
smoothing = 2
[features.item_users]
numerator = "click"
measure = "users"
window = "2m"
[features.session]
entity = "user"
numerator = ["click", "impression"]
session_gap = "90s"
[features.fading]
entity = "category"
numerator = "click"
half_life = "1m"
"""


ON_DISK = pytest.mark.parametrize("store", ["memory", "rocksdb"])


@pytest.fixture
def store() -> str:
    """Where workers keep records."""
    return "memory"


@pytest.fixture
def config(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path, store: str) -> Config:
    return configured(kafka_bootstrap, tmp_path, prefix=topic_prefix, store=store)


def configured(
    bootstrap_servers: str,
    folder: Path,
    *,
    prefix: str = "",
    store: str = "memory",
    idle_s: float = 2.0,
) -> Config:
    """A configuration in a folder, and its topics."""
    if store == "rocksdb":
        pytest.importorskip("rocksdict", reason="pip install '.[features,rocksdb]'")
    file = folder / "streamer.toml"
    file.write_text(TOML.replace("idle_s = 2", f"idle_s = {idle_s}"), encoding="utf-8")
    env = {
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "STREAMER_TOPICS__PREFIX": prefix,
        "STREAMER_WINDOWS__STORE": store,
        "STREAMER_WINDOWS__STORE_FOLDER": str(folder / "state"),
    }
    config = load_config(file, env=env)
    create_topics(bootstrap_servers, config.topics)
    return config


@contextmanager
def worker(
    config: Config, folder: Path, name: str = "w", *, machine: str = ""
) -> Iterator[ForkedCommand]:
    """A worker by its configuration; killed at the end where it still runs."""
    arguments = ["features", "run", "--config", str(folder / "streamer.toml")]
    env = {
        "PATH": "/usr/bin:/bin",
        "STREAMER_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
        "STREAMER_TOPICS__PREFIX": config.topics.prefix,
        "STREAMER_WINDOWS__STORE": config.windows.store,
        "STREAMER_WINDOWS__STORE_FOLDER": config.windows.store_folder + machine,
        **{name: os.environ[name] for name in ("NUMBA_CACHE_DIR",) if name in os.environ},
    }
    process = ForkedCommand(arguments, env, folder / f"{name}.log")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def some_events(n: int, *, seed: int = 0) -> list[Event]:
    """Impressions and clicks of 12 users with 9 items, a second apart or so."""
    rng = np.random.default_rng(seed)
    times = START_MS + np.cumsum(rng.integers(100, 2_000, n))
    return [
        Event(
            event_id=f"e{seed}-{i}",
            type="click" if rng.random() < 0.3 else "impression",
            user_id=f"u{rng.integers(12)}",
            item_id=f"i{rng.integers(9)}",
            ts=int(ts),
        )
        for i, ts in enumerate(times)
    ]


def categories(item_id: str) -> Sequence[str]:
    return ("even", "all") if int(item_id[1:]) % 2 == 0 else ("all",)


def publish(config: Config, events: Sequence[Event], *, compression: str = "none") -> None:
    producer = Producer(
        {
            "bootstrap.servers": config.kafka.bootstrap_servers,
            "compression.type": compression,
        }
    )
    for event in events:
        key = event.user_id.encode()
        at = partition_of(key, N_PARTITIONS)
        producer.produce(config.topics.topic("events"), encode(event), key, at)
    producer.flush(10)


def publish_items(config: Config) -> None:
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap_servers})
    for i in range(9):
        item = Item(item_id=f"i{i}", categories=list(categories(f"i{i}")))
        producer.produce(config.topics.topic("items"), encode(item), item.item_id.encode())
    producer.flush(10)


def read_on(reader: KafkaReader, values: Values) -> None:
    """Add what came to the features topic; a value that came twice must have come alike."""
    while batches := reader.poll(n_max=10_000, timeout_s=0.3):
        for batch in batches:
            for value in batch.values:
                if value is not None:
                    found = decode_feature_value(value)
                    key = (found.name, found.id, found.window_end)
                    assert values.get(key, found.value) == found.value, key
                    values[key] = found.value


def expected(config: Config, events: Sequence[Event]) -> Values:
    """What replay computes of the same events."""
    once = list({event.event_id: event for event in events}.values())
    definitions = feature_definitions(config)
    batches = columns(once, len(once))
    return as_values(
        windowed_features(definitions, batches, config.event_types, categories=categories)
    )


def wait_for(config: Config, wanted: Values, *, patience_s: float = 120.0) -> Values:
    """What is published once all that is wanted is, or nothing more comes for ``patience_s``."""
    found: Values = {}
    n_found, deadline = -1, 0.0
    with closing(KafkaReader(config.kafka.bootstrap_servers)) as reader:
        reader.start(dict.fromkeys(reader.partitions(config.topics.topic("features")), EARLIEST))
        while not found.keys() >= wanted.keys():
            read_on(reader, found)
            now_s = time.monotonic()
            if len(found) > n_found:
                n_found, deadline = len(found), now_s + patience_s
            elif now_s > deadline:
                break
    return found


def n_uncommitted(config: Config) -> int:
    """Messages of the worker's topics that it would read again after a crash."""
    settings = features_settings(config)
    group = {"bootstrap.servers": config.kafka.bootstrap_servers, "group.id": settings.app_id}
    consumer = Consumer(group)
    try:
        places = [
            TopicPartition(topic, partition)
            for topic in (settings.events_topic, settings.contributions_topic)
            for partition in range(N_PARTITIONS)
        ]
        consumer.list_topics(timeout=10)  # a client that knows no partition yet refuses to say
        return sum(
            consumer.get_watermark_offsets(each, timeout=10)[1] - max(0, each.offset)
            for each in consumer.committed(places, timeout=10)
        )
    finally:
        consumer.close()


def stop(process: ForkedCommand) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(120)


def test_a_log_through_faust_gives_what_replay_gives(config: Config, tmp_path: Path) -> None:
    late = disordered(some_events(900), late_share=0.05, late_ms_max=20_000, seed=1)
    events = with_duplicates(late, share=0.02, seed=2)
    publish_items(config)
    with worker(config, tmp_path) as process:
        for part, compression in zip(
            np.array_split(np.arange(len(events)), 4),
            ("none", "lz4", "zstd", "snappy"),
            strict=True,
        ):
            publish(config, [events[i] for i in part], compression=compression)
        wanted = expected(config, events)
        found = wait_for(config, wanted)
        deadline = time.monotonic() + 120.0
        while (n_left := n_uncommitted(config)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert n_left == 0
        assert stop(process) == 0, (tmp_path / "w.log").read_text()
    assert len(wanted) > 300
    assert {name for name, _, _ in wanted} == set(config.features)
    assert found == wanted


def test_bad_messages_become_dead_letters_and_stop_nothing(config: Config, tmp_path: Path) -> None:
    events = some_events(200)
    producer = Producer({"bootstrap.servers": config.kafka.bootstrap_servers})
    for payload in (b"nonsense", None, b"{}"):
        producer.produce(config.topics.topic("events"), payload, b"u1", 0)
    producer.produce(config.topics.topic("events"), None, None, 1)
    producer.flush(10)
    publish_items(config)
    publish(config, events)
    with worker(config, tmp_path):
        wanted = expected(config, events)
        assert wait_for(config, wanted) == wanted
    reader = KafkaReader(
        config.kafka.bootstrap_servers, {(config.topics.topic("dead_letters"), 0): EARLIEST}
    )
    try:
        (batch,) = reader.poll(n_max=100, timeout_s=5.0)
    finally:
        reader.close()
    letters = [decode_dead_letter(value) for value in batch.values]
    assert sorted(letter.offset for letter in letters if letter.partition == 0) == [0, 1, 2]
    assert len(letters) == 4


@ON_DISK
def test_what_a_killed_worker_had_counted_is_counted_once(config: Config, tmp_path: Path) -> None:
    events = some_events(1_500)
    publish_items(config)
    with worker(config, tmp_path, "first") as process:
        publish(config, events[:700])
        first = expected(config, events[:650])
        wait_for(config, first)
        publish(config, events[700:1_000])
        time.sleep(0.15)  # somewhere in the middle, before the next commit
        process.kill()
        process.wait()
    with worker(config, tmp_path, "second"):
        publish(config, events[900:])  # a hundred of them again, across the crash
        wanted = expected(config, events)
        found = wait_for(config, wanted)
    assert "n_records=0" not in (tmp_path / "second.log").read_text()
    assert found == wanted


@ON_DISK
def test_two_workers_share_and_one_takes_over(config: Config, tmp_path: Path) -> None:
    events = some_events(1_500)
    publish_items(config)
    with worker(config, tmp_path, "one") as one:
        publish(config, events[:500])
        wait_for(config, expected(config, events[:450]))
        with worker(config, tmp_path, "two"):
            deadline, log = time.monotonic() + 120.0, tmp_path / "two.log"
            for at in range(500, 1_000, 50):  # while partitions change hands
                publish(config, events[at : at + 50])
                time.sleep(0.5)
            while "features_restored" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.3)
            wanted = expected(config, events[:950])
            assert wait_for(config, wanted).items() >= wanted.items()
            assert "features_restored" in (tmp_path / "two.log").read_text()
            assert stop(one) == 0
            publish(config, events[1_000:])
            wanted = expected(config, events)
            found = wait_for(config, wanted)
    assert found == wanted


def test_a_worker_that_is_asked_to_stop_finishes_what_it_took(
    config: Config, tmp_path: Path
) -> None:
    events = some_events(8_000)
    publish_items(config)
    with worker(config, tmp_path, "one") as one:
        publish(config, events[:500])
        wait_for(config, expected(config, events[:450]))
        publish(config, events[500:4_000])
        time.sleep(0.5)  # it takes of them
        one.send_signal(signal.SIGTERM)
        publish(config, events[4_000:])  # and these come while it ends
        assert one.wait(120) == 0, (tmp_path / "one.log").read_text()
    assert n_uncommitted(config) > 0
    with worker(config, tmp_path, "two"):
        wanted = expected(config, events)
        found = wait_for(config, wanted)
    assert found == wanted


def test_workers_come_and_go_while_a_backlog_is_read(config: Config, tmp_path: Path) -> None:
    events = some_events(8_000, seed=3)
    publish_items(config)
    with ExitStack() as running:
        started: list[ForkedCommand] = []

        def start() -> None:
            started.append(running.enter_context(worker(config, tmp_path, f"w{len(started)}")))

        start()
        publish(config, events[:1_000])
        wait_for(config, expected(config, events[:900]))
        changes: list[Callable[[], object]] = [
            start,
            lambda: stop(started[0]),
            start,
            lambda: started[1].kill(),
            start,
        ]
        parts = np.array_split(np.arange(1_000, len(events)), len(changes))
        for part, change in zip(parts, changes, strict=True):
            publish(config, [events[i] for i in part])
            time.sleep(0.7)  # somewhere in the middle
            change()
            time.sleep(2.5)  # while partitions change hands
        wanted = expected(config, events)
        found = wait_for(config, wanted)
    assert found == wanted


def test_a_worker_gets_over_an_outage_without_much_ado(
    kafka_broker: KafkaNode, tmp_path: Path
) -> None:
    # Longer than the outage, and than one partition may be behind the other after it, on a machine
    # however busy: or its windows would end.
    config = configured(kafka_broker.bootstrap_servers, tmp_path, idle_s=300.0)
    events = some_events(4_000)
    publish_items(config)
    with worker(config, tmp_path) as process:
        publish(config, events[:1_000])
        wait_for(config, expected(config, events[:900]))
        publish(config, events[1_000:2_000])
        kafka_broker.stop()  # with messages under way
        time.sleep(12.0)  # so long that the worker is taken for dead
        kafka_broker.start()
        publish(config, events[2_000:])
        wanted = expected(config, events)
        found = wait_for(config, wanted)
        assert stop(process) == 0
    assert found == wanted
    assert len((tmp_path / "w.log").read_text().splitlines()) < 150


@pytest.mark.parametrize("under_way", [0, 2_000], ids=["idle", "with messages under way"])
def test_a_worker_ends_when_asked_while_its_broker_is_dead(
    kafka_broker: KafkaNode, tmp_path: Path, under_way: int
) -> None:
    config = configured(kafka_broker.bootstrap_servers, tmp_path)
    events = some_events(500 + under_way)
    publish_items(config)
    with worker(config, tmp_path) as process:
        publish(config, events[:500])
        wait_for(config, expected(config, events[:450]))
        publish(config, events[500:])
        kafka_broker.kill()
        assert stop(process) == 0
    log = (tmp_path / "w.log").read_text()
    assert "features_stop_cut_short" in log
    assert "features_stopped" in log
    kafka_broker.start()
    with worker(config, tmp_path, "next"):
        wanted = expected(config, events)
        found = wait_for(config, wanted)
    assert found == wanted


@pytest.mark.parametrize("store", ["rocksdb"])
def test_records_that_were_left_behind_on_a_disk_do_not_win(config: Config, tmp_path: Path) -> None:
    events = some_events(1_500)
    publish_items(config)
    with worker(config, tmp_path, "first", machine="-a") as process:
        publish(config, events[:500])
        wait_for(config, expected(config, events[:450]))
        publish(config, events[500:600])
        time.sleep(0.15)
        process.kill()
        process.wait()
    with worker(config, tmp_path, "elsewhere", machine="-b") as process:
        publish(config, events[600:1_000])
        wait_for(config, expected(config, events[:950]))
        assert stop(process) == 0
    with worker(config, tmp_path, "back", machine="-a"):
        publish(config, events[1_000:])
        wanted = expected(config, events)
        found = wait_for(config, wanted)
    log = (tmp_path / "back.log").read_text()
    assert re.search(r"features_copy_opened .*offset=[1-9]\d\d", log), log
    assert "features_copy_too_old" not in log
    assert found == wanted
