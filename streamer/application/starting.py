"""The wait for a broker and a store that are being started, or restarted, with this process.

Everything that uses one begins here: it waits ``kafka.request_timeout_s`` at most for each, says so
once, and ends with the cause. What waiting does not mend, a password for instance, ends it at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Final, TypeVar, get_args

from streamer.config import Config, TopicRole
from streamer.errors import ConfigError, StreamerError
from streamer.kafka.readiness import BrokerReadiness
from streamer.protocols import RestorableStore
from streamer.store import open_store

log = logging.getLogger(__name__)

_LOOK_S: Final = 2.0
"""For one answer of a broker."""
_PAUSE_S: Final = 0.25

Answer = TypeVar("Answer")


def wait_for(what: str, ask: Callable[[], Answer], *, at_most_s: float) -> Answer:
    """Ask until there is an answer, and return it.

    Parameters
    ----------
    what
        Who is asked, for the log.
    ask
        Raises a retriable error while there is none.
    at_most_s
        After which the error of the last attempt is raised; infinity: never.

    Raises
    ------
    StreamerError
        The last error; one that is not retriable at once.
    """
    began = time.monotonic()
    said = False
    while True:
        try:
            answer = ask()
        except StreamerError as error:
            spent_s = time.monotonic() - began
            if not error.retriable or spent_s >= at_most_s:
                raise
            if not said:
                limit = "" if math.isinf(at_most_s) else f", {at_most_s:g} s at most"
                log.warning("waiting for %s%s: %s", what, limit, error)
                said = True
            time.sleep(min(_PAUSE_S, at_most_s - spent_s))
        else:
            if said:
                log.warning("%s answers after %.1f s", what, time.monotonic() - began)
            return answer


def await_broker(config: Config) -> None:
    """Return when the configured broker answers and has opened the logs of the topics.

    Raises
    ------
    ConfigError
        Where the configuration names no broker.
    KafkaError
        When the broker refuses the client, or is not ready after ``kafka.request_timeout_s``.
    """
    servers = config.kafka.bootstrap_servers
    if not servers:
        raise ConfigError(
            "kafka.bootstrap_servers is empty: name a broker (--bootstrap-servers, streamer.toml or"
            " STREAMER_KAFKA__BOOTSTRAP_SERVERS), or run `streamer up`, which starts one for trying"
            " things out"
        )
    topics = [config.topics.topic(role) for role in get_args(TopicRole)]
    broker = BrokerReadiness(servers, topics, client_options=config.kafka.client)
    at_most_s = config.kafka.request_timeout_s
    look_s = min(_LOOK_S, at_most_s)
    wait_for(f"Kafka at {servers}", lambda: broker.check(timeout_s=look_s), at_most_s=at_most_s)


def check_store(config: Config) -> None:
    """Check what names the store, and connect to nothing.

    Raises
    ------
    ConfigError
        As opening it raises it.
    """
    _store(config).close()


def _store(config: Config) -> RestorableStore:
    return open_store(
        config.store.url,
        key_prefix=config.store.key_prefix,
        timeout_s=config.store.timeout_s,
        log_entries_kept=config.store.log_entries_kept,
        schedule_entries_max=config.store.schedule_entries_max,
    )


def configured_store(config: Config) -> RestorableStore:
    """Open the store that the configuration names, as soon as it answers.

    Raises
    ------
    StoreError
        When it refuses the client, its layout can't be read, or no answer came within
        ``kafka.request_timeout_s``.
    """
    store = _store(config)
    try:
        wait_for("the store", store.layout, at_most_s=config.kafka.request_timeout_s)
    except StreamerError:
        store.close()
        raise
    return store
