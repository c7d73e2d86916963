"""The client for event loops; ``make clients`` writes it from client.py."""

from __future__ import annotations

import asyncio
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


class AsyncClient:
    """Asks a ``streamer serve``; for any number of tasks of one event loop.

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
    >>> async with AsyncClient("http://localhost:8080") as client:  # doctest: +SKIP
    ...     await client.publish(Event(type="click", user_id="ann", item_id="tea"))
    ...     await client.recommend(Request(user_id="ann", k=5))
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._url = calls.base_url(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient() if http is None else http

    def within(self, timeout_s: float) -> AsyncClient:
        """Return a client whose calls have another deadline, over the same connections."""
        found = AsyncClient(self._url, timeout_s=timeout_s, http=self._http)
        found._headers = self._headers
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- recommendations ------------------------------------------------------------------------

    async def recommend(self, request: Request) -> Recommendation:
        """Recommend items to a user: one list, several rows, or a page of a long list.

        The decision is logged for learning, unless the request is a ``preview``: report what
        came of it by the ``request_id`` of the answer (:meth:`feedback`).
        """
        return await self._done(calls.recommend(request, timeout_s=self._timeout_s))

    async def recommend_to(self, user_id: str, query: UserQuery | None = None) -> Recommendation:
        """Recommend items to a user, the short form: with plain filters on category, tag and
        attribute."""
        return await self._done(calls.recommend_to(user_id, query, timeout_s=self._timeout_s))

    async def listed(self, name: ListName, query: ListQuery | None = None) -> Recommendation:
        """List what is popular, trending or latest, the same for whoever asks; no decision."""
        return await self._done(calls.listed(name, query, timeout_s=self._timeout_s))

    async def related(self, item_id: str, query: RelatedQuery | None = None) -> Recommendation:
        """Recommend what goes with an item; a decision, unless it is a ``preview``."""
        return await self._done(calls.related(item_id, query, timeout_s=self._timeout_s))

    async def explain(self, user_id: str, item_id: str, k: int | None = None) -> Explanation:
        """Explain where an item stands in a user's ranking now."""
        return await self._done(calls.explain(user_id, item_id, k))

    # --- events ---------------------------------------------------------------------------------

    async def publish(self, event: Event) -> PublishResult:
        """Publish one event; returns when the broker has it."""
        return await self._done(calls.publish(event))

    async def publish_many(self, events: Sequence[Event]) -> PublishResults:
        """Publish events in one body, ``http.events_max`` of them at most.

        Returns what became of each, where some were taken: 202 taken, 422 bad, 503 to be sent
        again under its ``event_id``. Raises where none was.
        """
        return await self._done(calls.publish_many(events))

    async def feedback(self, feedback: Feedback) -> PublishResult:
        """Report what a user did with a recommendation, by its ``request_id``."""
        return await self._done(calls.feedback(feedback))

    # --- items and users ------------------------------------------------------------------------

    async def get_item(self, item_id: str) -> Item:
        """Read what is known of an item."""
        return await self._done(calls.get(Item, item_id))

    async def put_item(self, item: Item) -> Item:
        """Publish what is known of an item, in place of what was."""
        return await self._done(calls.put(item))

    async def patch_item(self, item_id: str, changes: Mapping[str, Any]) -> Item:
        """Change some fields of an item: a JSON merge patch, None removes."""
        return await self._done(calls.patch(Item, item_id, changes))

    async def delete_item(self, item_id: str) -> None:
        """Take an item out of the catalogue; what was learned of it is forgotten."""
        return await self._done(calls.delete(Item, item_id))

    async def put_items(self, items: Sequence[Item]) -> PublishResults:
        """Publish items in one body, each in place of what was; as :meth:`publish_many`."""
        return await self._done(calls.put_many("items", items))

    async def get_user(self, user_id: str) -> User:
        """Read what a user said of themselves."""
        return await self._done(calls.get(User, user_id))

    async def put_user(self, user: User) -> User:
        """Publish what a user says of themselves, in place of what was."""
        return await self._done(calls.put(user))

    async def patch_user(self, user_id: str, changes: Mapping[str, Any]) -> User:
        """Change some fields of a user: a JSON merge patch, None removes."""
        return await self._done(calls.patch(User, user_id, changes))

    async def delete_user(self, user_id: str) -> None:
        """Erase a user, with all that was learned of them."""
        return await self._done(calls.delete(User, user_id))

    async def put_users(self, users: Sequence[User]) -> PublishResults:
        """Publish users in one body, each in place of what was; as :meth:`publish_many`."""
        return await self._done(calls.put_many("users", users))

    # --- health ---------------------------------------------------------------------------------

    async def alive(self) -> Health:
        """Ask whether all threads of the service run."""
        return await self._done(calls.health("/healthz"))

    async def ready(self) -> Health:
        """Ask whether the service can be asked now; ``lacks`` says what is missing."""
        return await self._done(calls.health("/readyz"))

    async def _done(self, call: Call[T]) -> T:
        tries = Tries(self._timeout_s, repeatable=call.repeatable)
        while True:
            try:
                return answers.read(call, await self._sent(call, tries.left_s))
            except httpx.RequestError as error:
                failure: ClientError = answers.no_answer(error, self._url)
            except ClientError as error:
                failure = error
            await asyncio.sleep(tries.pause_s(failure))

    async def _sent(self, call: Call[T], timeout_s: float) -> httpx.Response:
        return await self._http.request(
            call.method,
            f"{self._url}{call.path}",
            params=call.query,
            content=call.body,
            headers=self._headers,
            timeout=timeout_s,
        )
