"""How fast is the whole learner beside a bare consume loop, and beside river in the same loop?

``python benchmarks/bench_learner.py --json OUT`` publishes events of 131 bytes to a real Kafka,
then takes turns, several rounds of each, at

- ``raw``: consume + ``orjson.loads``, nothing else, the consumer tuned as the product's is (with
  librdkafka's defaults it idles for most of the time: ``raw_untuned``);
- ``default``: the product: consume → decode → practise → learn → commit to a real Redis, with the
  default settings;
- ``lean``: the same with factorization and popularity alone, as before there was a blend;
  ``lean_bpr`` with BPR and one negative, the cheapest step;
- ``lean_bpr_counts_nothing``: that without features that the learner holds: ``held_features_us`` is
  what those of the default set cost an event, the admission of their ids included;
- ``river``: the raw loop + ``BiasedMF.learn_one`` (on fewer messages: it is slow).

Ratios are of events/s by the wall clock, medians over the rounds; ``cpu_us`` is the processor time
of this process an event. Learners are timed from a quarter of the events on: one that has just
begun practises on 500 events whatever they take, once in a store's life; ``begins_s`` is that
quarter. Kafka and Redis run on the same cores, as they would not in production.
``stages_us`` and the profile are of one more round of ``lean`` under cProfile, which makes it
slower: the thread that learns, by the wall clock.
"""

from __future__ import annotations

import cProfile
import gc
import pstats
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import confluent_kafka as ck
import numpy as np
import orjson
from prometheus_client import CollectorRegistry
from river import optim, reco

from benchmarks.environment import environment, parser, write
from benchmarks.held_features import without_held
from streamer.application.services.processes import PIPELINE_DEPTH, collect_garbage_rarely
from streamer.application.services.warm_up import warm_up
from streamer.application.starting import configured_store
from streamer.clock import SystemClock
from streamer.config import Config, load_config
from streamer.kafka.assignment import FETCH_OPTIONS
from streamer.kafka.configured import configured_sink, configured_source
from streamer.kafka.topics import create_topics
from streamer.learner.configured import learner_settings, reward_function
from streamer.learner.learner import Committed, Learner
from streamer.learner.practice.budget import PracticeBudget
from streamer.learner.practice.practice import Practice
from streamer.learner.service import dead_letters_to
from streamer.model_set import build_models, store_layout
from tests.brokers import kafka_service, redis_service
from tests.scoring import TWO_CHANNELS

STAGES = {
    "consume": ("kafka/assignment.py:fetch", "kafka/assignment.py:batches"),
    "decode": ("events/event_columns.py:decode_events",),
    "duplicates": ("learner/dedup.py:fresh",),
    "reward and cut": ("learner/batch.py:decode_batch",),
    "make room": ("state/model.py:make_room",),
    "admit": ("state/ingest.py:_admit_prefix",),
    "learn factors": ("factorization/mf.py:learn",),
    "learn counts": ("counters/popularity.py:learn", "counters/history.py:learn"),
    "learn held features": ("counters/decayed_features.py:learn",),
    "collect": ("state/partition.py:collect",),
    "checkpoint": ("learner/learner.py:_checkpoint",),
}
"""Stage → the functions it consists of."""
WITHIN = {"reward and cut": ("decode", "duplicates")}
"""Stages within a stage: they are taken off it."""
N_USERS, N_ITEMS = 20_000, 5_000
BPR: Final = {"mf__loss": "bpr", "mf__n_negatives": 1, "mf__recent_share": 0.8}
TOPIC_MS = 1_700_000_000_000


class Clock:
    """Wall clock and processor time since it was made, or since it was begun again."""

    def __init__(self) -> None:
        self.made_s = time.perf_counter()
        self.begin(0)

    def begin(self, n_before: int) -> None:
        """Time what comes after the first ``n_before`` events."""
        self.n_before, self.wall_s, self.cpu_s = n_before, time.perf_counter(), time.process_time()


@dataclass(slots=True)
class Timing:
    """Rounds of one contender."""

    wall_us: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    begins_s: list[float] = field(default_factory=list)

    def note(self, clock: Clock, n: int) -> None:
        """Take note of a round of ``n`` events that is over now."""
        n_timed = n - clock.n_before
        self.wall_us.append(1e6 * (time.perf_counter() - clock.wall_s) / n_timed)
        self.cpu_us.append(1e6 * (time.process_time() - clock.cpu_s) / n_timed)
        self.begins_s.append(clock.wall_s - clock.made_s)

    def events_per_s(self) -> float:
        return 1e6 / statistics.median(self.wall_us)

    def cpu(self) -> float:
        return statistics.median(self.cpu_us)


def publish(config: Config, n: int, seed: int) -> None:
    """Clicks of skewed users on skewed items, 131 bytes each."""
    rng = np.random.default_rng(seed)
    users = (N_USERS * rng.random(n) ** 3).astype(int)
    items = (N_ITEMS * rng.random(n) ** 3).astype(int)
    sink = configured_sink(config)
    topic = config.topics.topic("events")
    for i, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        value = (
            b'{"event_id":"event-%012d","type":"click","user_id":"user-%06d","item_id":"item-%06d",'
            b'"ts":%d,"value":1.0,"position":%d}' % (i, user, item, TOPIC_MS + i, i % 10)
        )
        sink.send(topic, key=b"user-%06d" % user, value=value)
    sink.close()


def run_raw(
    config: Config,
    n: int,
    learn_one: Callable[[dict[str, Any]], None] | None = None,
    *,
    tuned: bool = True,
) -> None:
    """Consume ``n`` messages and parse them, and no more than that."""
    options = {
        "bootstrap.servers": config.kafka.bootstrap_servers,
        "group.id": uuid.uuid4().hex,
        "enable.auto.commit": False,
    }
    consumer = ck.Consumer(options | (FETCH_OPTIONS if tuned else {}))
    topic = config.topics.topic("events")
    consumer.assign(
        [ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in range(config.topics.partitions)]
    )
    done = 0
    loads = orjson.loads
    while done < n:
        messages = consumer.consume(10_000, 1.0)
        for message in messages:
            event = loads(message.value() or b"")
            if learn_one is not None:
                learn_one(event)
        done += len(messages)
    consumer.close()


def run_river(config: Config, n: int) -> None:
    """The raw loop, each event learned by river's biased matrix factorization."""
    model = reco.BiasedMF(
        n_factors=config.mf.factors,
        bias_optimizer=optim.SGD(0.025),
        latent_optimizer=optim.SGD(0.05),
        seed=0,
    )

    def learn_one(event: dict[str, Any]) -> None:
        model.learn_one(user=event["user_id"], item=event["item_id"], y=1.0)  # type: ignore[no-untyped-call]

    run_raw(config, n, learn_one)


def run_learner(
    config: Config,
    n: int,
    clock: Clock | None = None,
    committed: Committed = lambda seconds, n_rows: None,
) -> None:
    """The product: everything a learner process does, into a store of its own."""
    thresholds = gc.get_threshold()
    collect_garbage_rarely()
    models = build_models(config)
    settings = learner_settings(config)
    store = configured_store(config)
    store.ensure_layout(store_layout(config, models))
    sink = configured_sink(config)
    practice = config.practice
    budget = PracticeBudget(practice.share, practice.time_share, CollectorRegistry())
    learner = Learner(
        store=store,
        models=models,
        settings=settings,
        rewards=reward_function(config),
        practice=Practice(config, budget=budget),
        owner=uuid.uuid4().hex,
        clock=SystemClock(),
        dead_letter=dead_letters_to(sink, config.topics.topic("dead_letters")),
        committed=committed,
        pipeline_depth=PIPELINE_DEPTH,
    )
    source = configured_source(
        config,
        "learner",
        [config.topics.topic("events")],
        on_assign=learner.assign,
        on_revoke=lambda partitions: learner.release(),
        alone=True,
    )
    while learner.counts.n_messages < n:
        if clock is not None and not clock.n_before and learner.counts.n_messages >= n // 4:
            clock.begin(learner.counts.n_messages)
        learner.learn(source.poll(n_max=config.learner.batch_messages_max, timeout_s=0.05))
        learner.checkpoint_due()
    learner.flush()
    source.close()
    sink.close()
    store.close()
    gc.set_threshold(*thresholds)


def with_own_store(config: Config, **flags: Any) -> Config:
    """The same, with another key prefix and other settings."""
    dotted = {key.replace("__", "."): value for key, value in flags.items()}
    return load_config(
        env={},
        flags={
            "kafka.bootstrap_servers": config.kafka.bootstrap_servers,
            "topics.prefix": config.topics.prefix,
            "store.url": config.store.url,
            "store.key_prefix": f"bench-{uuid.uuid4().hex}",
            **dotted,
        },
    )


def without_features(config: Config) -> Config:
    """As ``lean_bpr``, and no features that the learner holds."""
    return without_held(lean(config, **BPR))


def lean(config: Config, **flags: Any) -> Config:
    """Factorization and popularity alone."""
    channels = {name.replace(".", "__"): value for name, value in TWO_CHANNELS.items()}
    return with_own_store(config, **channels, **flags)


def profile(config: Config, n: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Where one round of the thread that learns goes, in microseconds an event: by stage with all
    that it calls, and by function, its callees left out.

    ``write`` is of the thread that commits, by the wall clock.
    """
    write_s = 0.0

    def committed(seconds: float, n_rows: int) -> None:
        nonlocal write_s
        write_s += seconds

    profiler = cProfile.Profile()
    profiler.runcall(run_learner, config, n, committed=committed)
    rows = []
    for (file, _, name), (_, calls, own_s, all_s, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        where = "/".join(Path(file).parts[-2:])
        rows.append(
            {
                "function": f"{where}:{name}" if file != "~" else name,
                "calls": calls,
                "own_us": round(1e6 * own_s / n, 3),
                "with_callees_us": round(1e6 * all_s / n, 3),
            }
        )
    took = {row["function"]: row["with_callees_us"] for row in rows}
    stages = {
        stage: round(sum(took.get(function, 0.0) for function in functions), 3)
        for stage, functions in STAGES.items()
    }
    for stage, within in WITHIN.items():
        stages[stage] = round(stages[stage] - sum(stages[each] for each in within), 3)
    stages["write"] = round(1e6 * write_s / n, 3)
    return stages, sorted(rows, key=lambda row: -row["own_us"])[:25]


def measure(config: Config, n: int, n_river: int, n_rounds: int) -> dict[str, Timing]:
    """Take turns, so that whatever else the machine does touches all alike."""
    contenders: dict[str, tuple[int, Callable[[Clock], None]]] = {
        "raw": (n, lambda clock: run_raw(config, n)),
        "raw_untuned": (n, lambda clock: run_raw(config, n, tuned=False)),
        "default": (n, lambda clock: run_learner(with_own_store(config), n, clock)),
        "lean": (n, lambda clock: run_learner(lean(config), n, clock)),
        "lean_bpr": (n, lambda clock: run_learner(lean(config, **BPR), n, clock)),
        "lean_bpr_counts_nothing": (
            n,
            lambda clock: run_learner(without_features(config), n, clock),
        ),
        "river": (n_river, lambda clock: run_river(config, n_river)),
    }
    timings = {name: Timing() for name in contenders}
    for _ in range(n_rounds):
        for name, (n_events, run) in contenders.items():
            clock = Clock()
            run(clock)
            timings[name].note(clock, n_events)
    return timings


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--messages", type=int, default=400_000, help="events a round")
    options.add_argument("--rounds", type=int, default=3, help="rounds of each contender")
    chosen = options.parse_args()
    n = chosen.messages
    with tempfile.TemporaryDirectory() as folder, kafka_service(Path(folder) / "kafka") as broker:
        (Path(folder) / "redis").mkdir()
        with redis_service(Path(folder) / "redis") as redis_url:
            config = load_config(
                env={},
                flags={
                    "kafka.bootstrap_servers": broker,
                    "topics.prefix": f"bench-{uuid.uuid4().hex[:8]}-",
                    "store.url": redis_url,
                },
            )
            create_topics(broker, config.topics)
            publish(config, n, chosen.seed)
            warm_up(config)
            for each in (with_own_store(config), lean(config)):
                run_learner(each, min(n, 50_000))
            timings = measure(config, n, min(n, 200_000), chosen.rounds)
            stages, where = profile(lean(config), n)
    rates = {name: timing.events_per_s() for name, timing in timings.items()}
    write(
        {
            "benchmark": "learner",
            "seed": chosen.seed,
            "n_messages": n,
            "n_users": N_USERS,
            "n_items": N_ITEMS,
            "n_rounds": chosen.rounds,
            "n_factors": config.mf.factors,
            "loss": config.mf.loss,
            "n_negatives": config.mf.n_negatives,
            "events_per_s": {name: round(rate) for name, rate in rates.items()},
            "cpu_us": {name: round(timing.cpu(), 2) for name, timing in timings.items()},
            "held_features_us": round(
                timings["lean_bpr"].cpu() - timings["lean_bpr_counts_nothing"].cpu(), 2
            ),
            **{
                name: {
                    "vs_raw_consume": round(rates[name] / rates["raw"], 3),
                    "cpu_vs_raw_consume": round(timings["raw"].cpu() / timings[name].cpu(), 3),
                    "vs_river": round(rates[name] / rates["river"], 2),
                }
                for name in ("default", "lean", "lean_bpr")
            },
            "wall_us": {name: timing.wall_us for name, timing in timings.items()},
            "begins_s": {name: timing.begins_s for name, timing in timings.items()},
            "stages_us": stages,
            "profile": where,
            "environment": environment(
                "confluent-kafka", "msgspec", "numba", "numpy", "orjson", "redis", "river"
            ),
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()
