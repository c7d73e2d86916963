"""`streamer bridge` over a real Kafka: killed and started again, each message counts once."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

import pytest

from deploy.kafka.node import free_port
from streamer.application.services.bridging import run_bridges
from streamer.config import load_config
from streamer.errors import ConfigError, RegistryError
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.log_ends import EARLIEST
from tests.brokers import make_topic, topics_apart
from tests.learner_processes import StreamerProcess, wait_until
from tests.schema_registry import in_avro, local_registry

N_ROWS = 3_000
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": ["null", "int"]},
        {"name": "sku", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


def test_rows_of_a_database_are_events_once_whatever_is_killed(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """Half of the rows are in JSON, half in Avro behind a schema registry."""
    with topics_apart(kafka_bootstrap) as prefix, local_registry() as registry:
        registry.schemas[1] = {"schema": json.dumps(ORDER)}
        registry.user_info = "ann:s3cret"
        shop, web = f"{prefix}shop.public.orders", f"{prefix}web.orders"
        settings = tmp_path / "streamer.toml"
        settings.write_text(
            f"""
            [kafka]
            bootstrap_servers = "{kafka_bootstrap}"
            group = "{prefix}"
            [topics]
            prefix = "{prefix}"
            [registry]
            url = "{registry.url}"
            user = "ann"
            [bridges.orders]
            topic = "{shop}"
            map = "event_id=id,user_id=customer,item_id=sku,ts=at:s"
            type = "purchase"
            [bridges.web]
            topic = "{web}"
            format = "avro"
            map = "event_id=id,user_id=customer,item_id=sku,ts=at"
            type = "purchase"
            """
        )
        env = {"STREAMER_REGISTRY__PASSWORD": "s3cret"}
        config = load_config(settings, env=env)
        assert (
            StreamerProcess(
                ["topics", "create", "--config", str(settings)], {}, tmp_path / "topics.log"
            ).wait()
            == 0
        )
        for topic in (shop, web):
            make_topic(kafka_bootstrap, topic, 3)
        with pytest.raises(RegistryError, match="refuses this user"):
            run_bridges(load_config(settings, env={}), [])
        with contextlib.closing(configured_sink(config)) as sink:
            for n in range(N_ROWS):
                at_s = 1_795_000_000 + n
                row = {"id": n, "customer": n % 50, "sku": f"i{n % 7}", "at": at_s}
                if n % 2:
                    row["at"] = at_s * 1_000
                    sink.send(web, key=b"%d" % n, value=in_avro(1, ORDER, row))
                    continue
                change = {"payload": {"before": None, "after": row, "op": "c"}}
                sink.send(shop, key=b"%d" % n, value=json.dumps(change).encode())
            sink.send(shop, key=b"bad", value=b"no row")

        def published() -> list[int]:
            """Ids on the events topic."""
            topic = config.topics.topic("events")
            with contextlib.closing(configured_reader(config)) as reader:
                partitions = reader.partitions(topic)
                ends = reader.end_offsets(partitions)
                reader.start(dict.fromkeys(partitions, EARLIEST))
                found: list[int] = []
                while any(reader.positions[where] < end for where, end in ends.items()):
                    for batch in reader.poll(n_max=5_000, timeout_s=1.0):
                        found += [int(json.loads(each or b"")["event_id"]) for each in batch.values]
            return found

        arguments = ["bridge", "--config", str(settings), "--metrics-port", str(free_port())]
        first = StreamerProcess(arguments, env, tmp_path / "first.log")
        try:
            wait_until(lambda: bool(published()), "the first rows are events")
        finally:
            first.kill()
        second = StreamerProcess(arguments, env, tmp_path / "second.log")
        try:
            wait_until(lambda: len(set(published())) == N_ROWS, "all rows are events")
            wait_until(lambda: "bridge_ready" in second.log, "it is past the check of its start")
            registry.n_away = math.inf
            registry.asked.clear()
            with contextlib.closing(configured_sink(config)) as sink:
                sink.send(web, key=b"later", value=in_avro(2, ORDER, row))
            wait_until(lambda: bool(registry.asked), "a schema is waited for")
            second.stop()
        finally:
            second.end()
        assert sorted(set(published())) == list(range(N_ROWS))
        with contextlib.closing(configured_reader(config)) as reader:
            letters = reader.end_offsets(reader.partitions(config.topics.topic("dead_letters")))
        assert 1 <= sum(letters.values()) <= 2, "read again after the kill, it has a second letter"


def test_what_bridges_there_are_is_said(kafka_bootstrap: str) -> None:
    with pytest.raises(ConfigError, match="there is no bridge; add one"):
        run_bridges(load_config("/dev/null", env={}), [])
    one = load_config("/dev/null", env={}, flags={"bridges.orders.topic": "shop"})
    with pytest.raises(ConfigError, match="there is no bridge clicks; there are orders"):
        run_bridges(one, ["clicks"])
