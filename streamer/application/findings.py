"""Findings of the doctor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from streamer.errors import StreamerError

State = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """What one check found.

    Attributes
    ----------
    said
        What is, in words.
    remedy
        What to do; "" where all is well.
    """

    check: str
    state: State
    said: str
    remedy: str = ""


def finding(check: str, look: Callable[[], Finding]) -> Finding:
    """Return what a check finds; an error of ours that ends it is a finding, too."""
    try:
        return look()
    except StreamerError as error:
        return failed(check, error)


def failed(check: str, error: StreamerError) -> Finding:
    """Return the finding of a check that ended with an error, whose remedy follows the first
    semicolon."""
    said, _, remedy = str(error).partition("; ")
    return Finding(check, "fail", said, remedy)
