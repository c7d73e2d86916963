"""Messages of a topic of others → messages of the events or the items topic."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

import msgspec

from streamer.bridge.decoder import Decoder
from streamer.bridge.records import read_record
from streamer.config.bridges import BridgeConfig
from streamer.events import EventTypes, encode_checked, message_key
from streamer.protocols import MessageBatch
from streamer_producers.descriptions import (
    DESCRIBED,
    DescriptionMapper,
    parse_description_mapping,
)
from streamer_producers.event_mapper import EventMapper
from streamer_producers.mapping import parse_mapping


class Translated(NamedTuple):
    """Key and payload; without a payload it deletes what has its key."""

    key: bytes
    value: bytes | None


class Translation(Protocol):
    """What makes messages of ours out of those of a topic."""

    def message(self, batch: MessageBatch, index: int) -> Translated | None:
        """Translate message ``index`` of a batch; None: it says nothing.

        Raises
        ------
        BadMessage
            Where it can't be translated.
        RegistryError
            Where its schema can't be had, which is not the message's fault.
        """


class EventTranslation:
    """Makes an event of each record; one that is changed or deleted later stays as it was.

    Without an id of its own an event gets that of its place in the topic, and without a time that
    of its publication: so a message that is read again makes the same event again.
    """

    def __init__(self, config: BridgeConfig, types: EventTypes, decoder: Decoder) -> None:
        mapping = parse_mapping(config.map, types).with_type(config.type or None)
        self._mapper = EventMapper(
            replace(mapping, timeless=True), named_in="in the bridge's map, as"
        )
        self._decoder = decoder

    def message(self, batch: MessageBatch, index: int) -> Translated | None:
        value = batch.values[index]
        record = None if value is None else read_record(value, self._decoder)
        if record is None or record.fate != "made":
            return None
        place = f"{batch.topic}:{batch.partition}:{batch.offsets[index]}"
        event = self._mapper.event(record.fields, place)
        if not event.ts:
            event = msgspec.structs.replace(event, ts=int(batch.publish_ms[index]))
        return Translated(message_key(event), encode_checked(event))


class DescriptionTranslation:
    """Makes an item or a user of each record, as it was made or changed, and deletes what is
    deleted.

    A message without a value deletes the item or the user that is its key, where that is no object.
    """

    def __init__(self, config: BridgeConfig, decoder: Decoder) -> None:
        self._of = DESCRIBED[config.holds]
        mapping = parse_description_mapping(config.map, self._of)
        self._mapper = DescriptionMapper(mapping, is_text=False)
        self._decoder = decoder

    def message(self, batch: MessageBatch, index: int) -> Translated | None:
        value = batch.values[index]
        if value is None:
            return self._deleted(batch.keys[index])
        record = read_record(value, self._decoder)
        if record is None:
            return None
        described = self._mapper.described(record.fields)
        gone = record.fate == "deleted"
        return Translated(message_key(described), None if gone else encode_checked(described))

    def _deleted(self, key: bytes | None) -> Translated | None:
        """What a tombstone says. A connector sends one after the change that it follows, under a
        key that is an object: that says nothing more.
        """
        its_id = None if key is None else self._decoder.key(key)
        if its_id is None:
            return None
        described = self._of.of_id(its_id)
        encode_checked(described)
        return Translated(message_key(described), None)


def translation_of(config: BridgeConfig, types: EventTypes, decoder: Decoder) -> Translation:
    """Return the translation that a bridge has.

    Raises
    ------
    ConfigError
        When its mapping or its type can't be read.
    """
    if config.holds == "events":
        return EventTranslation(config, types, decoder)
    return DescriptionTranslation(config, decoder)
