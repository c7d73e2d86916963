"""A real-time streaming recommender that learns from every event as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamer.client import Publisher, Recommender, Subscriber

__all__ = ["Publisher", "Recommender", "Subscriber"]


def __getattr__(name: str) -> Any:
    # At first use: a process that only needs a part of streamer doesn't load a Kafka client.
    if name in __all__:
        from streamer import client

        return getattr(client, name)
    raise AttributeError(f"module 'streamer' has no attribute '{name}'")
