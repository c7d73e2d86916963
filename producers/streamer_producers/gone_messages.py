"""What the topic of a recorded file no longer had: it lies beside the file, as ``FILE.gone``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from streamer.errors import ConfigError

SUFFIX: Final = ".gone"


class GoneMessages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages that were deleted before they could be recorded.

    Attributes
    ----------
    said
        How many, and of which topic, in a sentence.
    whole_since_ms
        When the first message was published from which on none is missing.
    """

    said: str
    whole_since_ms: int


def note_beside(recorded: Path) -> Path:
    """Return where it is said of a recorded file what is missing in it."""
    return recorded.with_name(f"{recorded.name}{SUFFIX}")


def read_note(recorded: Path) -> GoneMessages | None:
    """Return what is missing in a recorded file; None: nothing, or it was not recorded.

    Raises
    ------
    ConfigError
        When the file that says it can't be read.
    """
    note = note_beside(recorded)
    try:
        return msgspec.json.decode(note.read_bytes(), type=GoneMessages)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{note}, which says what is missing in {recorded.name}, can't be read ({error}): put"
            " it back as `streamer record` wrote it, or record the topic again"
        ) from error


def write_note(recorded: Path, gone: GoneMessages) -> None:
    """Write what is missing in a recorded file."""
    note_beside(recorded).write_bytes(msgspec.json.encode(gone) + b"\n")
