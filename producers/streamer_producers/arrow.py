"""pyarrow, which reads Parquet and Zstandard, where it is installed."""

from __future__ import annotations

from typing import Any

from streamer.errors import ConfigError


def import_pyarrow(needing: str) -> Any:
    """The package, with its ``parquet`` module.

    Parameters
    ----------
    needing
        What can't be done without it, for the message.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"{needing} needs pyarrow: pip install '.[parquet]' in the folder of streamer's code"
        ) from error
    return pyarrow
