"""Topics that are made anew, or get partitions, while somebody reads them."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any, Final

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from streamer.kafka.connection import Options, Outages, connection_options, new_client
from streamer.kafka.topic_ids import id_text

LOOK_EVERY_S: Final = 5.0
"""A client says nothing of such a topic where it holds as many messages as were read of the
former one, and passes over its first ones."""


class TopicWatch:
    """Asks the broker in the background which topics have the names that are read.

    Nothing here waits or raises: who reads learns of an outage by itself. Not for several threads.

    Attributes
    ----------
    n_partitions
        Topic → how many partitions it has by the last answer.
    """

    def __init__(self, bootstrap_servers: str, given: Options) -> None:
        self._options = connection_options(bootstrap_servers, {}, given)
        self._outages = _Silent(bootstrap_servers)
        self._admin: AdminClient | None = None
        self.n_partitions: dict[str, int] = {}
        self._topics: list[str] = []
        self._ids: dict[str, str] = {}
        self._asked: dict[str, Future[Any]] = {}
        self._next_s = 0.0

    def begin(self, topics: Collection[str]) -> None:
        """Watch these from now on; what was known of them before counts."""
        self._topics = sorted(topics)
        self.n_partitions = {}

    def forget(self, topics: Collection[str]) -> None:
        """Take the topics that have these names now for the ones to know."""
        self._ids = {topic: known for topic, known in self._ids.items() if topic not in topics}
        self._asked = {}
        self._next_s = 0.0

    def made_anew(self) -> dict[str, tuple[str, str]]:
        """Return topic → its former id and its present one, of those that another has replaced
        since the last call."""
        found = {}
        if self._asked and all(answer.done() for answer in self._asked.values()):
            for topic, answer in self._asked.items():
                told = _answered(answer)
                if told is None:
                    continue
                topic_id, self.n_partitions[topic] = told
                former = self._ids.get(topic, topic_id)
                if topic_id is not None:
                    self._ids[topic] = topic_id
                    if former is not None and former != topic_id:
                        found[topic] = former, topic_id
            self._asked = {}
        elif not self._asked and time.monotonic() >= self._next_s and self._topics:
            self._next_s = time.monotonic() + LOOK_EVERY_S
            self._ask()
        return found

    def _ask(self) -> None:
        if self._admin is None:
            self._admin = new_client(AdminClient, self._options, self._outages)
        self._admin.poll(0)  # what it has to say would pile up
        asked = ck.TopicCollection(self._topics)
        self._asked = dict(self._admin.describe_topics(asked, request_timeout=LOOK_EVERY_S))


class _Silent(Outages):
    """Errors that the reader's own client says too."""

    def note(self, error: ck.KafkaError) -> None:
        pass


def _answered(answer: Future[Any]) -> tuple[str | None, int] | None:
    """The id of a topic, where the broker gives one, and how many partitions it has; None: it is
    not there, or there is no answer."""
    try:
        found = answer.result()
    except ck.KafkaException:
        return None
    topic_id = id_text(found.topic_id)
    return (topic_id if int(topic_id, 16) else None), len(found.partitions)
