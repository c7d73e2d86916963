"""``streamer doctor``: what the topics show, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from deploy.kafka.node import free_port
from streamer.application import catalogue_findings
from streamer.application.doctor import TAIL_MAX, examine
from streamer.application.findings import Finding
from streamer.application.topic_tail import tail_of
from streamer.application.unread_findings import REQUESTS_MIN
from streamer.cli import app
from streamer.config import Config, TopicRole, changed, load_config
from streamer.events import Event, Item, User, dead_letter, encode, message_key
from streamer.kafka.configured import configured_sink
from streamer.kafka.embedded import EmbeddedBroker
from streamer.learner.match_watch import DECISIONS_MIN, EVENTS_MIN, NO_IDS, WRONG_IDS
from streamer.store.memory import MemoryStore
from tests.schema_registry import in_avro, local_registry


class WrongClock:
    """A clock that is ahead, or behind."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead_ms

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def config(broker: EmbeddedBroker, tmp_path: Path) -> Config:
    flags = {
        "kafka.bootstrap_servers": broker.bootstrap_servers,
        "topics.prefix": f"{tmp_path.name}.",
        "store.url": f"sqlite:{tmp_path / 'none.db'}",
    }
    return load_config(env={}, flags=flags)


def findings(config: Config, *, ahead_ms: int = 0) -> dict[str, Finding]:
    return {each.check: each for each in examine(config, clock=WrongClock(ahead_ms))}


def catalogue(config: Config) -> Finding:
    return catalogue_findings.catalogue_finding(config, tail_of(config, "events", n_max=TAIL_MAX))


def send(config: Config, role: TopicRole, values: Sequence[bytes]) -> None:
    with closing(configured_sink(config)) as sink:
        for number, value in enumerate(values):
            sink.send(config.topics.topic(role), key=f"u{number}".encode(), value=value)
        sink.flush(30)


def send_keyed(config: Config, role: TopicRole, *messages: Item | User) -> None:
    with closing(configured_sink(config)) as sink:
        for each in messages:
            sink.send(config.topics.topic(role), key=message_key(each), value=encode(each))
        sink.flush(30)


def named(request_ids: Sequence[str]) -> list[bytes]:
    return [msgspec.json.encode({"request_id": each}) for each in request_ids]


def test_an_installation_of_which_nothing_is_used_yet(config: Config, tmp_path: Path) -> None:
    found = findings(config)
    assert [each.check for each in found.values() if each.state != "ok"] == ["store"]
    assert "is not there yet" in found["store"].said
    assert not (tmp_path / "none.db").exists()  # the doctor makes nothing
    assert found["catalogue"].said == "no item is on the topic of items"


def test_settings_that_read_what_nothing_has_are_found(config: Config) -> None:
    assert "settings" not in findings(config)
    rules = {
        "rules.adult.exclude": "item.attributes.adlt == true || user.cuntry == 'x'",
        "rules.kids.exclude": "request.context.kids",
    }
    ruled = changed(config, rules)
    nothing = findings(ruled)["settings"]
    assert nothing.state == "ok"
    assert nothing.said == (
        "nothing to look at yet: too few items, users and requests have come to say whether"
        " something has the 3 fields that rules and other settings read"
    )
    send_keyed(
        config,
        "items",
        Item(item_id="a", attributes={"adult": True}),
        Item(item_id="b", attributes={"adlt": True}),
    )
    some = findings(ruled)["settings"]
    assert (some.state, some.said.partition(";")[0]) == (
        "ok",
        "something has 1 of the 3 fields that rules and other settings read",
    )
    send_keyed(config, "items", Item(item_id="b"))
    send_keyed(config, "users", User(user_id="ann", attributes={"country": "x"}))
    found = findings(ruled)["settings"]
    assert found.state == "warn"
    assert found.said == (
        "rules.adult.exclude reads item.attributes.adlt, which none of 2 items has (did you mean"
        " item.attributes.adult?); rules.adult.exclude reads user.cuntry, which none of 1 users"
        " gave (did you mean user.country?)"
    )
    send(config, "requests", [b'{"context": {"kid": true}}', *[b"{}"] * REQUESTS_MIN])
    assert "rules.kids.exclude reads request.context.kids, which none of the last" in (
        findings(ruled)["settings"].said
    )


def test_a_rule_on_users_of_whom_nothing_is_known_is_found_once_many_ask(config: Config) -> None:
    ruled = changed(config, {"rules.eu.only": "user.country == 'EU'"})
    assert findings(ruled)["settings"].state == "ok"
    send(config, "requests", [b"{}"] * REQUESTS_MIN)
    assert "which no user gave" in findings(ruled)["settings"].said


class InTurn(MemoryStore):
    """A store whose partition 0 belongs to one owner after the other, one a look, then the last."""

    def __init__(self, *owners: str) -> None:
        super().__init__()
        self._in_turn = list(owners)

    def owner(self, partition: int) -> str | None:
        if partition or len(self._in_turn) == 1:
            return self._in_turn[-1]
        return self._in_turn.pop(0)


@pytest.mark.parametrize(
    ("owners", "look_s", "said"),
    [
        (
            "aaba",
            600.0,
            "learners 'a' and 'b' take partition 0 of the store from each other; 1 mes",
        ),
        ("aab", 0.0, "1 messages wait, and none was learned"),
    ],
)
def test_learners_that_take_a_partition_from_each_other_are_found(
    config: Config, monkeypatch: pytest.MonkeyPatch, owners: str, look_s: float, said: str
) -> None:
    store = InTurn(*owners)
    monkeypatch.setattr("streamer.application.doctor.configured_store", lambda config: store)
    config = changed(config, {"store.url": "memory:"})
    send(config, "events", [b"not learned yet"])
    found = {each.check: each for each in examine(config, learning_s=look_s)}["learner"]
    assert found.state == "fail"
    assert found.said.startswith(said)
    assert ("kafka.group" in found.remedy) == (owners == "aaba")


def test_a_variant_that_cannot_be_served_beside_the_others_is_found(config: Config) -> None:
    variants = "experiments.x.variants."
    wrong = {f"{variants}bold.bandit.time_features": True, f"{variants}bold.weight": 1}
    found = findings(changed(config, {f"{variants}control.weight": 1, **wrong}))
    assert found["settings"].state == "fail"
    assert "the ranking columns would be others" in found["settings"].said
    assert "dead letters" in found


def test_requests_without_an_answer_are_found(config: Config) -> None:
    send(config, "requests", named(["r1", "r2"]))
    assert findings(config)["scorer"].state == "ok"  # they may yet be answered
    found = findings(config, ahead_ms=10_000)["scorer"]
    assert (found.state, found.said[:8]) == ("fail", "0 of 2 r")
    send(config, "recommendations", named(["r1", "another"]))
    found = findings(config, ahead_ms=10_000)["scorer"]
    assert (found.state, found.said[:8]) == ("warn", "1 of 2 r")
    send(config, "recommendations", [*named(["r2"]), b"no message", b'{"request_id": "\xff"}'])
    assert findings(config, ahead_ms=10_000)["scorer"].said.startswith("2 of 2 requests")


@pytest.mark.parametrize(
    ("spelling", "state", "says"),
    [
        ("i{}", "ok", "12 of 12 items of the events are in the catalogue"),
        ("SKU-{}", "warn", "0 of 12 items of the events are in the catalogue: events are of 'i0'"),
        ("I{}", "warn", "12 in another spelling alone, as 'i0' for 'I0'"),
    ],
)
def test_a_catalogue_of_other_items_than_the_events_is_found(
    config: Config, spelling: str, state: str, says: str
) -> None:
    assert catalogue(config).said == "no item is on the topic of items"
    send(config, "items", [b'{"item_id": "gone"}', b"no item"])
    send(config, "items", [encode(Item(item_id=spelling.format(n))) for n in range(12)])
    clicks = [
        Event(event_id=str(n), type="click", user_id="u", item_id=f"i{n}", ts=n) for n in range(12)
    ]
    send(config, "events", [b"{}", *map(encode, clicks[:9])])
    assert catalogue(config).said == "12 items, and too few events to compare them"
    send(config, "events", [*map(encode, clicks[9:])])
    found = catalogue(config)
    assert found.state == state
    assert says in found.said


def test_chosen_categories_that_no_item_has_are_found(config: Config) -> None:
    send(config, "items", [encode(Item(item_id="a", categories=["Tea"]))])
    send(config, "users", [encode(User(user_id="u", categories=["Garden"]))])
    found = catalogue(config)
    assert (found.state, found.said) == (
        "warn",
        "0 of 1 categories that users chose are items': users chose 'Garden', items are of 'Tea'",
    )
    send(config, "users", [encode(User(user_id="u", categories=["Tea"]))])
    assert catalogue(config).state == "ok"


def test_a_catalogue_that_is_read_in_part_says_nothing_of_what_is_missing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_findings, "READ_MAX", 2)
    with closing(configured_sink(config)) as sink:
        for n in range(3):
            item = encode(Item(item_id=f"i{n}"))
            sink.send(config.topics.topic("items"), key=b"one", value=item)
        sink.flush(30)
    assert catalogue(config).said.startswith("not looked at: a partition of items")


def test_feedback_that_answers_nothing_is_found(config: Config) -> None:
    send(config, "decisions", named([f"r{n}" for n in range(DECISIONS_MIN)]))
    send(config, "events", [b"{}"] * EVENTS_MIN)
    found = findings(config)["feedback"]
    assert (found.state, found.remedy) == ("warn", NO_IDS)
    always = msgspec.structs.replace(config.join, match_without_request="always")
    assert findings(msgspec.structs.replace(config, join=always))["feedback"].state == "ok"
    send(config, "events", named(["unknown"]))
    assert findings(config)["feedback"].remedy == WRONG_IDS
    send(config, "events", named(["r1"] * 20))
    assert findings(config)["feedback"].state == "ok"


def test_a_history_that_was_published_before_any_decision_is_no_finding(config: Config) -> None:
    send(config, "events", [b"{}"] * EVENTS_MIN)
    time.sleep(0.01)  # times are those of their publication, in ms
    send(config, "decisions", named([f"r{n}" for n in range(DECISIONS_MIN)]))
    assert (
        findings(config)["feedback"].said
        == "no event that could answer a decision in the last hour"
    )
    time.sleep(0.01)
    send(config, "events", [b"{}"] * EVENTS_MIN)
    found = findings(config)["feedback"]
    assert (found.state, found.remedy) == ("warn", NO_IDS)


def test_feedback_on_decisions_that_were_not_read_is_no_finding(config: Config) -> None:
    send(config, "decisions", named(["r"] * (8 * TAIL_MAX)))  # of 4 partitions
    send(config, "events", named(["older"] * EVENTS_MIN))
    assert (
        findings(config)["feedback"].said
        == "no event that could answer a decision in the last hour"
    )


def test_feedback_on_decisions_that_were_deleted_of_one_partition_is_no_finding(
    config: Config,
) -> None:
    topic = config.topics.topic("decisions")
    with closing(configured_sink(config)) as sink:
        for each in named(["kept"] * DECISIONS_MIN):
            sink.send(topic, key=b"", value=each, partition=1)
        sink.flush(30)
    time.sleep(0.01)
    send(config, "events", named(["deleted"] * EVENTS_MIN))
    large = msgspec.json.encode({"request_id": "r", "policy_state": "x" * 100_000})
    with closing(configured_sink(config)) as sink:
        for _ in range(100):  # 10 MB, of which the broker keeps 5
            sink.send(topic, key=b"", value=large, partition=0)
        sink.flush(30)
    assert (
        findings(config)["feedback"].said
        == "no event that could answer a decision in the last hour"
    )


def test_dead_letters_are_counted_by_kind(config: Config) -> None:
    reasons = [f"field 'type': \"save{n}\" is unknown; add it" for n in range(3)]
    letters = [
        dead_letter(each, topic="events", partition=0, offset=0, raw=b"")
        for each in [*reasons, "field 'ts': missing from {}; it is required"]
    ]
    send(config, "dead_letters", [encode(each) for each in letters])
    found = findings(config)["dead letters"]
    assert found.state == "warn"
    said = "4 in the last hour: 3 × events: field 'type', 1 × events: field 'ts' is missing"
    assert found.said == said
    assert "the first says: field 'type': \"save" in found.remedy


def test_a_clock_that_is_behind_is_found(config: Config) -> None:
    send(config, "events", [b"{}"])
    assert findings(config)["clock"].state == "ok"
    found = findings(config, ahead_ms=-60_000)["clock"]
    assert found.state == "warn"
    topic = config.topics.topic("events")
    assert found.said.startswith(f"the newest message of {topic} was published ")
    assert found.said.endswith(" s after this machine's time")
    assert f"{topic} --add-config message.timestamp.type=LogAppendTime" in found.remedy


def test_a_registry_and_what_bridges_read_with_it_are_looked_at(config: Config) -> None:
    schema = {
        "type": "record",
        "name": "View",
        "fields": [{"name": each, "type": "string"} for each in ("event_id", "user_id", "item_id")],
    }
    views = [in_avro(1, schema, dict.fromkeys(("event_id", "user_id", "item_id"), "x"))]
    topic = f"{config.topics.prefix}views"

    def looked_at(**registry: str) -> dict[str, Finding]:
        flags = {f"registry.{name}": value for name, value in registry.items()}
        bridge = {"topic": topic, "format": "avro", "type": "click"}
        flags |= {f"bridges.views.{name}": value for name, value in bridge.items()}
        return findings(changed(config, flags))

    def send_views(*values: bytes) -> None:
        with closing(configured_sink(config)) as sink:
            for value in values:
                sink.send(topic, key=b"", value=value)
            sink.flush(30)

    with local_registry() as served:
        served.schemas[1] = {"schema": json.dumps(schema)}
        missing = looked_at(url=served.url)["bridge views"]
        assert (missing.state, missing.said) == ("fail", f"topic {topic} is not on the broker")
        send_views(*views)
        found = looked_at(url=served.url)
        assert {each.state for each in found.values() if each.check != "store"} == {"ok"}
        assert found["registry"].said == f'the schema registry at "{served.url}" answers'
        assert found["bridge views"].said == f"can translate the last 1 messages of {topic}"
        send_views(*[b"\x00\x00\x00\x00\x63abc"] * 2)
        found, n_asked = looked_at(url=served.url), served.asked.count("/schemas/ids/99")
        assert n_asked == 1  # though two messages name it
        assert found["bridge views"].state == "warn"
        assert found["bridge views"].said.startswith("2 of the last 3 messages")
        assert "schema 99 is not in the schema registry" in found["bridge views"].remedy
        served.user_info = "ann:right"
        found = looked_at(url=served.url, user="ann", password="wrong")
        assert found["registry"].state == "fail"
        assert found["registry"].remedy.startswith("correct registry.user and registry.password")
        assert "bridge views" not in found
    found = looked_at(url=f"http://127.0.0.1:{free_port()}")
    assert found["registry"].state == "fail"
    assert found["registry"].remedy == "start it, or correct [registry]"
    assert found["topics"].state == "ok"  # the others are looked at all the same


def test_its_exit_status_says_whether_something_failed(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    servers = config.kafka.bootstrap_servers
    result = CliRunner().invoke(app, ["doctor", "--bootstrap-servers", servers])
    assert result.exit_code == 0, result.output
    assert "ok   broker" in result.output
    assert "→ start `streamer learn`" in result.output

    monkeypatch.setenv("STREAMER_KAFKA__REQUEST_TIMEOUT_S", "0.5")
    words = ["doctor", "--json", "--bootstrap-servers", f"127.0.0.1:{free_port()}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1, result.output
    found = {each["check"]: each for each in json.loads(result.stdout)}
    assert found["broker"]["state"] == "fail"
    assert found["broker"]["remedy"].startswith("start the broker")
    assert found["topics"]["said"] == "not looked at: the broker does not answer"
