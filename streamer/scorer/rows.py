"""Slates of a request: one, or one for each of its rows, no item twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamer.errors import BadMessage
from streamer.events import Request
from streamer.events.rows import row_request
from streamer.scorer.funnel import Slate


@dataclass(frozen=True, slots=True)
class RowSlate:
    """A slate, and what it answers.

    Attributes
    ----------
    request
        The request, or what one of its rows is answered as.
    name
        Of the row; None: the request has no rows.
    above
        Items of the rows above it.
    """

    request: Request
    slate: Slate
    name: str | None = None
    above: tuple[str, ...] = ()


def row_slates(request: Request, recommend: Callable[[Request], Slate]) -> Iterator[RowSlate]:
    """Yield the slates of a request, the row shown first first.

    What a row shows is excluded from those below before they are drawn. So a propensity is the
    probability that a place got its item given the places before it and the rows above.

    Raises
    ------
    BadMessage
        Where the filter of the request or of a row can't be answered.
    """
    if request.rows is None:
        yield RowSlate(request, recommend(request))
        return
    above: tuple[str, ...] = ()
    for row in request.rows:
        asked = row_request(request, row, above)
        try:
            slate = recommend(asked)
        except BadMessage as error:
            raise BadMessage(f"{error} (row {row.name!r})") from error
        yield RowSlate(asked, slate, row.name, above)
        above += tuple(slate.shown)
