"""The Faust app: events in, contributions between workers, windows in a table, features out.

Two agents. The first reads the events, partition by partition, and sends what they add to each
entity to the partition where the entity's state is. The second keeps the state in a table, whose
changelog topic any worker restores it from, and publishes features when windows end. Messages come
at least once and in order (:mod:`streamer.faust_worker.reading`); what is in a sum is told by
offsets (:mod:`streamer.faust_worker.shard`), so sums are exact after a crash all the same, and no
transactions are needed.

An offset is committed when all that came of it is acknowledged. What goes wrong on the way stops
the worker: one that went on would have lost what it was doing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamer.errors import KafkaError
from streamer.faust_worker.metrics import FeaturesMetrics
from streamer.faust_worker.settings import FeaturesSettings
from streamer.protocols import Clock
from streamer.windows.categories import ItemCategories

try:
    import faust
    from faust.auth import Credentials

    from streamer.faust_worker.acknowledged_table import AcknowledgedTable
    from streamer.faust_worker.packs import PackingTransport
    from streamer.faust_worker.patience import NotAgain
    from streamer.faust_worker.reading import Reread
    from streamer.faust_worker.stopping import StoppableWorker
    from streamer.faust_worker.worker import Worker
except ImportError as error:
    raise ImportError(
        f"the windowed features need packages that are not installed ({error}): pip install"
        " '.[features]' in the folder of streamer's code"
    ) from error

if TYPE_CHECKING:
    from streamer.faust_worker.local_records import LocalRecords

_CHATTY: Final = ("faust", "mode", "aiokafka")
"""Loggers."""
_HEARTBEAT_S: Final = 2.0
_SESSION_TIMEOUT_S: Final = 10.0
"""After so long without a word a worker is taken for dead."""
_BUFFERED_PACKS: Final = 256
"""On their way through Faust, a topic: 256 * 500 events are some 40 MB."""


def build_app(
    settings: FeaturesSettings,
    *,
    categories: ItemCategories,
    reread: Reread,
    clock: Clock,
    metrics: FeaturesMetrics,
    folder: Path,
    records: LocalRecords | None = None,
    credentials: Credentials | None = None,
) -> faust.App:
    """The app, not started yet.

    Parameters
    ----------
    categories
        Followed while the app runs.
    reread
        Reads topics again: to know what repeats, and what was passed over.
    folder
        Where Faust makes folders of its own, which stay empty.
    records
        Where the state is kept on disk; it is in memory without.
    credentials
        Of Faust, for a broker that wants them.
    """
    app = faust.App(
        settings.app_id,
        broker=[f"aiokafka://{each}" for each in settings.bootstrap_servers.split(",")],
        broker_credentials=credentials,
        broker_commit_interval=settings.commit_interval_s,
        broker_heartbeat_interval=_HEARTBEAT_S,
        broker_session_timeout=_SESSION_TIMEOUT_S,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        producer_max_request_size=1_048_576,
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        stream_wait_empty=True,  # what is under way is finished before partitions go
        table_standby_replicas=0,
        topic_disable_leader=True,
        topic_partitions=settings.n_partitions,
        topic_replication_factor=settings.replication_factor,
        stream_buffer_maxsize=_BUFFERED_PACKS,
        web_enabled=False,
        Table=AcknowledgedTable,
    )
    app.transport = PackingTransport(
        app,
        topics=(settings.events_topic, settings.contributions_topic),
        n_max=settings.batch_messages_max,
    )
    Worker(app, settings, categories, reread, clock, metrics, records).connect()
    return app


def run_app(app: faust.App) -> bool:
    """Run until SIGTERM or SIGINT, and then for a bounded time, also where the broker is away.

    Returns
    -------
    bool
        Whether all came to its end. Otherwise threads are left that wait for the broker, and the
        process must be ended by :func:`streamer.faust_worker.stopping.end_process`.

    Raises
    ------
    KafkaError
        Where the app stopped by itself.
    """
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(NotAgain(*_CHATTY))
    worker = StoppableWorker(app)
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        if ended.code:
            raise KafkaError(
                f"the worker of the windowed features stopped with status {ended.code}; its log"
                " says why. Start it again: it goes on where it stopped"
            ) from ended
    return not worker.cut_short
