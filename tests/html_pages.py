"""Reports as a browser would read them."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class ReportHtml(HTMLParser):
    """Tags and attributes of a report; it must be well formed."""

    VOID = frozenset({"br", "meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def whole_report(text: str) -> ReportHtml:
    """Return what a report holds, which must run nothing and fetch nothing."""
    found = ReportHtml(text)
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name in ("src", "href")]
    assert not re.search(r"url\(|@import|https?:", text)
    assert "prefers-color-scheme: dark" in text
    assert not [value for _, value in found.attributes if "nan" in re.split(r"[%, ]", value)]
    return found
