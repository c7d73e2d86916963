"""A light client of the HTTP API of streamer, for sync and async code.

:class:`Client` and :class:`AsyncClient` have one method for each route; :class:`EventQueue` sends
events in the background. What is sent and answered are the dataclasses of
:mod:`streamer_client.messages`; what goes wrong is one of :mod:`streamer_client.errors`.
"""

from streamer_client.async_client import AsyncClient
from streamer_client.client import Client
from streamer_client.errors import (
    ClientError,
    NoAnswer,
    NotFound,
    NotInTime,
    NotSent,
    QueueFull,
    Refused,
    ServiceError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from streamer_client.event_queue import EventQueue
from streamer_client.messages import (
    ColumnPart,
    Event,
    Explanation,
    Feedback,
    Health,
    Item,
    ListQuery,
    Pin,
    Problem,
    PublishResult,
    PublishResults,
    Recommendation,
    RecommendedItem,
    RecommendedRow,
    RelatedQuery,
    Request,
    RequestRow,
    User,
    UserQuery,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "ColumnPart",
    "Event",
    "EventQueue",
    "Explanation",
    "Feedback",
    "Health",
    "Item",
    "ListQuery",
    "NoAnswer",
    "NotFound",
    "NotInTime",
    "NotSent",
    "Pin",
    "Problem",
    "PublishResult",
    "PublishResults",
    "QueueFull",
    "Recommendation",
    "RecommendedItem",
    "RecommendedRow",
    "Refused",
    "RelatedQuery",
    "Request",
    "RequestRow",
    "ServiceError",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "User",
    "UserQuery",
]
