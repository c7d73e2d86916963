"""Zip archives, whose errors are few kinds."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO

from streamer.errors import ConfigError


def zip_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive.

    Raises
    ------
    OSError, zipfile.BadZipFile
        When it can't be read: Python has several more errors for archives that are damaged, or of
        a kind that it does not know.
    """
    try:
        return zipfile.ZipFile(path)
    except (NotImplementedError, ValueError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error


def open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a file of an archive.

    Raises
    ------
    ConfigError
        When it has a password, or is compressed in a way that Python does not know.
    OSError, zipfile.BadZipFile
        When it can't be read.
    """
    try:
        return archive.open(name)
    except NotImplementedError as error:  # Deflate64 of Windows, of files beyond 2 GB
        raise ConfigError(
            f"{archive.filename}:{name} is compressed in a way that can't be read here ({error});"
            " unpack it"
        ) from error
    except RuntimeError as error:
        raise ConfigError(
            f"{archive.filename}:{name} has a password ({error}); unpack it"
        ) from error
    except (ValueError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error
