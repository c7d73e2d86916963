"""Bad items and features: one letter each, whatever scorers come and go."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

import numpy as np
import pytest

from streamer.application.services.letter_duty import GroupDuty
from streamer.errors import KafkaUnavailable
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.log_ends import EARLIEST
from streamer.kafka.reader import KafkaReader
from streamer.kafka.sink import KafkaSink
from streamer.protocols import MessageBatch
from streamer.scorer.topic_letters import TopicLetters
from streamer.simulation.broker import ManualClock

ITEMS = ("items", 0)


class Group:
    """What the scorers of a group share: offsets at the broker, and the letters."""

    def __init__(self) -> None:
        self.offsets: dict[tuple[str, int], int] = {}
        self.letters: list[tuple[str, int, int, str]] = []
        self.away = False


class Scorer:
    """One of them; ``mine``: it owns partition 0 of the requests."""

    def __init__(self, group: Group, *, mine: bool = True) -> None:
        self.mine = mine
        self.clock = ManualClock(0)
        self._group = group
        self._unsent: list[tuple[str, int, int, str]] = []
        self.letters = TopicLetters(self, send=self._send, flush=self._flush, clock=self.clock)

    def reads(self, bad: Collection[int], *, end: int, where: tuple[str, int] = ITEMS) -> None:
        """Find these offsets bad, and come to ``end``."""
        offsets = np.array(sorted(bad), np.int64)
        batch = MessageBatch(*where, [b"[]"] * len(offsets), offsets, np.zeros_like(offsets))
        for index in range(len(offsets)):
            self.letters.found(batch, index, "no object")
        self.letters.read_to({where: end})

    def settles(self) -> None:
        self.clock.sleep(60.0)
        self.letters.settle()

    def _send(self, batch: MessageBatch, index: int, reason: str) -> None:
        self._unsent.append((batch.topic, batch.partition, int(batch.offsets[index]), reason))

    def _flush(self) -> None:
        self._group.letters += self._unsent
        self._unsent.clear()

    def is_mine(self) -> bool:
        return self.mine

    def sent(self, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
        if self._group.away:
            raise KafkaUnavailable("no coordinator")
        return {each: at for each, at in self._group.offsets.items() if each in partitions}

    def tell_sent(self, offsets: Mapping[tuple[str, int], int], *, wait: bool) -> None:
        if self._group.away:
            raise KafkaUnavailable("no coordinator")
        self._group.offsets |= offsets


@pytest.fixture
def group() -> Group:
    return Group()


def offsets_of(group: Group, topic: str = "items") -> list[int]:
    return [offset for of, _, offset, _ in group.letters if of == topic]


def test_a_restart_sends_no_letter_again(group: Group) -> None:
    first = Scorer(group)
    first.reads([3, 5], end=8)
    first.settles()
    assert group.letters == [("items", 0, 3, "no object"), ("items", 0, 5, "no object")]
    again = Scorer(group)
    again.reads([3, 5], end=8)
    again.settles()
    again.reads([8], end=9)
    again.settles()
    assert offsets_of(group) == [3, 5, 8]


def test_what_came_while_no_scorer_ran_has_its_letter(group: Group) -> None:
    Scorer(group).settles()
    first = Scorer(group)
    first.reads([], end=4)
    first.settles()
    later = Scorer(group)
    later.reads([2, 6], end=7)  # 2 was good to whoever read it, or had its letter
    later.settles()
    assert offsets_of(group) == [6]


def test_one_of_several_scorers_sends_it_and_its_successor_what_it_did_not(group: Group) -> None:
    owner, other = Scorer(group), Scorer(group, mine=False)
    for each in (owner, other):
        each.reads([1], end=2)
        each.settles()
    assert offsets_of(group) == [1]
    other.reads([2], end=3)  # the owner is killed before it reads it
    other.settles()
    assert offsets_of(group) == [1]
    other.mine = True
    other.settles()
    assert offsets_of(group) == [1, 2]


def test_what_is_found_before_the_position_is_noted_waits_for_it(group: Group) -> None:
    first = Scorer(group)
    first.reads([1], end=2, where=("features", 1))
    first.settles()
    again = Scorer(group)
    offsets = np.array([1], np.int64)
    batch = MessageBatch("features", 1, [b"[]"], offsets, np.zeros_like(offsets))
    again.letters.found(batch, 0, "no object")  # by the other thread, in the middle of its round
    again.settles()
    again.letters.read_to({("features", 1): 2})
    again.settles()
    assert offsets_of(group, "features") == [1]


def test_a_topic_that_was_made_anew_has_its_letters(group: Group) -> None:
    group.offsets[ITEMS] = 100
    scorer = Scorer(group)
    scorer.reads([0], end=2)
    scorer.settles()
    assert offsets_of(group) == [0]
    assert group.offsets == {ITEMS: 2}


@pytest.mark.parametrize("end", [2, 100, 150])
def test_a_topic_that_is_made_anew_under_a_scorer_has_its_letters(group: Group, end: int) -> None:
    scorer = Scorer(group)
    scorer.reads([3], end=100)
    scorer.settles()
    scorer.reads([], end=1) if end < 100 else None
    scorer.reads([1], end=end)
    scorer.settles()
    assert offsets_of(group) == [3, 1]
    scorer.settles()
    assert offsets_of(group) == [3, 1]
    assert group.offsets == {ITEMS: end}


def test_while_the_broker_is_away_letters_wait(
    group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = Scorer(group)
    group.away = True
    scorer.reads([0], end=2)
    scorer.settles()
    scorer.settles()
    assert group.letters == []
    assert caplog.text.count("letters_wait") == 1
    group.away = False
    scorer.letters.settle()
    assert group.letters == [], "it is not tried again at once"
    scorer.settles()
    assert offsets_of(group) == [0]


def test_what_is_remembered_is_bounded(
    group: Group, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamer.scorer.topic_letters.BYTES_MAX", 3_500)
    scorer = Scorer(group)
    scorer.reads(range(5), end=5)
    scorer.settles()
    assert offsets_of(group) == [2, 3, 4]
    assert "letters_forgotten" in caplog.text


def test_the_offsets_of_a_group_are_those_of_the_broker() -> None:
    with EmbeddedBroker() as broker, contextlib.ExitStack() as stack:
        with contextlib.closing(KafkaSink(broker.bootstrap_servers)) as sink:
            sink.send("items", key=b"a", value=b"[]", partition=0)

        def duty(group: str) -> GroupDuty:
            reader = KafkaReader(broker.bootstrap_servers, {ITEMS: EARLIEST}, group=group)
            stack.callback(reader.close)
            reader.poll(n_max=1, timeout_s=10.0)
            return GroupDuty(reader)

        first = duty("ours")
        assert first.sent([ITEMS]) == {}
        first.tell_sent({ITEMS: 7}, wait=True)
        assert duty("ours").sent([ITEMS]) == {ITEMS: 7}
        assert duty("theirs").sent([ITEMS]) == {}


def test_the_duty_is_that_of_the_owner_of_partition_0() -> None:
    with contextlib.closing(KafkaReader("127.0.0.1:1", group="ours")) as reader:
        duty = GroupDuty(reader)
        assert not duty.is_mine()
        duty.take([0, 2])
        assert duty.is_mine()
        duty.take([1])
        assert not duty.is_mine()
