"""From the URL of a store to the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from streamer.config.masking import masked
from streamer.errors import ConfigError
from streamer.protocols import ParameterStore, RestorableStore
from streamer.store.memory import MemoryStore
from streamer.store.sqlite import SqliteStore

_SETTINGS_OF_URL: Final = re.compile(r"\?\w+=")


def open_store(
    url: str,
    *,
    key_prefix: str = "streamer",
    timeout_s: float = 5.0,
    log_entries_kept: int = 1_000,
    schedule_entries_max: int = 1_000_000,
) -> RestorableStore:
    """The store at ``url``; nothing is connected to or written before its first use.

    Parameters
    ----------
    url
        ``sqlite:PATH`` (a path as it is, without the slashes or settings of a URL),
        ``redis://[USER:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://…`` (TLS),
        ``redis+cluster://HOST:PORT`` (any node of a cluster), or ``memory:`` (a new one each time).
    key_prefix
        First part of every key in Redis, so that several systems may share a server.
    timeout_s
        Bound of every wait for the store to answer.
    log_entries_kept
        Entries a partition's delta log keeps at least, for followers; at least 1, so that a
        repeated commit can be recognized. Entries after the last checkpoint are always kept.
    schedule_entries_max
        Schedules a partition keeps; the oldest go first (Redis may keep some hundred more).

    Raises
    ------
    ConfigError
        When ``url`` is not one of these, or a bound is too small.
    """
    for name, value in (
        ("log_entries_kept", log_entries_kept),
        ("schedule_entries_max", schedule_entries_max),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}, but must be at least 1")
    if timeout_s <= 0:
        raise ConfigError(f"the store's timeout_s is {timeout_s}, but must be above 0")
    scheme, _, rest = url.partition(":")
    if scheme == "memory" and not rest:
        return MemoryStore(
            log_entries_kept=log_entries_kept, schedule_entries_max=schedule_entries_max
        )
    if scheme == "sqlite" and rest:
        _check_path(rest)
        return SqliteStore(
            rest,
            timeout_s=timeout_s,
            log_entries_kept=log_entries_kept,
            schedule_entries_max=schedule_entries_max,
        )
    if scheme in ("redis", "rediss", "redis+cluster") and rest.startswith("//"):
        # Importing its client takes 0.1 s, which only its users should wait for.
        from streamer.store.redis import RedisStore

        return RedisStore(
            url,
            key_prefix=key_prefix,
            timeout_s=timeout_s,
            log_entries_kept=log_entries_kept,
            schedule_entries_max=schedule_entries_max,
        )
    raise ConfigError(
        f"store url {masked('store.url', url)} is not one of sqlite:PATH, redis://HOST:PORT,"
        " rediss://HOST:PORT, redis+cluster://HOST:PORT, memory:"
    )


def _check_path(path: str) -> None:
    """Raise ConfigError where a path is meant otherwise than as the name of a file."""
    if ":memory:" in path:
        remedy = (
            "each thread and process would have a store of its own: write memory: for one that"
            " ends with its process, or sqlite:PATH"
        )
    elif path.startswith("//"):
        relative = path.lstrip("/")
        remedy = (
            f"two slashes are of other programs: write sqlite:{relative} for a file of this"
            f" folder, or sqlite:/{relative}"
        )
    elif path.startswith("~"):
        meant = str(Path.home()) + path[1:] if path[1:2] in ("", "/") else f"/home/{path[1:]}"
        remedy = (
            f"~ is no home here, but a name: write the whole path, as sqlite:{meant}, or sqlite:./"
            f"{path} for that name"
        )
    elif path.startswith("file:") or _SETTINGS_OF_URL.search(path):
        remedy = "a path has no settings: write sqlite:PATH; store.timeout_s is the wait"
    elif path != path.strip() or "\0" in path:
        remedy = "a blank or a NUL is at its begin or end, or within: write sqlite:PATH without"
    else:
        return
    raise ConfigError(f"store url {masked('store.url', f'sqlite:{path}')} names no file: {remedy}")


def check_memory(store: ParameterStore) -> None:
    """Raise StoreError where the server of a store may drop parameters; others have none."""
    check = getattr(store, "check_memory", None)
    if check is not None:
        check()


def check_records(store: ParameterStore) -> None:
    """Raise StoreError where something is damaged that no load of a partition reads: entries before
    a checkpoint, and in Redis keys of no table or partition. Every entry of the log is read."""
    check = getattr(store, "check_records", None)
    if check is not None:
        check()
