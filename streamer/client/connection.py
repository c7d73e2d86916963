"""Which cluster a client talks to, and what it may send there."""

from __future__ import annotations

import time

import msgspec

from streamer.config import Config, load_config
from streamer.errors import BadMessage, ConfigError
from streamer.events import Message, encode_checked


def client_config(bootstrap_servers: str | None, config: Config | None) -> Config:
    """The given configuration, else that of ``streamer.toml`` and the environment.

    Raises
    ------
    ConfigError
        When no broker is named anywhere, or the file or the environment is wrong.
    """
    config = load_config() if config is None else config
    if bootstrap_servers is not None:
        kafka = msgspec.structs.replace(config.kafka, bootstrap_servers=bootstrap_servers)
        config = msgspec.structs.replace(config, kafka=kafka)
    if not config.kafka.bootstrap_servers:
        raise ConfigError(
            "no broker is named: pass bootstrap_servers='HOST:PORT' (`streamer up` prints its own "
            "when it starts), or set STREAMER_KAFKA__BOOTSTRAP_SERVERS"
        )
    return config


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def checked_payload(message: Message) -> bytes:
    """JSON of a message that the other end will take.

    Raises
    ------
    BadMessage
        Naming the field, its value and what would be right.
    """
    try:
        return encode_checked(message)
    except TypeError as error:  # an object of the caller's that JSON has no form for
        raise BadMessage(f"{error}; send text, numbers and booleans") from error
