"""Users who say something of themselves: from the topic to slates, and executed again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from streamer.application.committed import learned_offsets
from streamer.config import Config, load_config
from streamer.errors import BadMessage, ConfigError, Fenced
from streamer.events import Event, Item, Request, User, decode_user, encode
from streamer.events.profiles import NO_PROFILE, Profile, profile_of, profile_row
from streamer.learner.configured import learner_settings
from streamer.learner.users import LOOK_EVERY_S, FollowedUsers
from streamer.model_set import build_models
from streamer.simulation.broker import ManualClock, MemoryBroker, MemoryReader, MemorySink
from streamer.simulation.live import Answer, LiveSystem
from streamer.store import open_store
from streamer.store.rebuild import forget_all
from streamer.store.sqlite import SqliteStore
from streamer.verify.parameters import Contents, image_contents
from streamer_models.state.ids.id_table import id_key
from tests.verified_slates import verified_again
from tests.verified_store import verified_store

START_MS = 1_700_000_000_000
KINDS = ("drama", "crime", "news", "sport", "music")
N_EACH = 20


def config_of(**given: object) -> Config:
    flags = {
        "topics.partitions": 2,
        "mf.factors": 4,
        "bandit.policy": "greedy",
    }
    return load_config(env={}, flags=flags | {k.replace("__", "."): v for k, v in given.items()})


def started(config: Config | None = None) -> LiveSystem:
    """A shop in which most users like music, and everything is older than a week."""
    live = LiveSystem(config or config_of(), start_ms=START_MS)
    live.publish(*_items(), *_events())
    live.advance(START_MS + 1_000)
    return live


def _items() -> Iterator[Item]:
    for kind in KINDS:
        for n in range(N_EACH):
            yield Item(
                item_id=f"{kind}-{n}",
                categories=[kind],
                created_ts=START_MS - 10**10,
                attributes={"country": ("de", "pt")[n % 2]},
            )


def _events() -> Iterator[Event]:
    rng = np.random.default_rng(0)
    for n in range(300):
        user = int(rng.integers(40))
        kind = KINDS[min(user % 8, 4)]
        yield click(f"u{user}", f"{kind}-{rng.integers(N_EACH)}", n)


def click(user_id: str, item_id: str, n: int = 0) -> Event:
    event_id = f"{user_id} {item_id} {n}"
    return Event(event_id=event_id, type="click", user_id=user_id, item_id=item_id, ts=START_MS + n)


def later(live: LiveSystem, ms: int = 100) -> None:
    live.advance(live.clock.now_ms() + ms)


def kinds_of(answer: Answer) -> list[str]:
    return [item_id.partition("-")[0] for item_id in answer.item_ids]


def known_of(live: LiveSystem, user_id: str) -> Profile:
    """What the scorer knows that a user says."""
    return live.scorer.replica.current().users.profile(id_key(user_id.encode()))


def contents_of(live: LiveSystem) -> list[Contents]:
    """What the store has of each partition."""
    models, settings = build_models(live.config), learner_settings(live.config)
    partitions = range(live.config.topics.partitions)
    return [image_contents(live.store.load(p), models, settings) for p in partitions]


# --- what it does to slates ----------------------------------------------------------------------


def test_who_chooses_two_categories_has_them_in_the_next_slate() -> None:
    live = started()
    assert set(kinds_of(live.request("eve", k=10))) == {"music"}
    live.publish(User(user_id="eve", categories=["news", "drama"]))
    later(live)
    answer = live.request("eve", k=10)
    assert set(kinds_of(answer)) == {"news", "drama"}
    for each in answer.recommendation.items:
        assert each.reason == f"you chose {each.item_id.partition('-')[0]}"
    assert set(kinds_of(live.request("bob", k=10))) == {"music"}, "it is the choice of one"


def test_what_a_user_does_counts_more_than_what_they_chose() -> None:
    live = started(config_of(recall__chosen__until=5))
    live.publish(User(user_id="eve", categories=["news"]))
    later(live)
    decision = live.request("eve").decision
    scores = decision.feature_matrix()[:, decision.feature_names.index("chosen_score")]
    is_news = np.array([each.startswith("news") for each in decision.candidates])
    np.testing.assert_array_equal(scores, is_news.astype(np.float32))
    live.publish(*(click("eve", f"sport-{n}", n) for n in range(2)))
    later(live)
    decision = live.request("eve").decision
    scores = decision.feature_matrix()[:, decision.feature_names.index("chosen_score")]
    assert scores.max() == np.float32(0.6)
    live.publish(*(click("eve", f"sport-{n}", n) for n in range(2, 9)))
    later(live)
    decision = live.request("eve").decision
    assert not decision.feature_matrix()[:, decision.feature_names.index("chosen_score")].any()


def test_a_choice_counts_as_items_of_the_category_for_affinity() -> None:
    live = started()
    live.publish(User(user_id="eve", categories=["news", "drama"]), click("eve", "sport-1"))
    later(live)
    decision = live.request("eve").decision
    shares = decision.feature_matrix()[:, decision.feature_names.index("category_affinity")]
    of_kind = {
        each.partition("-")[0]: float(share)
        for each, share in zip(decision.candidates, shares, strict=True)
    }
    # One item was met, and each choice counts as three.
    assert of_kind["news"] == of_kind["drama"] == np.float32(3 / 7)
    assert of_kind["sport"] == np.float32(1 / 7)
    assert of_kind["music"] == 0


def test_a_request_with_seeds_goes_with_the_seeds() -> None:
    live = started()
    live.publish(User(user_id="eve", categories=["news"]))
    later(live)
    asked = Request(request_id="s", user_id="eve", ts=START_MS, k=5, seed_items=["sport-1"])
    decision = live.answer([asked])[0].decision
    assert not decision.feature_matrix()[:, decision.feature_names.index("chosen_score")].any()


def test_rules_and_filters_read_what_a_user_says() -> None:
    live = started(config_of(rules__region__only="item.attributes.country == user.country"))
    live.publish(User(user_id="eve", attributes={"country": "pt", "age": 31, "adult": True}))
    later(live)
    answer = live.request("eve", k=5)
    assert answer.item_ids
    assert all(int(each.partition("-")[2]) % 2 for each in answer.item_ids)
    assert live.request("bob").item_ids == [], "of whom no country is known"

    def filtered(request_id: str, text: str) -> list[str]:
        asked = Request(request_id=request_id, user_id="eve", ts=START_MS, k=5, filter=text)
        return live.answer([asked])[0].item_ids

    assert filtered("a", "user.age > 30 && user.adult")
    assert not filtered("b", "user.age > 31")
    assert not filtered("c", "user.city == 'Porto'"), "which they did not say"


def test_a_rule_of_a_user_names_one_attribute() -> None:
    with pytest.raises(ConfigError, match=r"write user\.NAME"):
        config_of(rules__odd__exclude="user.attributes.country == 'pt'")


# --- what is kept --------------------------------------------------------------------------------


def test_the_last_message_of_a_user_counts_and_a_tombstone_deletes() -> None:
    live = started()
    first = User(user_id="eve", categories=["news"], attributes={"age": 31}, ts=7)
    live.publish(first)
    later(live)
    assert known_of(live, "eve").message("eve") == first
    live.publish(User(user_id="eve", categories=["drama"]), User(user_id="bob", ts=1))
    later(live)
    assert known_of(live, "eve") == Profile(("drama",))
    live.delete(User(user_id="eve"))
    later(live)
    assert known_of(live, "eve") is NO_PROFILE
    assert known_of(live, "bob") == Profile(ts=1)
    live.publish(User(user_id="eve", categories=["sport"]))
    later(live)
    assert known_of(live, "eve") == Profile(("sport",))


def test_a_row_holds_all_that_a_decoder_takes() -> None:
    attributes: dict[str, str | int | float | bool] = {
        "a": 1,
        "b": 2.5,
        "c": True,
        "d": "é",
        "n": 2**80,
    }
    user = User(user_id="eve", categories=["x", "y", "x"], attributes=attributes, ts=3)
    found = profile_of(profile_row(decode_user(encode(user))))
    assert found == Profile(("x", "y"), attributes, 3)
    with pytest.raises(BadMessage, match=r"takes 5\d\d bytes of 504; send fewer"):
        decode_user(encode(User(user_id="eve", attributes={"about": 500 * "x"})))


def test_at_the_bound_who_was_described_longest_ago_goes() -> None:
    live = LiveSystem(config_of(topics__partitions=1, learner__users_max=20), start_ms=START_MS)
    live.publish(*(User(user_id=f"u{n}", ts=n) for n in range(50)))
    live.sync()
    (found,) = contents_of(live)
    assert len(found.names["profile"]) <= 20
    assert known_of(live, "u49").ts == 49
    assert known_of(live, "u0") is NO_PROFILE


@pytest.mark.parametrize("users_max", [8, 200_000])
def test_what_is_kept_does_not_depend_on_where_batches_end(users_max: int) -> None:
    rng = np.random.default_rng(1)
    config = config_of(topics__partitions=1, learner__users_max=users_max)
    at_once, one_by_one = (LiveSystem(config, start_ms=START_MS) for _ in range(2))
    for n in range(80):
        user = User(user_id=f"u{rng.integers(15)}", ts=n)
        for live in (at_once, one_by_one):
            if n % 7 == 3:
                live.delete(user)
            else:
                live.publish(user)
        one_by_one.sync()
    at_once.sync()
    for found, wanted in zip(contents_of(at_once), contents_of(one_by_one), strict=True):
        assert found.names == wanted.names
        for name, (keys, values) in found.tables.items():
            np.testing.assert_array_equal(keys, wanted.tables[name][0], name)
            np.testing.assert_array_equal(values, wanted.tables[name][1], name)


# --- executed again ------------------------------------------------------------------------------


Life = tuple[LiveSystem, list[Answer]]


@pytest.fixture(scope="module")
def life() -> Life:
    """Users say something, do something, say something else, and learners are lost meanwhile."""
    live = started()
    answers = [live.request(f"new{n}") for n in range(4)]
    for n in range(4):
        live.publish(User(user_id=f"new{n}", categories=[KINDS[n], "no such kind"]))
    later(live)
    answers += [live.request(f"new{n}") for n in range(4)]
    live.publish(*(click(f"new{n}", f"sport-{n}") for n in range(3)))
    live.publish(User(user_id="new0", categories=["music"]), User(user_id="u1", ts=1))
    live.crash()  # what it had read and not committed is read again
    later(live)
    live.delete(User(user_id="new1"))
    later(live)
    answers += [live.request(f"new{n}") for n in range(4)]
    live.publish(*(click(f"new{n}", f"drama-{n}", 1) for n in range(4)))
    live.crash()
    later(live)
    return live, answers


def test_a_store_with_users_is_executed_again_bit_for_bit(life: Life) -> None:
    live, _ = life
    found = verified_store(live)
    assert (found.problems, found.unchecked, found.remarks) == ([], [], [])
    assert known_of(live, "new0") == Profile(("music",))
    assert known_of(live, "new1") is NO_PROFILE


def test_a_last_commit_says_where_every_topic_is(life: Life) -> None:
    live, _ = life
    for partition in range(2):
        live.publish(User(user_id=f"last{partition}"))
    later(live)
    ends = {("events", p): live.broker.end(("events", p)) for p in range(2)}
    assert {w: at for w, at in learned_offsets(live.store).items() if w in ends} == ends


def test_slates_of_users_who_chose_are_made_again_bit_for_bit(life: Life) -> None:
    live, answers = life
    found = verified_again(live, [answer.decision for answer in answers])
    assert (found.n_same, found.problems) == (len(answers), [])


def test_what_compaction_took_of_the_topic_is_said(life: Life) -> None:
    live, _ = life
    found = verified_store(live, without={("users", 0)})
    assert found.problems == []
    said = [*found.unchecked, *found.remarks]
    assert said
    assert all("topic users no longer has" in each for each in said)


# --- erased --------------------------------------------------------------------------------------


def holders_of(live: LiveSystem, user_id: str) -> set[str]:
    """Entities of which the store has a user, and "served" where the scorer has."""
    key, name = id_key(user_id.encode()), user_id.encode()
    found = {
        entity
        for contents in contents_of(live)
        for entity, names in contents.names.items()
        if name in names
    }
    users = live.scorer.replica.current().users
    served = users.map.find_one(key) >= 0 or users.profile(key) is not NO_PROFILE
    return found | ({"served"} if served else set())


def test_a_tombstone_erases_all_that_belongs_to_a_user() -> None:
    live = started()
    eve = User(user_id="eve", categories=["news"])
    live.publish(eve, click("eve", "sport-1"), click("bob", "sport-1"))
    later(live)
    assert holders_of(live, "eve") == {"user", "feature_user", "profile", "served"}
    live.delete(eve)
    later(live)
    assert holders_of(live, "eve") == set()
    assert holders_of(live, "bob") == {"user", "feature_user", "served"}
    decision = live.request("eve").decision
    assert not decision.feature_matrix()[:, decision.feature_names.index("category_affinity")].any()
    live.publish(click("eve", "drama-3", 1))
    later(live)
    users = live.scorer.replica.current().users
    row = users.map.find_one(id_key(b"eve"))
    assert users.history(row).tolist() == [id_key(b"drama-3")], "who comes back starts anew"
    found = verified_store(live)
    assert (found.problems, found.unchecked, found.remarks) == ([], [], [])


def test_events_that_were_published_before_a_tombstone_do_not_bring_the_user_back() -> None:
    live = started()
    live.publish(*(click(f"eve{n % 3}", f"sport-{n}", n) for n in range(9)))
    live.delete(*(User(user_id=f"eve{n}") for n in range(3)))
    later(live)
    for n in range(3):
        assert holders_of(live, f"eve{n}") == set()
    assert verified_store(live).problems == []


def test_a_rebuild_with_the_tombstone_on_the_topic_ends_without_the_user() -> None:
    live = started()
    live.publish(User(user_id="eve", ts=1), click("eve", "sport-1"), click("ann", "sport-2"))
    later(live)
    live.delete(User(user_id="eve"), User(user_id="ann"))
    later(live, 10_000)
    live.publish(click("ann", "drama-1", 1), click("eve2", "sport-3"))  # she came back
    later(live)
    asked = live.store.layout()
    assert asked is not None
    live.clock.sleep(60)  # 600 times of learning and following
    forget_all(live.store, asked, owner="rebuild")
    live.crash()
    later(live)
    assert holders_of(live, "eve") == set()
    assert holders_of(live, "ann") == {"user", "feature_user", "served"}
    users = live.scorer.replica.current().users
    row = users.map.find_one(id_key(b"ann"))
    assert users.history(row).tolist() == [id_key(b"drama-1")]
    found = verified_store(live)
    assert (found.problems, found.unchecked) == ([], [])


def test_a_learner_lost_between_a_tombstone_and_its_commit_erases_it_after_all() -> None:
    live = started()
    live.publish(User(user_id="eve", ts=1), click("eve", "sport-1"))
    later(live)
    live.delete(User(user_id="eve"))
    for p in range(2):
        live.store.acquire(p, "another learner")
    with pytest.raises(Fenced):
        later(live)
    live.crash()
    assert holders_of(live, "eve") == {"user", "feature_user", "profile", "served"}
    later(live)
    assert holders_of(live, "eve") == set()
    assert verified_store(live).problems == []


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_id_is_nowhere_in_the_bytes_of_a_file(tmp_path: Path, checkpointed: bool) -> None:
    path = tmp_path / "store.db"
    config = config_of(learner__checkpoint_interval_s=5.0)
    live = LiveSystem(config, start_ms=START_MS, store=SqliteStore(path, log_entries_kept=1))
    erase_and_go_on(live, checkpointed=checkpointed)
    files = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"user-who-stays" in files
    assert b"user-to-forget" not in files


@pytest.mark.integration
def test_the_id_is_nowhere_among_the_keys_of_a_server(redis_url: str, redis_prefix: str) -> None:
    config = config_of(learner__checkpoint_interval_s=5.0)
    store = open_store(redis_url, key_prefix=redis_prefix, log_entries_kept=1)
    live = LiveSystem(config, start_ms=START_MS, store=store)
    erase_and_go_on(live, checkpointed=True)
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("rdbcompression", "no")
        found = b"".join(
            client.dump(key) or b"" for key in client.scan_iter(match=f"{redis_prefix}*")
        )
    store.close()
    assert b"user-who-stays" in found
    assert b"user-to-forget" not in found


def erase_and_go_on(live: LiveSystem, *, checkpointed: bool) -> None:
    """Have users come and go, and others go on until the log is trimmed behind it."""
    live.publish(*_items())
    gone = [f"user-to-forget-{n}" for n in range(40)]
    live.publish(*(User(user_id=each, attributes={"of": "user-to-forget"}) for each in gone))
    live.publish(*(click(each, "sport-1") for each in (*gone, "user-who-stays")))
    later(live, 6_000 if checkpointed else 100)
    live.delete(*(User(user_id=each) for each in gone))
    for n in range(4):  # of both partitions
        live.publish(*(click(f"u{k}", f"news-{n}", n) for k in range(8)))
        later(live, 6_000)


# --- items that are forgotten --------------------------------------------------------------------


def item_holders_of(live: LiveSystem, item_id: str) -> list[set[str]]:
    """Entities of which each partition has an item."""
    name = item_id.encode()
    return [
        {entity for entity, names in contents.names.items() if name in names}
        for contents in contents_of(live)
    ]


def test_a_tombstone_forgets_an_item_in_every_partition() -> None:
    live = started()
    live.publish(*(click(f"fan{n}", "news-1") for n in range(6)))
    later(live)
    live.publish(*shown(live, "ann", ["news-1", "news-2"]))
    later(live)
    known = item_holders_of(live, "news-1")
    assert all(each >= {"item", "feature_item"} for each in known)
    assert any("arm" in each for each in known)
    live.delete(Item(item_id="news-1"))
    later(live)
    assert item_holders_of(live, "news-1") == [set(), set()]
    assert live.scorer.replica.current().items.map.find_one(id_key(b"news-1")) < 0
    assert all("item" in each for each in item_holders_of(live, "music-1"))
    live.crash()
    live.publish(Item(item_id="news-1", categories=["news"]), click("fan1", "news-1", 1))
    later(live)
    assert {"item", "feature_item"} in item_holders_of(live, "news-1"), "it starts anew"
    live.crash()
    later(live)
    assert {"item", "feature_item"} in item_holders_of(live, "news-1"), "it was published again"
    found = verified_store(live)
    assert (found.problems, found.unchecked, found.remarks) == ([], [], [])


def test_an_item_that_was_deleted_while_no_learner_ran_is_forgotten_when_one_starts() -> None:
    live = started()
    assert any(item_holders_of(live, "music-1"))
    live.delete(Item(item_id="music-1"))
    live.crash()
    later(live)
    assert item_holders_of(live, "music-1") == [set(), set()]
    assert verified_store(live).problems == []


def shown(live: LiveSystem, user_id: str, item_ids: list[str]) -> Iterator[Event]:
    """Have a user be shown items, and click the first."""
    asked = Request(request_id="shown", user_id=user_id, ts=START_MS, k=2, candidates=item_ids)
    answer = live.answer([asked])[0]
    yield Event(
        event_id="on shown",
        type="click",
        user_id=user_id,
        item_id=answer.item_ids[0],
        ts=live.clock.now_ms(),
        request_id="shown",
    )


# --- a topic that may be missing -----------------------------------------------------------------


def test_a_topic_that_is_missing_is_looked_for_now_and_then() -> None:
    broker, clock, now_s = MemoryBroker({}), ManualClock(), 0.0
    users = FollowedUsers(
        MemoryReader(broker, [], clock=clock), "users", "events", now_s=lambda: now_s
    )
    users.start({0: 0, 1: 0})
    assert users.poll() == []
    broker.make("users", 2)
    MemorySink(broker, clock=clock).send("users", key=b"eve", value=encode(User(user_id="eve")))
    assert users.poll() == [], "it was looked for a moment ago"
    now_s = LOOK_EVERY_S
    (read,) = users.poll()
    assert read.batch.keys == [b"eve"]
    assert users.poll() == []
