"""Reports on the page: each is a document of its own that can do nothing."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from streamer.http.access.page_access import PAGE
from streamer.http.problems import problem
from streamer.reports.folder import ReportFolder

REPORTS: Final = f"{PAGE}/reports"
_HEADERS: Final = {
    # A sandboxed document has no scripts, no forms, and an origin that is nobody's: whatever is
    # written in it, it can't ask the page for anything with the cookie of who looks.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def report_routes(path: str) -> APIRouter:
    """Return what answers with the reports of a folder; it stands under the page, behind its keys.

    Parameters
    ----------
    path
        Of the folder.
    """
    router = APIRouter(include_in_schema=False)
    folder = ReportFolder(path)

    @router.get(f"{REPORTS}/{{name}}")
    def show(name: str, request: Request) -> Response:
        content = folder.read(name)
        if content is None:
            detail = f"{name!r} is no report of streamer in {folder.path} (http.reports)"
            return problem(request, 404, "no-report", "There is no such report", detail)
        return HTMLResponse(content, headers=_HEADERS)

    return router
