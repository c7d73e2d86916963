"""Whether a service has a page. Nothing of the page is imported before it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from streamer.config import Config
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.http.served_app import ServedApp


def wanted_page(config: Config) -> Callable[[ServedApp], None] | None:
    """Return what adds the page to a service; None where it is off, or ``auto`` and not installed.

    Raises
    ------
    ConfigError
        Where ``http.page`` is ``on`` and the packages of the extra ``ui`` are missing.
    """
    if config.http.page == "off":
        return None
    try:
        from streamer.page.mounted import add_page
    except ImportError as error:
        if config.http.page == "auto":
            return None
        raise ConfigError(
            f"{error}: http.page = \"on\" needs the extra `ui`: pip install '.[ui]' in the folder"
            " of streamer's code"
        ) from error
    return add_page
