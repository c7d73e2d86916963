"""A folder in which a trial on the embedded broker lasts: its topics and its store."""

from __future__ import annotations

import contextlib
import fcntl
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
from streamer.errors import ConfigError, StreamerError
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
        was killed between the two. The store was thrown away then; what was kept is learned again.
    """

    def __init__(
        self,
        config: Config,
        kept: KeptTopics,
        *,
        ends: Mapping[TopicPartition, int],
        learned: Mapping[TopicPartition, int],
        n_unkept: int,
    ) -> None:
        self.config = config
        self.n_unkept = n_unkept
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
        When a file in it can't be used.
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
        with contextlib.closing(configured_store(config)) as opened:
            learned = learned_offsets(opened)
        n_unkept = sum(max(0, at - ends.get(where, 0)) for where, at in learned.items())
        if n_unkept:
            learned = {}
            for file in folder.glob(f"{STORE}*"):
                file.unlink()
        yield Trial(config, kept, ends=ends, learned=learned, n_unkept=n_unkept)


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
