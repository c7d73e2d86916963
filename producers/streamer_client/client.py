"""The client for code that waits; ``make clients`` writes the async one from it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from streamer_client import answers, calls
from streamer_client.calls import Call, ListName
from streamer_client.errors import ClientError
from streamer_client.messages import (
    Event,
    Explanation,
    Feedback,
    Health,
    Item,
    ListQuery,
    PublishResult,
    PublishResults,
    Recommendation,
    RelatedQuery,
    Request,
    User,
    UserQuery,
)
from streamer_client.tries import Tries

T = TypeVar("T")


class Client:
    """Asks a ``streamer serve``; for any number of threads.

    Every method raises a :class:`streamer_client.errors.ServiceError` where the service answers
    with a problem, and :class:`streamer_client.errors.NoAnswer` where it doesn't answer. A call
    that failed is tried again, with growing pauses, while ``timeout_s`` lasts: where the service
    did not take it (no connection, 429, 503), and where doing it twice is as doing it once, also
    when its answer was lost. Only what makes a decision is not repeated then.

    Parameters
    ----------
    url
        Of the service, ``http://localhost:8080``.
    api_key
        One of its ``http.api_keys``, where it has any.
    timeout_s
        Of one call with all its tries.
    http
        A client of httpx to send with, for proxies and certificates; closed with this one.

    Raises
    ------
    ValueError
        When the address is none of HTTP.

    Examples
    --------
    >>> with Client("http://localhost:8080") as client:  # doctest: +SKIP
    ...     client.publish(Event(type="click", user_id="ann", item_id="tea"))
    ...     client.recommend(Request(user_id="ann", k=5))
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._url = calls.base_url(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s
        self._http = httpx.Client() if http is None else http

    def within(self, timeout_s: float) -> Client:
        """Return a client whose calls have another deadline, over the same connections."""
        found = Client(self._url, timeout_s=timeout_s, http=self._http)
        found._headers = self._headers
        return found

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- recommendations ------------------------------------------------------------------------

    def recommend(self, request: Request) -> Recommendation:
        """Recommend items to a user: one list, several rows, or a page of a long list.

        The decision is logged for learning, unless the request is a ``preview``: report what
        came of it by the ``request_id`` of the answer (:meth:`feedback`).
        """
        return self._done(calls.recommend(request, timeout_s=self._timeout_s))

    def recommend_to(self, user_id: str, query: UserQuery | None = None) -> Recommendation:
        """Recommend items to a user, the short form: with plain filters on category, tag and
        attribute."""
        return self._done(calls.recommend_to(user_id, query, timeout_s=self._timeout_s))

    def listed(self, name: ListName, query: ListQuery | None = None) -> Recommendation:
        """List what is popular, trending or latest, the same for whoever asks; no decision."""
        return self._done(calls.listed(name, query, timeout_s=self._timeout_s))

    def related(self, item_id: str, query: RelatedQuery | None = None) -> Recommendation:
        """Recommend what goes with an item; a decision, unless it is a ``preview``."""
        return self._done(calls.related(item_id, query, timeout_s=self._timeout_s))

    def explain(self, user_id: str, item_id: str, k: int | None = None) -> Explanation:
        """Explain where an item stands in a user's ranking now."""
        return self._done(calls.explain(user_id, item_id, k))

    # --- events ---------------------------------------------------------------------------------

    def publish(self, event: Event) -> PublishResult:
        """Publish one event; returns when the broker has it."""
        return self._done(calls.publish(event))

    def publish_many(self, events: Sequence[Event]) -> PublishResults:
        """Publish events in one body, ``http.events_max`` of them at most.

        Returns what became of each, where some were taken: 202 taken, 422 bad, 503 to be sent
        again under its ``event_id``. Raises where none was.
        """
        return self._done(calls.publish_many(events))

    def feedback(self, feedback: Feedback) -> PublishResult:
        """Report what a user did with a recommendation, by its ``request_id``."""
        return self._done(calls.feedback(feedback))

    # --- items and users ------------------------------------------------------------------------

    def get_item(self, item_id: str) -> Item:
        """Read what is known of an item."""
        return self._done(calls.get(Item, item_id))

    def put_item(self, item: Item) -> Item:
        """Publish what is known of an item, in place of what was."""
        return self._done(calls.put(item))

    def patch_item(self, item_id: str, changes: Mapping[str, Any]) -> Item:
        """Change some fields of an item: a JSON merge patch, None removes."""
        return self._done(calls.patch(Item, item_id, changes))

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the catalogue; what was learned of it is forgotten."""
        return self._done(calls.delete(Item, item_id))

    def put_items(self, items: Sequence[Item]) -> PublishResults:
        """Publish items in one body, each in place of what was; as :meth:`publish_many`."""
        return self._done(calls.put_many("items", items))

    def get_user(self, user_id: str) -> User:
        """Read what a user said of themselves."""
        return self._done(calls.get(User, user_id))

    def put_user(self, user: User) -> User:
        """Publish what a user says of themselves, in place of what was."""
        return self._done(calls.put(user))

    def patch_user(self, user_id: str, changes: Mapping[str, Any]) -> User:
        """Change some fields of a user: a JSON merge patch, None removes."""
        return self._done(calls.patch(User, user_id, changes))

    def delete_user(self, user_id: str) -> None:
        """Erase a user, with all that was learned of them."""
        return self._done(calls.delete(User, user_id))

    def put_users(self, users: Sequence[User]) -> PublishResults:
        """Publish users in one body, each in place of what was; as :meth:`publish_many`."""
        return self._done(calls.put_many("users", users))

    # --- health ---------------------------------------------------------------------------------

    def alive(self) -> Health:
        """Ask whether all threads of the service run."""
        return self._done(calls.health("/healthz"))

    def ready(self) -> Health:
        """Ask whether the service can be asked now; ``lacks`` says what is missing."""
        return self._done(calls.health("/readyz"))

    def _done(self, call: Call[T]) -> T:
        tries = Tries(self._timeout_s, repeatable=call.repeatable)
        while True:
            try:
                return answers.read(call, self._sent(call, tries.left_s))
            except httpx.RequestError as error:
                failure: ClientError = answers.no_answer(error, self._url)
            except ClientError as error:
                failure = error
            time.sleep(tries.pause_s(failure))

    def _sent(self, call: Call[T], timeout_s: float) -> httpx.Response:
        return self._http.request(
            call.method,
            f"{self._url}{call.path}",
            params=call.query,
            content=call.body,
            headers=self._headers,
            timeout=timeout_s,
        )
