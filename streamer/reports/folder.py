"""The reports of a folder: which there are, and the bytes of one by its name alone."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.errors import ConfigError
from streamer.reports.frame import HEAD_BYTES_MAX, ReportHead, head_of

LISTED_MAX: Final = 200
"""Of a folder, the files written last; their heads are read for each list."""
REPORT_BYTES_MAX: Final = 32 << 20
"""A league over 50 windows takes some 0.2 MB."""
_NAME: Final = re.compile(r"[^./\\\x00\ud800-\udfff][^/\\\x00\ud800-\udfff]*\.html")


@dataclass(frozen=True, slots=True)
class ListedReport:
    """A report that is there.

    Attributes
    ----------
    name
        Of its file.
    """

    name: str
    head: ReportHead


@dataclass(frozen=True, slots=True)
class ReportList:
    """What a folder holds.

    Attributes
    ----------
    reports
        The newest first.
    n_foreign
        HTML files that streamer did not write, and links: they are neither listed nor read.
    n_older
        Files beyond ``LISTED_MAX``.
    """

    reports: list[ListedReport]
    n_foreign: int
    n_older: int


class ReportFolder:
    """A folder from which only reports are read: regular files in it that streamer wrote.

    Names with a separator, hidden files, links, devices, files larger than ``REPORT_BYTES_MAX`` and
    files without the head of a report are as if they were not there.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).absolute()

    def listed(self) -> ReportList:
        """Return the reports, the newest first.

        Raises
        ------
        ConfigError
            When the folder can't be read.
        """
        try:
            with os.scandir(self.path) as entries:
                names = [
                    (each.stat(follow_symlinks=False).st_mtime_ns, each.name)
                    for each in entries
                    if _NAME.fullmatch(each.name)
                ]
        except OSError as error:
            raise ConfigError(
                f"http.reports = {str(self.path)!r} can't be read ({error.strerror}); make the"
                " folder, or name another one"
            ) from error
        names.sort(reverse=True)
        found = [
            ListedReport(name, head)
            for _, name in names[:LISTED_MAX]
            if (head := self._head(name)) is not None
        ]
        found.sort(key=lambda each: each.head.origin.at_ms, reverse=True)
        n_read = min(len(names), LISTED_MAX)
        return ReportList(found, n_read - len(found), len(names) - n_read)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a report; None where there is none of that name."""
        content = self._bytes(name, REPORT_BYTES_MAX)
        return None if content is None or head_of(content) is None else content

    def _head(self, name: str) -> ReportHead | None:
        content = self._bytes(name, HEAD_BYTES_MAX)
        return None if content is None else head_of(content)

    def _bytes(self, name: str, n_bytes: int) -> bytes | None:
        if not _NAME.fullmatch(name):
            return None
        # Neither follows a link nor waits for the other end of a pipe.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(self.path / name, flags), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size > REPORT_BYTES_MAX:
                    return None
                return file.read(n_bytes)
        except OSError:
            return None
