"""Log lines a person can read and a machine can split, or JSON: time, level, event, fields."""

from __future__ import annotations

import logging
import sys
import time
from typing import Literal

import msgspec

from streamer.masking import without_secrets

LogFormat = Literal["text", "json"]
_NAMED = ("ts", "level", "event", "exception")
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO partitions_assigned partitions=[0, 1]``, in UTC.

    Secrets of URLs and private keys are masked, whatever logs them: clients log their options.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))

    def formatTime(  # noqa: N802 - the name logging gives it
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{whole}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as above
        fields = [f"{name}={value}" for name, value in vars(record).items() if name not in _OWN]
        return " ".join([super().formatMessage(record), *fields])


class JsonFormatter(EventFormatter):
    """One JSON object a line: ``ts``, ``level``, ``event``, the fields, and ``exception``.

    A field that is called as one of these has ``_`` behind its name. What JSON can't say is text.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": self.formatTime(record),
            "level": record.levelname,
            "event": without_secrets(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _OWN:
                shown = without_secrets(value) if isinstance(value, str) else value
                line[f"{name}_" if name in _NAMED else name] = shown
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        try:
            encoded = msgspec.json.encode(line, enc_hook=lambda each: without_secrets(str(each)))
        except (TypeError, ValueError):  # keys that are no text, lone surrogates, circles
            line = {name: ascii(value) for name, value in line.items()}
            encoded = msgspec.json.encode(line)
        return encoded.decode()


def show_warnings() -> None:
    """Have warnings say their fields too in a command that sends its log nowhere."""
    assert logging.lastResort is not None
    logging.lastResort.setFormatter(EventFormatter())


def log_to_stderr(log_format: LogFormat = "text", level: int = logging.INFO) -> None:
    """Send this process's log there; called by the command line alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else EventFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
