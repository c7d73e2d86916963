"""The HTTP service as a process: a scorer that is asked over HTTP, and over Kafka too."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import CollectorRegistry

from streamer.application.services.scoring import scorer_service
from streamer.application.services.signals import stopped_by_signals
from streamer.client.embedded_room import EmbeddedRoom
from streamer.clock import SystemClock
from streamer.config import Config, TopicRole
from streamer.errors import ConfigError
from streamer.kafka.configured import configured_acknowledged, configured_sink
from streamer.kafka.readiness import BrokerReadiness
from streamer.scorer.answer_queue import AnswerQueue
from streamer.scorer.replies import Replies
from streamer.scorer.service import ScorerService

if TYPE_CHECKING:
    from streamer.http.served_app import ServedApp

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
"""How long the broker may take to answer a probe."""


def run_http(
    config: Config,
    *,
    alone: bool = False,
    page: Callable[[ServedApp], None] | None = None,
) -> None:
    """Serve HTTP, and answer the requests topic, until SIGTERM or SIGINT.

    At the end what was taken is answered, and what was accepted or decided is at the broker.

    Parameters
    ----------
    alone
        Read all partitions without a consumer group: starts at once, but there may be one only.
    page
        Adds a page to the service; see :func:`streamer.page.wanted.wanted_page`.

    Raises
    ------
    ConfigError
        Where the packages of the extra ``http`` are missing, or the port is taken.
    """
    try:
        from streamer.http.app import create_app
        from streamer.http.connections import GRACE_S
        from streamer.http.parts import Parts
        from streamer.http.served_app import ServedApp
        from streamer.http.server import HttpServer
    except ImportError as error:
        raise ConfigError(
            f"{error}: HTTP needs the extra of that name: pip install '.[http]' in the folder of"
            " streamer's code"
        ) from error
    registry = CollectorRegistry()
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(stopped_by_signals())
        service = stack.enter_context(scorer_service(config, registry, alone=alone))
        scorer = service.scorer
        decisions = configured_sink(config, linger_s=0.0)
        stack.callback(decisions.close)
        accepted = configured_acknowledged(config)
        stack.callback(accepted.close)
        room = EmbeddedRoom(config, config.topics.topic("events"))
        stack.callback(room.close)
        replies = Replies(config.topics, sink=decisions, clock=scorer.clock, metrics=scorer.metrics)
        answers = AnswerQueue(scorer, replies, n_waiting_max=config.http.waiting_max)
        stack.callback(answers.close)
        broker = BrokerReadiness(
            config.kafka.bootstrap_servers,
            [config.topics.topic(role) for role in get_args(TopicRole)],
            client_options=config.kafka.client,
        )
        parts = Parts(
            answers=answers,
            sink=accepted,
            clock=SystemClock(),
            room=room,
            check_broker=functools.partial(broker.check, timeout_s=_LOOK_S),
        )
        app = create_app(config, parts, registry=registry)
        if page is not None:
            page(ServedApp(app=app, config=config, parts=parts, scorer=scorer, registry=registry))
        server = HttpServer(
            app,
            host=config.http.host,
            port=config.http.port,
            unfinished_s=config.http.body_timeout_s + GRACE_S,
        )
        stack.enter_context(_running(service, server.stop))
        signals.hand_over(server.stop)
        shown = {} if page is None else {"page": f"{server.url}/ui"}
        log.info("http_ready", extra={"url": server.url, **shown})
        server.run()
        log.info("http_stopped")


@contextlib.contextmanager
def _running(service: ScorerService, ended: Callable[[], None]) -> Iterator[None]:
    """Run a service in a thread of its own, and stop it at the end.

    Parameters
    ----------
    ended
        Called when the service ends by itself.

    Raises
    ------
    StreamerError
        What ended the service.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            service.run()
        except Exception as error:  # noqa: BLE001 - raised where the thread was started
            failures.append(error)
        finally:
            ended()

    thread = threading.Thread(target=run, name="requests", daemon=True)
    thread.start()
    try:
        yield
    finally:
        service.stop()
        thread.join()
    if failures:
        raise failures[0]
