"""Requests with rows: each row is answered as a request of its own."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.events.messages import Request, RequestRow


def row_id(request: Request, row: RequestRow) -> str:
    """Return the request_id that a row is answered under.

    >>> row = RequestRow(name="new")
    >>> row_id(Request(request_id="r1", user_id="ann", ts=0, rows=[row]), row)
    'r1/new'
    """
    return f"{request.request_id}/{row.name}"


def row_request(request: Request, row: RequestRow, above: Sequence[str]) -> Request:
    """Return the request that a row is answered as: what the row leaves out is as of the request,
    and all that is excluded anywhere, or stands in a row above, is excluded.

    Parameters
    ----------
    above
        Items of the rows above.
    """
    return Request(
        request_id=row_id(request, row),
        user_id=request.user_id,
        ts=request.ts,
        k=row.k or request.k,
        surface=row.surface or request.surface,
        context=request.context,
        candidates=row.candidates or request.candidates,
        exclude=[
            *(request.exclude or ()),
            *(row.exclude or ()),
            *above,
            *_pinned_beside(request, row),
        ],
        seed_items=row.seed_items,
        list_name=row.list_name,
        filter=row.filter or request.filter,
        pinned=row.pinned,
        preview=request.preview,
        timeout_ms=request.timeout_ms,
    )


def _pinned_beside(request: Request, row: RequestRow) -> list[str]:
    """Return what other rows pin: it stands there alone."""
    others = [each for each in request.rows or () if each.name != row.name]
    return [pin.item_id for each in others for pin in each.pinned or ()]
