"""From events to the decisions made by them: a Faust worker, the features topic, a scorer."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streamer.application.recorded import verify_run
from streamer.client import Publisher, Recommender
from streamer.config import Config
from streamer.events import (
    Decision,
    Event,
    FeatureValue,
    decode_decision,
    encode,
    feature_value_key,
)
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.topics import create_topics
from tests.learner_processes import Deployment, wait_until

pytest.importorskip("faust", reason="pip install '.[features]'")
WINDOW_MS = 10_000
N_CLICKS = 5


def settings(kafka_bootstrap: str, topic_prefix: str, folder: Path) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": kafka_bootstrap,
        "kafka.group": topic_prefix,
        "topics.prefix": topic_prefix,
        "topics.partitions": 2,
        "store.url": f"sqlite:{folder}/streamer.db",
        "mf.factors": 4,
        "windows.lateness_s": 0.5,
        "windows.idle_s": 1.0,
        "windows.flush_ms": 20,
        "features.item_clicks_10m.window": "10s",
        "features.item_clicks_10m.hop": "10s",
        "features.item_clicks_10m.stale_after": "1h",
    }


def some_clicks() -> list[Event]:
    """Five on one item and one on another in a window, and one that ends it."""
    start_ms = (int(time.time() * 1000) // WINDOW_MS + 1) * WINDOW_MS
    items = ["hot"] * N_CLICKS + ["cold"]
    clicks = [
        Event(event_id=f"e{n}", type="click", user_id="ann", item_id=item, ts=start_ms + 1_000 * n)
        for n, item in enumerate(items)
    ]
    last_ms = start_ms + WINDOW_MS + 1_000
    return [*clicks, Event(event_id="last", type="click", user_id="ann", item_id="x", ts=last_ms)]


def decisions(config: Config) -> list[Decision]:
    """All that are on the topic now."""
    found = []
    with contextlib.closing(configured_reader(config)) as reader:
        reader.start(dict.fromkeys(reader.partitions(config.topics.topic("decisions")), EARLIEST))
        ends = reader.end_offsets()
        while any(reader.positions.get(where, 0) < end for where, end in ends.items()):
            for batch in reader.poll(n_max=1_000, timeout_s=1.0):
                found += [decode_decision(value) for value in batch.values]
    return found


def tell(config: Config, item_id: str, value: float) -> None:
    """Publish a feature of an item, as a worker would."""
    name, now_ms = "item_clicks_10m", int(time.time() * 1000)
    message = FeatureValue(
        entity="item",
        id=item_id,
        name=name,
        value=value,
        window_start=now_ms - WINDOW_MS,
        window_end=now_ms,
        computed_ts=now_ms,
    )
    topic, key = config.topics.topic("features"), feature_value_key(name, item_id)
    with contextlib.closing(configured_sink(config)) as sink:
        sink.send(topic, key=key, value=encode(message))
        sink.flush(10)


def column(decision: Decision, feature: str) -> dict[str, float]:
    values = decision.feature_matrix()[:, decision.feature_names.index(feature)]
    return dict(zip(decision.candidates, values.tolist(), strict=True))


def test_what_a_worker_counts_is_in_the_decisions(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    given = settings(kafka_bootstrap, topic_prefix, tmp_path)
    with Deployment(tmp_path / "processes", given) as deployment:
        config = deployment.config
        learner, scorer = deployment.start(alone=True), deployment.start_scorer()
        worker = deployment.start_features()
        with Publisher(config=config) as publisher:
            for event in some_clicks():
                # Ahead of its publication it would count as of that.
                time.sleep(max(0.0, event.ts / 1000 - time.time()))
                publisher.publish_event(event)
        wait_until(lambda: "scorer_ready" in scorer.log, "the scorer is ready")
        wait_until(deployment.caught_up, "the clicks are learned")
        with Recommender(config=config) as recommender:
            first = recommender.recommend("bob", timeout_s=120)
            assert {item.item_id for item in first.items} == {"hot", "cold", "x"}

            def ranked_by_it() -> list[Decision]:
                recommender.recommend("bob", timeout_s=120)
                return [
                    each
                    for each in decisions(config)
                    if column(each, "item_clicks_10m_missing")["hot"] == 0.0
                ]

            wait_until(lambda: bool(ranked_by_it()), "the scorer knows what the worker published")
            known = ranked_by_it()[-1]
        found = column(known, "item_clicks_10m")
        expected = {"hot": math.log(1 + N_CLICKS) / 4, "cold": math.log(2) / 4, "x": 0.0}
        assert found == pytest.approx(expected)
        assert column(known, "item_clicks_10m_missing") == {"hot": 0.0, "cold": 0.0, "x": 1.0}
        for process in (worker, scorer, learner):
            process.stop()
        parameters, slates = verify_run(config)
        assert (parameters.problems, slates.problems) == ([], [])
        assert slates.n_same == len(decisions(config)) >= 2


def test_a_cluster_without_the_features_topic_is_served_without_them_until_it_is_made(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    given = settings(kafka_bootstrap, topic_prefix, tmp_path)
    with Deployment(tmp_path / "processes", given) as deployment:
        config = deployment.config
        topic = config.topics.topic("features")
        admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
        admin.delete_topics([topic])[topic].result()
        learner, scorer = deployment.start(alone=True), deployment.start_scorer()
        with Publisher(config=config) as publisher:
            publisher.publish(type="click", user_id="ann", item_id="a")
        wait_until(lambda: "scorer_ready" in scorer.log, "the scorer is ready")
        wait_until(deployment.caught_up, "the click is learned")
        with Recommender(config=config) as recommender:
            recommender.recommend("bob", timeout_s=120)
            wait_until(lambda: bool(decisions(config)), "the decision is on its topic")
            (decision, *_) = decisions(config)
            assert column(decision, "item_clicks_10m_missing") == {"a": 1.0}
            assert scorer.log.count("features_missing") == 1
            assert "features_found" not in scorer.log
            create_topics(kafka_bootstrap, config.topics)
            tell(config, "a", N_CLICKS)

            def knows_it() -> bool:
                recommender.recommend("bob", timeout_s=120)
                return column(decisions(config)[-1], "item_clicks_10m_missing") == {"a": 0.0}

            wait_until(knows_it, "the scorer has found the topic")
        found = column(decisions(config)[-1], "item_clicks_10m")
        assert found == pytest.approx({"a": math.log(1 + N_CLICKS) / 4})
        assert scorer.log.count("features_missing") == scorer.log.count("features_found") == 1
        for process in (scorer, learner):
            process.stop()
