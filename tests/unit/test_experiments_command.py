"""``streamer experiments``: known outcomes of users, what is found and what is not, promotion."""

from __future__ import annotations

import contextlib
import json
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from streamer.application.local.kept_topics import KeptTopics
from streamer.application.local.trial import TOPICS
from streamer.cli import app
from streamer.config import load_config
from streamer.config.settings import TopicsConfig
from streamer.errors import ConfigError, StreamerError
from streamer.events import Decision, Event, encode
from streamer.events.messages import ANYBODY
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.sink import KafkaSink
from streamer.kafka.topics import create_topics
from streamer.ope.bandit_log import Faults
from streamer.ope.experiment_log import ExperimentLog
from streamer.ope.experiment_report import VariantReport, remarks_of
from streamer.ope.mean_difference import MeanDifference
from streamer.protocols import MessageBatch
from streamer_producers.datasets import open_log
from tests.unit.ope_files import START_MS, decision, event, write_decisions

HOUR_MS = 3_600_000
SPLIT = load_config(
    env={},
    flags={
        "experiments.mix.variants.control.weight": 1,
        "experiments.mix.variants.varied.weight": 1,
    },
).experiments["mix"]
TOML = """
[experiments.mix.variants.control]
weight = 1
[experiments.mix.variants.varied]
weight = 1
slate.caps = ["brand<=1"]
bandit.policy = "linucb"
"""


OBJECTIVES = """
[objectives.watched]
events = ["watch"]
[objectives.told]
events = ["share", "comment"]
weight = -2.0
[events.comment]
weight = 0.0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "streamer.toml"
    path.write_text(TOML, encoding="utf-8")
    return path


def variant_of(user: str) -> str:
    variant = SPLIT.variant_of("mix", user)
    assert variant is not None, "all take part"
    return variant


def slate(user: str, number: int, hours: float, **changes: Any) -> Decision:
    return decision(
        f"{user}-{number}",
        ("a", "b"),
        **{
            "user_id": user,
            "ts": START_MS + round(hours * HOUR_MS),
            "variants": {"mix": variant_of(user)},
            **changes,
        },
    )


def taken(user: str, number: int, hours: float, kind: str = "click", **changes: Any) -> Event:
    ts = START_MS + round(hours * HOUR_MS)
    return event(f"{user}-{number}", "a", kind, user_id=user, ts=ts, **changes)


def users(variant: str, n: int) -> list[str]:
    found = (f"user {number}" for number in range(100 * n))
    return [user for user in found if variant_of(user) == variant][:n]


def experiments(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["experiments", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def reported(log: Path, config: Path, *arguments: str) -> dict[str, Any]:
    text = experiments("mix", str(log), "--config", str(config), "--json", *arguments)
    found: dict[str, Any] = json.loads(text)
    return found


def test_users_count_by_what_the_learner_makes_of_their_window(
    tmp_path: Path, config: Path
) -> None:
    ann, bob = users("control", 2)
    cem, dee = users("varied", 2)
    decisions = [
        slate(cem, 0, 2.0),  # as from another partition: not in the order of time
        slate(ann, 0, 0.0),
        slate(ann, 1, 1.5),  # beyond the hour that counts
        slate(bob, 0, 0.5),
        slate(dee, 0, 4.9),  # whose hour isn't over
        slate("new", 0, 1.0, variants=None),
    ]
    events = [
        taken(cem, 0, 2.1, "like"),
        taken(ann, 0, 0.1),
        taken(ann, 0, 0.1),  # twice the same
        taken(ann, 1, 1.6),
        taken(bob, 0, 0.6, "impression"),
        taken(bob, 0, 0.7, "watch", value=0.75, request_id=None, event_id="w"),
        taken("new", 0, 1.1),
        taken(dee, 0, 5.0),
    ]
    found = reported(write_decisions(tmp_path / "log", decisions, events), config, "--window", "1h")
    control, varied = found["variants"]
    weights = load_config(env={}).events
    assert (control["name"], control["users"], control["complete"]) == ("control", 2, 2)
    assert (control["slates"], varied["users"], varied["complete"], varied["slates"]) == (
        3,
        2,
        1,
        2,
    )
    assert control["means"]["reward"] == pytest.approx(weights["click"].weight / 2)
    assert control["means"]["conversion"] == 0.5
    assert control["means"]["watched"] == pytest.approx(0.75 / 2)
    assert varied["means"]["reward"] == pytest.approx(weights["like"].weight)
    assert varied["differences"] == {"reward": None, "conversion": None, "watched": None}
    assert "no interval for fewer than 200 users" in found["remarks"][0]


def test_each_objective_has_what_the_slates_of_a_user_brought_of_it(
    tmp_path: Path, config: Path
) -> None:
    ann, bob = users("control", 2)
    (cem,) = users("varied", 1)
    config.write_text(TOML + OBJECTIVES, encoding="utf-8")
    decisions = [
        slate(ann, 0, 0.0),
        slate(ann, 1, 0.5),
        slate(ann, 2, 1.5),  # beyond the hour that counts
        slate(bob, 0, 0.5),
        slate(cem, 0, 1.0),
        slate("new", 0, 5.0, variants=None),
    ]
    events = [
        taken(ann, 0, 0.1, "watch", value=0.5),
        taken(ann, 0, 0.1, "comment"),  # worth no reward
        taken(ann, 1, 0.6, "share"),
        taken(ann, 2, 1.6, "share"),
        taken(bob, 0, 0.6, "watch", value=0.25),
        taken(bob, 0, 0.7, "watch", value=0.75, request_id=None, event_id="w", item_id="of none"),
        taken(cem, 0, 1.1, "impression"),
    ]
    found = reported(write_decisions(tmp_path / "log", decisions, events), config, "--window", "1h")
    control, varied = (each["means"] for each in found["variants"])
    named = ["reward", "conversion", "watched", "objectives.watched", "objectives.told"]
    assert list(control) == named
    # Not the watching that no slate brought, which the metric of all events has.
    assert control["objectives.watched"] == pytest.approx((0.5 + 0.25) / 2)
    assert control["watched"] == pytest.approx((0.5 + 0.25 + 0.75) / 2)
    assert control["objectives.told"] == 1.0
    assert [varied[name] for name in named] == [0.0] * 5
    assert list(found["variants"][1]["differences"]) == named


def crowd(n: int, *, rates: dict[str, float], lost: float = 0.0) -> tuple[list[Any], list[Any]]:
    """Users who come a second after another, of a click rate by variant; some are lost."""
    rng = np.random.default_rng(1)
    decisions, events = [], []
    for number in range(n):
        user, hours = f"user {number}", number / 3_600
        if variant_of(user) == "varied" and rng.random() < lost:
            continue
        decisions.append(slate(user, 0, hours))
        if rng.random() < rates[variant_of(user)]:
            events.append(taken(user, 0, hours))
    return decisions, events


def test_a_difference_is_found_with_its_interval(tmp_path: Path, config: Path) -> None:
    log = write_decisions(tmp_path / "log", *crowd(1_500, rates={"control": 0.2, "varied": 0.4}))
    config.write_text(TOML + '[objectives.taken]\nevents = ["click"]\n', encoding="utf-8")
    found = reported(log, config, "--window", "10s", "--planned", "1000")
    change = found["variants"][1]["differences"]["conversion"]
    assert found["variants"][1]["differences"]["objectives.taken"] == change
    assert change["low"] > 0
    assert change["low"] < 0.2 < change["high"]
    assert found["split_p_value"] > 0.01
    assert not found["remarks"]
    said = experiments("mix", str(log), "--config", str(config), "--window", "10s")
    assert "users are split 0.5 : 0.5, as configured" in said
    assert "objectives.taken" in said
    for what in ("reward", "objective taken"):
        assert f"varied: {what} a user is higher than that of control, +" in said


def test_lost_users_of_a_variant_are_found(tmp_path: Path, config: Path) -> None:
    rates = {"control": 0.2, "varied": 0.2}
    log = write_decisions(tmp_path / "log", *crowd(1_500, rates=rates, lost=0.3))
    said = experiments("mix", str(log), "--config", str(config), "--window", "10s")
    assert "users are NOT split 0.5 : 0.5" in said
    assert "varied: reward a user is not told apart from that of control" in said


def test_users_who_moved_are_left_out_and_a_split_of_others_is_said(
    tmp_path: Path, config: Path
) -> None:
    (ann,), (bob, cem) = users("control", 1), users("varied", 2)
    decisions = [
        slate(ann, 0, 0.0),
        slate(bob, 0, 0.0),
        slate(bob, 1, 1.0, variants={"mix": "control"}),
        slate(cem, 0, 1.0, variants={"mix": "control"}),
    ]
    found = reported(write_decisions(tmp_path / "log", decisions, []), config)
    assert [each["users"] for each in found["variants"]] == [2, 0]
    assert found["remarks"][0].startswith("1 users were in several variants and are left out")
    assert found["remarks"][1].startswith("1 users are in another variant than this configuration")


def test_who_gave_no_name_is_no_user(tmp_path: Path, config: Path) -> None:
    (ann,) = users("control", 1)
    mixed = {"user_id": ANYBODY, "variants": {"mix": "varied"}}
    nameless = [slate("some", at, 0.1, **mixed) for at in range(9)]
    found = reported(write_decisions(tmp_path / "log", [slate(ann, 0, 0.0), *nameless], []), config)
    assert [each["users"] for each in found["variants"]] == [1, 0]


def test_a_difference_of_another_sign_than_the_means_is_said() -> None:
    def of(name: str, mean: float, estimate: float | None) -> VariantReport:
        change = None if estimate is None else MeanDifference(estimate=estimate, low=-1.0, high=1.0)
        return VariantReport(
            name=name,
            share=0.5,
            users=500,
            complete=500,
            slates=500,
            means={"conversion": mean},
            differences={} if estimate is None else {"conversion": change},
        )

    log = ExperimentLog([], 0, 0, [], 0, False, (), (), Faults(strict=False))

    def remarks(estimate: float) -> list[str]:
        both = [of("control", 0.9046, None), of("varied", 0.9073, estimate)]
        return remarks_of(SPLIT, log, both)

    (said,) = remarks(-0.0055)
    assert "of conversion of varied (+0.0027, -0.0055)" in said
    assert remarks(0.0055) == []


def test_a_shorter_window_is_named_where_it_helps_only() -> None:
    log = ExperimentLog([], 0, 0, [], 0, False, (), (), Faults(strict=False))

    def said(users: int, complete: int) -> str:
        both = [
            VariantReport(
                name=name,
                share=0.5,
                users=users,
                complete=complete,
                slates=users,
                means={},
                differences={},
            )
            for name in ("control", "varied")
        ]
        (remark,) = remarks_of(SPLIT, log, both)
        return remark

    hint = "; a shorter --window is over sooner"
    assert said(users=250, complete=30).endswith(f"control, varied{hint}")
    for users, complete in ((0, 0), (199, 30), (30, 30)):
        assert said(users=users, complete=complete).endswith("of the control: control, varied")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "none is not there; name a folder with decisions.jsonl and events.jsonl, as"),
        ("file", "file is no folder; name a folder with decisions.jsonl and events.jsonl, as"),
        ("empty", "empty holds 0 files of decisions; name a folder with decisions.jsonl and"),
    ],
)
def test_a_log_that_is_none_is_refused_with_what_to_name(
    tmp_path: Path, config: Path, name: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(encode(decision("r", ("a", "b"))) + b"\n")
    with pytest.raises(ConfigError) as refused:
        experiments("mix", str(tmp_path / name), "--config", str(config))
    assert said in str(refused.value)
    assert "that of `streamer up --data` (which holds topics.db)" in str(refused.value)
    assert "--events" not in str(refused.value)


def test_the_winner_is_written_as_configuration(tmp_path: Path, config: Path) -> None:
    text = experiments("mix", "--config", str(config), "--promote", "varied")
    assert tomllib.loads(text) == {
        "bandit": {"policy": "linucb"},
        "slate": {"caps": ["brand<=1"]},
    }
    written = tmp_path / "won.toml"
    experiments("mix", "--config", str(config), "--promote", "varied", "--to", str(written))
    loaded = load_config(written, env={})
    assert (loaded.bandit.policy, loaded.slate.caps) == ("linucb", ("brand<=1",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["other"], "experiment 'other' is not in the configuration (there are: mix)"),
        (
            ["mix", "--promote", "bold"],
            "--promote 'bold' is no variant of mix; they are control, v",
        ),
        (["mix", "--to", "x.toml"], "--to goes with --promote"),
        (["mix", "--window", "soon"], "--window 'soon' is no duration; write a number and one of"),
        (["mix", "--window", "0"], "--window '0' is no time"),
        (["mix"], "none of 1 decisions is of it; was the scorer started with this configuration?"),
    ],
)
def test_what_can_not_be_answered_is_refused(
    tmp_path: Path, config: Path, arguments: list[str], said: str
) -> None:
    log = write_decisions(tmp_path / "log", [decision("r", ("a", "b"))], [])
    name, *rest = arguments
    with pytest.raises(StreamerError) as refused:
        experiments(name, str(log), "--config", str(config), *rest)
    assert isinstance(refused.value, ConfigError)
    assert said in str(refused.value)


# --- topics whose start is gone ---------------------------------------------------------------

LARGE = {"policy_state": b"x" * 100_000}
"""Of a slate: the embedded broker keeps some 35 of these in a partition."""


@pytest.fixture
def broker() -> Iterator[str]:
    with EmbeddedBroker() as embedded:
        create_topics(embedded.bootstrap_servers, TopicsConfig())
        yield embedded.bootstrap_servers


def publish(broker: str, messages: Sequence[Decision | Event]) -> None:
    """Put messages on their topics, each published when it happened."""
    sink = KafkaSink(broker)
    for each in messages:
        topic = "decisions" if isinstance(each, Decision) else "events"
        sink.send(topic, key=b"", value=encode(each), partition=0, publish_ms=each.ts)
    sink.close()


def returning(n: int) -> list[Decision]:
    """Slates of one user of each variant, an hour after another."""
    both = users("control", 1) + users("varied", 1)
    return [slate(user, at, 1.0 * at, **LARGE) for at in range(n) for user in both]


def test_users_whose_first_slate_may_be_gone_are_left_out_and_it_is_said(
    tmp_path: Path, config: Path, broker: str
) -> None:
    publish(broker, returning(50))
    of_topics = ["mix", "--config", str(config), "--bootstrap-servers", broker, "--json"]
    found = json.loads(experiments(*of_topics))
    gone, left_out, *_ = found["remarks"]
    assert [each["users"] for each in found["variants"]] == [0, 0]
    assert [each["means"]["reward"] for each in found["variants"]] == [None, None]
    assert left_out.startswith("2 users are left out, as their first slate or what came of it may")
    assert "(the broker of `streamer up` keeps 5 MB a partition, whatever that says" in left_out
    log = tmp_path / "decisions.jsonl"
    line = ["record", "decisions", str(log), "--bootstrap-servers", broker]
    recorded = CliRunner().invoke(app, line)
    n_kept = len(log.read_bytes().splitlines())
    assert 0 < n_kept < 100
    first_ms = json.loads(log.read_bytes().splitlines()[0])["ts"]
    assert gone == (
        f"kafka:decisions: {100 - n_kept} messages were deleted before they could be read; none is"
        f" missing since {np.datetime64(first_ms, 'ms').item():%Y-%m-%d %H:%M:%S} UTC"
    )
    assert gone in " ".join(recorded.stderr.split())


def record(broker: str, topic: str, folder: Path) -> None:
    line = ["record", topic, str(folder / f"{topic}.jsonl"), "--bootstrap-servers", broker]
    assert CliRunner().invoke(app, line).exit_code == 0


def test_users_of_a_record_that_lacks_their_first_slates_are_left_out(
    tmp_path: Path, config: Path, broker: str
) -> None:
    publish(broker, [*returning(50), taken("ann", 0, 0.1)])
    for topic in ("decisions", "events"):
        record(broker, topic, tmp_path)
    found = reported(tmp_path, config)
    assert [each["users"] for each in found["variants"]] == [0, 0]
    gone, left_out, *_ = found["remarks"]
    assert gone.startswith(f"{tmp_path / 'decisions.jsonl'}, as recorded: kafka:decisions: ")
    assert "messages were deleted before they could be read; none is missing since" in gone
    assert left_out.startswith("2 users are left out, as their first slate or what came of it may")
    (tmp_path / "decisions.jsonl.gone").unlink()
    whole = reported(tmp_path, config)
    assert [each["users"] for each in whole["variants"]] == [1, 1]


def test_a_record_says_what_its_topic_no_longer_had(tmp_path: Path, broker: str) -> None:
    events, note = tmp_path / "events.jsonl", tmp_path / "events.jsonl.gone"
    browsed = [
        event(
            None,
            f"i{at}",
            "click",
            event_id=f"{at}",
            ts=START_MS + at,
            context={"page": "x" * 4_000},
        )
        for at in range(3_000)
    ]
    publish(broker, [browsed[0]])
    record(broker, "events", tmp_path)
    assert not note.exists()
    publish(broker, browsed[1:])
    record(broker, "events", tmp_path)
    said = f"{events}, as recorded: kafka:events: "
    result = tmp_path / "result.json"
    line = ["replay", str(events), "--model", "popularity", "--json", str(result)]
    replayed = CliRunner().invoke(app, line)
    (gone,) = json.loads(result.read_bytes())["log"]["gone"]
    assert gone.startswith(said)
    assert "".join(gone.split()) in "".join(replayed.stderr.split())
    first = events.read_bytes().splitlines(keepends=True)[:3]
    events.write_bytes(b"".join(first))
    published = CliRunner().invoke(app, ["publish", str(events), "--bootstrap-servers", broker])
    assert "".join(gone.split()) in "".join(published.stderr.split())
    note.write_text("{")
    with pytest.raises(ConfigError, match=r"events\.jsonl\.gone, which says what is missing in"):
        open_log(events)
    with EmbeddedBroker() as other:
        create_topics(other.bootstrap_servers, TopicsConfig())
        publish(other.bootstrap_servers, browsed[:3])
        record(other.bootstrap_servers, "events", tmp_path)
    assert len(events.read_bytes().splitlines()) == 3
    assert not note.exists()


def test_all_users_of_a_trial_count_by_its_folder(tmp_path: Path, config: Path) -> None:
    slates = returning(50)
    with contextlib.closing(KeptTopics(tmp_path / TOPICS)) as kept:
        kept.keep(
            [
                batch_of("items", [(START_MS, b"{}")]),
                batch_of("decisions", on_time(slates)),
                batch_of("events", on_time([taken(slates[0].user_id, 0, 0.1)])),
            ]
        )
        found = reported(tmp_path, config)  # while who keeps them goes on
    control, varied = found["variants"]
    assert [(each["users"], each["slates"]) for each in (control, varied)] == [(1, 50), (1, 50)]
    assert control["means"]["reward"] == load_config(env={}).events["click"].weight
    assert not any("deleted" in each for each in found["remarks"])


def batch_of(topic: str, published: Sequence[tuple[int, bytes]]) -> MessageBatch:
    """Messages with when they were published."""
    numbers = np.arange(len(published), dtype=np.int64)
    keys: list[bytes | None] = [None] * len(published)
    publish_ms = np.array([ms for ms, _ in published], dtype=np.int64)
    return MessageBatch(topic, 0, [value for _, value in published], numbers, publish_ms, keys)


def on_time(messages: Sequence[Decision | Event]) -> list[tuple[int, bytes]]:
    """Messages, each published when it happened."""
    return [(each.ts, encode(each)) for each in messages]


# --- clocks that are ahead --------------------------------------------------------------------

NONSENSE = b'{"event_id":"y","type":"nonsense","user_id":"u","item_id":"i","ts":1999999999999}'


def kept(folder: Path, slates: Sequence[Decision], events: Sequence[tuple[int, bytes]]) -> Path:
    """Write the folder of a trial."""
    folder.mkdir()
    with contextlib.closing(KeptTopics(folder / TOPICS)) as topics:
        topics.keep([batch_of("decisions", on_time(slates)), batch_of("events", events)])
    return folder


def completed(found: dict[str, Any]) -> list[int]:
    return [each["complete"] for each in found["variants"]]


def test_a_clock_ahead_and_what_is_no_event_end_the_time_of_no_user(
    tmp_path: Path, config: Path
) -> None:
    (ann,), (cem,) = users("control", 1), users("varied", 1)
    slates = [slate(ann, 0, 0.0), slate(cem, 0, 3.0)]
    ahead = taken(cem, 0, 23.0)
    watched = taken(cem, 0, 23.0, "watch", value=0.5)
    now_ms = slates[-1].ts + 60_000
    events = [*((now_ms, encode(each)) for each in (ahead, watched)), (now_ms, NONSENSE)]
    trial = kept(tmp_path / "trial", slates, events)
    log = write_decisions(tmp_path / "log", slates, [line for _, line in events])
    for folder in (trial, log):
        found = reported(folder, config, "--window", "12h")
        assert completed(found) == [0, 0]
        assert found["remarks"][-1].startswith("1 messages can't be read; the first: ")
    # Later, what happened is known by when it was published, where that is known.
    last = slate("new", 0, 40.0, variants=None)
    later = reported(kept(tmp_path / "later", [*slates, last], events), config, "--window", "12h")
    assert completed(later) == [1, 1]
    weights = load_config(env={}).events
    reward = weights["click"].weight + 0.5 * weights["watch"].weight
    assert later["variants"][1]["means"]["reward"] == pytest.approx(reward)
    assert later["variants"][1]["means"]["watched"] == 0.5


def test_the_time_of_users_passes_by_what_is_published_after_the_last_slate(
    tmp_path: Path, config: Path
) -> None:
    (ann,) = users("control", 1)
    slates = [slate(ann, 0, 0.0)]
    browsed = on_time([event(None, "a", event_id="late", ts=START_MS + 20 * HOUR_MS)])
    found = reported(kept(tmp_path / "trial", slates, browsed), config, "--window", "12h")
    assert completed(found) == [1, 0]


def test_a_clock_ahead_of_who_publishes_reaches_no_further_than_now(
    tmp_path: Path, config: Path
) -> None:
    (ann,) = users("control", 1)
    now_ms = time.time_ns() // 1_000_000
    slates = [slate(ann, 0, 0.0, ts=now_ms - 60_000)]
    ahead = on_time([event(None, "a", event_id="ahead", ts=now_ms + 20 * HOUR_MS)])
    found = reported(kept(tmp_path / "trial", slates, ahead), config, "--window", "12h")
    assert completed(found) == [0, 0]


@pytest.mark.parametrize(
    ("at", "n_lines", "ahead_h"),
    [(40, 1, 5.0), (40, 30, 5.0), (40, 1, 616_000.0), (60, 1, 616_000.0)],
)
def test_the_clock_of_one_user_ends_the_time_of_no_other_in_a_file(
    tmp_path: Path, config: Path, at: int, n_lines: int, ahead_h: float
) -> None:
    """Users come for ten hours and have six each: those of the last hours still have time."""
    slates = [slate(f"user {n}", n, n / 6) for n in range(60)]
    right = reported(write_decisions(tmp_path / "right", slates, []), config, "--window", "6h")
    wrong = [slate("mallory", n, at / 6 + ahead_h) for n in range(n_lines)]
    mixed = [*slates[:at], *wrong, *slates[at:]]
    found = reported(write_decisions(tmp_path / "wrong", mixed, []), config, "--window", "6h")
    assert completed(found) == completed(right)
    assert 0 < sum(completed(found)) < 30
    if ahead_h > 24:
        said = f"decisions.jsonl:{at + 1}: field 'ts': {wrong[0].ts} is over a day ahead"
        assert "1 messages can't be read" in found["remarks"][-1]
        assert said in found["remarks"][-1]
    else:
        assert f"{n_lines} decisions are dated ahead of those of all other users, and" in " ".join(
            found["remarks"]
        )


def test_a_file_may_be_in_any_order_and_end_long_after_the_others(
    tmp_path: Path, config: Path
) -> None:
    by_user = [slate(f"user {n}", day, 24.0 * day) for n in range(20) for day in range(10)]
    closing = slate("last", 0, 24.0 * 30)
    found = reported(write_decisions(tmp_path / "log", [*by_user, closing], []), config)
    assert sum(completed(found)) == 20
    assert sum(each["slates"] for each in found["variants"]) == 201
    assert not any("ahead" in said for said in found["remarks"])


def test_what_is_repeated_in_files_is_said(tmp_path: Path, config: Path) -> None:
    (ann,), (cem,) = users("control", 1), users("varied", 1)
    slates = [slate(ann, 0, 0.0), slate(cem, 0, 1.0), slate(ann, 0, 0.0), slate(cem, 0, 2.0)]
    events = [taken(ann, 0, 0.1), taken(ann, 0, 0.1)]
    log = write_decisions(tmp_path / "log", slates, events)
    remarks = reported(log, config)["remarks"][-2:]
    assert remarks[0].startswith(
        "2 decisions repeat the request_id of one before and are left out; 1 of them say something"
        f" else than that one, the first at {log}/decisions.jsonl:4"
    )
    assert remarks[1] == "1 events repeat the event_id of one before and are left out"


def test_users_of_an_experiment_that_began_later_than_what_is_gone_count(
    config: Path, broker: str
) -> None:
    ann, cem = *users("control", 1), *users("varied", 1)
    before = [slate(ann, at, 0.1 * at, variants=None, **LARGE) for at in range(100)]
    publish(broker, [*before, slate(ann, 200, 11.0), slate(cem, 200, 12.0), slate(cem, 201, 50.0)])
    of_topics = ["mix", "--config", str(config), "--bootstrap-servers", broker, "--json"]
    found = json.loads(experiments(*of_topics))
    assert [each["users"] for each in found["variants"]] == [1, 1]
    assert [each["slates"] for each in found["variants"]] == [1, 2]
    assert "messages were deleted" in found["remarks"][0]
    assert not any("left out" in each for each in found["remarks"])


def test_users_of_whom_events_may_be_gone_are_left_out(
    tmp_path: Path, config: Path, broker: str
) -> None:
    ann, bob = users("control", 2)
    slates = [slate(ann, 0, 0.0), slate(bob, 0, 9.0), slate(bob, 1, 60.0)]
    browsed = [
        event(None, "a", "click", event_id=f"{at}", ts=START_MS + at, context={"page": "x" * 4_000})
        for at in range(3_000)
    ]
    publish(broker, [*slates, taken(ann, 0, 0.0), *browsed, taken(bob, 0, 9.1)])
    found = json.loads(
        experiments("mix", "--config", str(config), "--bootstrap-servers", broker, "--json")
    )
    control = found["variants"][0]
    assert (control["users"], control["slates"]) == (1, 2)
    assert control["means"]["reward"] == load_config(env={}).events["click"].weight
    assert "kafka:events: " in found["remarks"][0]
    assert found["remarks"][1].startswith("1 users are left out")
    result = tmp_path / "result.json"
    line = ["replay", "kafka:events", "--model", "popularity", "--json", str(result)]
    replayed = CliRunner().invoke(app, [*line, "--bootstrap-servers", broker])
    assert json.loads(result.read_bytes())["log"]["gone"] == [found["remarks"][0]]
    assert found["remarks"][0] in " ".join(replayed.stderr.split())
