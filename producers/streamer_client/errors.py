"""Every error the client raises on purpose.

::

    ClientError
    ├── ServiceError          the service answered with a problem, which the error carries
    │   ├── Refused           400, 422: a field is wrong; ``problem.field`` names it
    │   ├── Unauthorized      401: no key, or a wrong one
    │   ├── NotFound          404: nothing is known of this item or user
    │   ├── TooLarge          413: the body is over ``http.body_bytes_max``
    │   ├── TooManyRequests   (retriable) 429: more than ``http.requests_per_s``
    │   ├── Unavailable       (retriable) 503: overloaded, starting, or the broker is away
    │   └── NotInTime         (retriable) 408, 502, 504: the body, or what stands before the
    │   │                     scorer, took too long
    ├── NoAnswer              (retriable) no connection, or no answer in time
    ├── QueueFull             as many events wait as may
    └── NotSent               (retriable) events still wait at the end of a flush
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from streamer_client.messages import Problem, PublishResult


class ClientError(Exception):
    """Base of all. ``retriable``: the same call may work later, unchanged."""

    retriable: ClassVar[bool] = False


class ServiceError(ClientError):
    """An answer that is a problem.

    Attributes
    ----------
    problem
        As the service describes it: ``detail`` has the value, the bound and the remedy.
    results
        What became of each message, where none of several was taken.
    retry_after_s
        How long the service asks to wait.
    """

    def __init__(
        self, problem: Problem, *, results: Sequence[PublishResult] = (), retry_after_s: float = 0.0
    ) -> None:
        name = problem.type.rpartition(":")[2]
        request = f", request {problem.request_id}" if problem.request_id else ""
        super().__init__(f"{problem.detail} ({problem.status} {name}{request})")
        self.problem = problem
        self.results = tuple(results)
        self.retry_after_s = retry_after_s


class Refused(ServiceError):
    pass


class Unauthorized(ServiceError):
    pass


class NotFound(ServiceError):
    pass


class TooLarge(ServiceError):
    pass


class TooManyRequests(ServiceError):
    retriable = True


class Unavailable(ServiceError):
    retriable = True


class NotInTime(ServiceError):
    retriable = True


class NoAnswer(ClientError):
    """No answer came. ``reached``: the service may have done what it was asked for."""

    retriable = True

    def __init__(self, words: str, *, reached: bool) -> None:
        super().__init__(words)
        self.reached = reached


class QueueFull(ClientError):
    pass


class NotSent(ClientError):
    retriable = True
