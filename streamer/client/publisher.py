"""Publish what users do, and what can be recommended."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamer.client.connection import checked_payload, client_config, now_ms
from streamer.client.embedded_room import EmbeddedRoom
from streamer.config import Config
from streamer.errors import BadMessage, StreamerError
from streamer.events import Event, Item, User, decode_event, message_key
from streamer.kafka.configured import configured_sink

Context = Mapping[str, str | int | float | bool]


class Publisher:
    """Publishes events, items and users; for any number of threads.

    Messages are queued (bounded: a full queue makes the caller wait) and sent in the background;
    :meth:`flush`, and the end of a ``with`` block, return when the broker has them all. On the
    embedded broker of ``streamer up``, which keeps 5 MB of a partition, who publishes events waits
    for the learner.

    Parameters
    ----------
    bootstrap_servers
        ``host:port`` of the broker; by default that of the configuration.
    config
        By default ``streamer.toml`` and the environment.

    Raises
    ------
    ConfigError
        When no broker is named.

    Examples
    --------
    >>> with Publisher("localhost:9092") as publisher:  # doctest: +SKIP
    ...     publisher.publish(type="click", user_id="ann", item_id="tea")
    """

    def __init__(
        self, bootstrap_servers: str | None = None, *, config: Config | None = None
    ) -> None:
        self._config = client_config(bootstrap_servers, config)
        self._types = self._config.event_types
        self._events = self._config.topics.topic("events")
        self._items = self._config.topics.topic("items")
        self._users = self._config.topics.topic("users")
        self._sink = configured_sink(self._config)
        self._room = EmbeddedRoom(self._config, self._events, flush=self.flush)

    def publish(
        self,
        *,
        type: str,  # noqa: A002 - what the message calls it
        user_id: str,
        item_id: str,
        value: float | None = None,
        ts: int | None = None,
        event_id: str | None = None,
        request_id: str | None = None,
        position: int | None = None,
        context: Context | None = None,
    ) -> Event:
        """Publish one event and return it, with its id and its time.

        Parameters
        ----------
        type
            What the user did: one of the default types, or one that the configuration adds.
        ts
            Event time, ms since the Unix epoch; by default now.
        event_id
            By default a new one. Give one to be able to publish the same event again: the repeat
            is learned once.
        request_id, position
            The request whose recommendation was acted on, and the slot in it, from 0.

        Raises
        ------
        BadMessage
            When a field is wrong; nothing is sent then.
        DeliveryFailed
            When an earlier message was not delivered, or the queue stays full.
        """
        event = Event(
            event_id=event_id or uuid.uuid4().hex,
            type=type,
            user_id=user_id,
            item_id=item_id,
            ts=now_ms() if ts is None else ts,
            value=value,
            request_id=request_id,
            position=position,
            context=None if context is None else dict(context),
        )
        self.publish_event(event)
        return event

    def publish_event(self, event: Event) -> None:
        """Publish an event as it is; raises as :meth:`publish`."""
        payload = checked_payload(event)
        # The learner compares with the time of publishing: an event from the future is refused.
        decode_event(payload, self._types, publish_ms=now_ms())
        self._sink.send(self._events, key=message_key(event), value=payload)
        self._room.sent(len(payload))

    def publish_many(self, events: Iterable[Event]) -> int:
        """Publish events in order and return how many.

        Raises
        ------
        BadMessage
            At the first bad one, with its place; those before it are published.
        DeliveryFailed
            As :meth:`publish`.
        """
        n_published = 0
        for event in events:
            try:
                self.publish_event(event)
            except BadMessage as error:
                raise BadMessage(f"event {n_published}: {error}") from error
            n_published += 1
        return n_published

    def publish_item(self, item_id: str, **fields: Any) -> Item:
        """Publish what is known of an item, in place of what was; returns it.

        Parameters
        ----------
        fields
            As in :class:`streamer.events.Item`: title, categories, tags, created_ts, expires_ts,
            available, attributes, embedding (a list of numbers, or an array of numpy).

        Raises
        ------
        BadMessage
            When a field is unknown or wrong.
        DeliveryFailed
            As :meth:`publish`.
        """
        _check_fields(Item, fields, "an item")
        if isinstance(embedding := fields.get("embedding"), np.ndarray):
            fields["embedding"] = embedding.tolist()
        item = Item(item_id=item_id, **fields)
        self._put(self._items, item)
        return item

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the catalogue; raises as :meth:`publish_item`."""
        self._put(self._items, Item(item_id=item_id), deletes=True)

    def publish_user(self, user_id: str, **fields: Any) -> User:
        """Publish what a user says of themselves, in place of what was; returns it.

        Parameters
        ----------
        fields
            As in :class:`streamer.events.User`: categories, attributes, ts; raises as
            :meth:`publish_item`.
        """
        _check_fields(User, fields, "a user")
        user = User(user_id=user_id, **fields)
        self._put(self._users, user)
        return user

    def delete_user(self, user_id: str) -> None:
        """Erase a user, with all that was learned of them; raises as :meth:`publish_user`."""
        self._put(self._users, User(user_id=user_id), deletes=True)

    def _put(self, topic: str, message: Item | User, *, deletes: bool = False) -> None:
        """Send what a topic keeps by key, or its tombstone."""
        payload = checked_payload(message)
        self._sink.send(topic, key=message_key(message), value=None if deletes else payload)

    @property
    def n_delivered(self) -> int:
        """Messages the broker has acknowledged; exact after :meth:`flush`."""
        return self._sink.n_delivered

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the broker has every message.

        Parameters
        ----------
        timeout_s
            By default ``kafka.request_timeout_s``.

        Raises
        ------
        DeliveryFailed
            When one was refused, or some are not acknowledged in time.
        """
        self._sink.flush(self._config.kafka.request_timeout_s if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Flush and end; raises as :meth:`flush`."""
        self._room.close()
        self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except StreamerError:
            if error is None:  # else what went wrong first is what the caller must see
                raise


def _check_fields(kind: type[Item] | type[User], fields: Mapping[str, Any], words: str) -> None:
    unknown = sorted(set(fields) - set(kind.__struct_fields__))
    if unknown:
        raise BadMessage(
            f"field '{unknown[0]}' is no field of {words}; there are "
            f"{', '.join(kind.__struct_fields__)}"
        )
