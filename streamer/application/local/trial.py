"""A folder in which a trial on the embedded broker lasts: its topics and its store."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from streamer.application.committed import learned_offsets
from streamer.application.local.kept_topics import KeptMessage, KeptTopics
from streamer.application.local.topics_keeper import TopicsKeeper
from streamer.application.starting import configured_store
from streamer.client.embedded_room import EmbeddedRoom
from streamer.config import Config, TopicRole
from streamer.errors import ConfigError, StoreError, StreamerError
from streamer.kafka.configured import configured_reader, configured_sink
from streamer.kafka.log_ends import TopicPartition
from streamer.kafka.sink import KafkaSink

_LEARNED: Final[tuple[TopicRole, ...]] = ("events", "decisions")
STORE: Final = "streamer.db"
TOPICS: Final = "topics.db"
"""Files of the folder."""


class Trial:
    """What was published and learned before, brought back; made by :func:`trial_in`.

    The store goes with the topics it was learned from: its offsets are theirs. So every message
    comes to its old offset before anything new does.

    Attributes
    ----------
    config
        With the store of the folder.
    n_unkept
        Messages that the store of an earlier run had learned and the topics had not kept: that run
        was killed between the two. What was kept is learned again.
    set_aside
        The file of that store; None where it goes on.
    """

    def __init__(
        self,
        config: Config,
        kept: KeptTopics,
        *,
        ends: Mapping[TopicPartition, int],
        learned: Mapping[TopicPartition, int],
        n_unkept: int,
        set_aside: Path | None,
    ) -> None:
        self.config = config
        self.n_unkept = n_unkept
        self.set_aside = set_aside
        self._kept = kept
        self._ends = ends
        self._learned = learned
        self._keeper: TopicsKeeper | None = None

    @property
    def n_kept(self) -> int:
        """Messages of earlier runs."""
        return sum(self._ends.values())

    def bring_back(self, config: Config) -> None:
        """Publish what was there to a new broker, but for what is not learned yet."""
        self._kept.begin()
        with contextlib.closing(configured_sink(config)) as sink:
            for message in self._kept.messages(ends=self._to_learn(config)):
                send(sink, message, partition=message.partition)

    def go_on(self, config: Config) -> None:
        """Publish what is to be learned, as a learner reads it, and keep what comes from now on.

        Raises
        ------
        StreamerError
            When the topics are not what they were: something else was published meanwhile.
        """
        to_learn = self._to_learn(config)
        with contextlib.ExitStack() as stack:
            sink = stack.enter_context(contextlib.closing(configured_sink(config)))
            timeout_s = config.kafka.request_timeout_s
            rooms = {
                topic: EmbeddedRoom(config, topic, flush=lambda: sink.flush(timeout_s))
                for topic in {topic for topic, _ in to_learn}
            }
            for room in rooms.values():
                stack.callback(room.close)
            for message in self._kept.messages(starts={**self._ends, **to_learn}):
                send(sink, message, partition=message.partition)
                rooms[message.topic].sent(len(message.value or b""))
        with contextlib.closing(configured_reader(config)) as reader:
            found = reader.end_offsets(list(self._ends))
        for where, end in self._ends.items():
            if found[where] != end:
                raise StreamerError(
                    f"{where[0]}[{where[1]}] ends at offset {found[where]}, and {end} messages were"
                    " brought back: something was published meanwhile; start again"
                )
        self._keeper = TopicsKeeper(config, self._kept, self._ends)

    def check(self) -> None:
        """Raise StreamerError when something can't be kept."""
        if self._keeper is not None:
            self._keeper.check()

    def close(self) -> None:
        """Keep what has come; raises as :meth:`check`."""
        if self._keeper is not None:
            self._keeper.close()
            self._kept.end()

    def _to_learn(self, config: Config) -> dict[TopicPartition, int]:
        """Partitions of what a learner reads → first offset that it has not learned."""
        topics = {config.topics.topic(role) for role in _LEARNED}
        return {where: self._learned.get(where, 0) for where in self._ends if where[0] in topics}


@contextlib.contextmanager
def trial_in(folder: Path, config: Config) -> Iterator[Trial]:
    """Yield the trial of a folder, which is made where it is missing.

    Raises
    ------
    ConfigError
        When the folder can't be used, or is in use; where the configuration names a broker, which
        keeps its own topics, or a store.
    StoreError
        When a file in it can't be used, or lacks what it had.
    """
    if config.kafka.bootstrap_servers:
        raise ConfigError(
            f"--data keeps what the embedded broker has, and Kafka at"
            f" {config.kafka.bootstrap_servers} keeps its own: leave out one of them"
        )
    if config.origins["store.url"] != "default":
        raise ConfigError(
            f"--data {folder} has a store of its own, which goes with its topics: leave out"
            f" store.url (it is set by {config.origins['store.url']})"
        )
    store = msgspec.structs.replace(config.store, url=f"sqlite:{folder / STORE}")
    config = msgspec.structs.replace(config, store=store)
    with locked(folder), contextlib.closing(KeptTopics(folder / TOPICS)) as kept:
        ends = kept.ends()
        if (folder / STORE).exists():
            check_whole(kept, folder)
        learned = _learned(config, folder)
        n_unkept = sum(max(0, at - ends.get(where, 0)) for where, at in learned.items())
        set_aside = None
        if n_unkept:
            if not kept.was_killed:
                raise StoreError(
                    f"{folder / STORE} has learned {n_unkept:,} messages that {folder / TOPICS}"
                    " does not have, and the last run was not killed: the two are not of one trial."
                    f" Put back the one that goes with the other; or move {folder / STORE} away,"
                    f" and what {TOPICS} has is learned anew"
                )
            learned, set_aside = {}, _set_aside(folder)
        yield Trial(
            config, kept, ends=ends, learned=learned, n_unkept=n_unkept, set_aside=set_aside
        )


def check_whole(kept: KeptTopics, folder: Path) -> None:
    """Raise StoreError where the topics of a folder lack messages that were kept in them."""
    gone = kept.n_gone()
    if gone:
        (topic, partition), n = max(gone.items(), key=lambda each: each[1])
        raise StoreError(
            f"{folder / TOPICS} lacks {sum(gone.values()):,} messages that were kept in it, {n:,}"
            f" of them of {topic}[{partition}]: put that file back, with {TOPICS}-wal where there"
            f" was one; or move {folder / STORE} away, to begin anew with what is left"
        )


def _learned(config: Config, folder: Path) -> dict[TopicPartition, int]:
    try:
        with contextlib.closing(configured_store(config)) as opened:
            return learned_offsets(opened)
    except StoreError as error:
        if error.retriable:
            raise
        raise type(error)(
            f"{error}. In a trial that is: move {folder / STORE} away, and what {TOPICS} has is"
            " learned anew"
        ) from error


def _set_aside(folder: Path) -> Path:
    """Rename the store's files; return the new name of the first."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = folder / f"{at}-{STORE}"
    n = 1
    while aside.exists():
        aside, n = folder / f"{at}-{n}-{STORE}", n + 1
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            (folder / f"{STORE}{end}").rename(folder / f"{aside.name}{end}")
    return aside


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder for as long as this one lives."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise ConfigError(
            f"{folder} can't be used ({error}): name a folder that you may write"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another `streamer up` is at work in {folder}: end it, or name another folder"
            ) from None
        yield


def send(sink: KafkaSink, message: KeptMessage, *, partition: int | None) -> None:
    """Send what was kept, with its time; ``partition=None``: its key chooses."""
    sink.send(
        message.topic,
        key=message.key,
        value=message.value,
        partition=partition,
        publish_ms=message.publish_ms,
    )
