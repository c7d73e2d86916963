"""The registry of recall channels: one line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from streamer.config import Config
from streamer.ranking.recall.again import AgainChannel
from streamer.ranking.recall.blend import BlendChannel
from streamer.ranking.recall.channel import Channel
from streamer.ranking.recall.chosen import ChosenChannel
from streamer.ranking.recall.content import ContentChannel
from streamer.ranking.recall.factorization import FactorizationChannel
from streamer.ranking.recall.fresh import FreshChannel
from streamer.ranking.recall.measuring import MeasuringChannel
from streamer.ranking.recall.neighbours import NextChannel, SimilarChannel
from streamer.ranking.recall.popular import PopularChannel
from streamer.ranking.recall.random import RandomChannel
from streamer.ranking.recall.session import SessionChannel
from streamer.ranking.recall.taste import TasteChannel
from streamer.ranking.recall.time_of_day import TimeOfDayChannel
from streamer.ranking.recall.trending import TrendingChannel
from streamer.ranking.recall.trending_feature import TrendingFeatureChannel

_CHANNELS: Final[list[type[Channel[Any]]]] = [
    SimilarChannel,
    NextChannel,
    ContentChannel,
    AgainChannel,
    PopularChannel,
    TimeOfDayChannel,
    SessionChannel,
    TasteChannel,
    BlendChannel,
    FactorizationChannel,
    TrendingChannel,
    TrendingFeatureChannel,
    ChosenChannel,
    FreshChannel,
    RandomChannel,
]
"""In the order in which they are asked, and in which equal places count for a reason."""


def registered() -> tuple[type[Channel[Any]], ...]:
    """Return every channel, on or off."""
    return tuple(_CHANNELS)


def channels_on(config: Config) -> list[Channel[Any]]:
    """Return the channels that are on in a configuration, bound to it and to each other."""
    channels = [channel(config) for channel in _CHANNELS if channel.is_on(config)]
    for channel in channels:
        channel.beside(channels)
    return channels


def measuring_on(config: Config) -> list[str]:
    """Return the names of the channels with measures that are on in a configuration."""
    return [each.name for each in channels_on(config) if isinstance(each, MeasuringChannel)]


@contextmanager
def registered_for_now(channel: type[Channel[Any]]) -> Iterator[None]:
    """Have one more channel, behind the others, while the context lasts: for tests of one."""
    _CHANNELS.append(channel)
    try:
        yield
    finally:
        _CHANNELS.remove(channel)
