"""An experiment's decisions and events: from the topics, a recorded folder or that of a trial."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from streamer.application.local.kept_topics import KeptTopics
from streamer.application.local.trial import TOPICS
from streamer.application.topic_log import TopicLog
from streamer.config import Config, TopicRole
from streamer.config.specs import duration_ms
from streamer.errors import ConfigError
from streamer.ope.bandit_log import Lines, PublishedLines
from streamer.ope.decision_log import files_in
from streamer.ope.experiment_log import ExperimentLog, read_experiment
from streamer.ope.experiment_report import ExperimentReport, report
from streamer_producers.log_file import LogFile

_LOGS: Final = (
    "name a folder with decisions.jsonl and events.jsonl, as `streamer record` writes them (or .gz,"
    f" .zst), or that of `streamer up --data` (which holds {TOPICS}), or none: then the topics are"
    " read"
)


class TopicLines(PublishedLines):
    """What is on a topic now, a message a line; none was published after it is read."""

    def __init__(self, config: Config, role: TopicRole) -> None:
        self._log = TopicLog(config, config.topics.topic(role))

    def __str__(self) -> str:
        return self._log.name

    def published(self) -> Iterator[tuple[int, int, bytes]]:
        now_ms = _now_ms()
        for number, (published_ms, line) in enumerate(self._log.published(), 1):
            yield number, min(published_ms, now_ms), line

    @property
    def gone(self) -> Sequence[str]:
        """What the topic no longer had, in a sentence; known once it was read."""
        return self._log.gone

    @property
    def whole_since_ms(self) -> int:
        """When the first message was published from which on none is missing; 0: none is."""
        return self._log.whole_since_ms


class KeptLines(PublishedLines):
    """All that was ever on a topic of ``streamer up --data``, a message a line; none was published
    after it is read."""

    def __init__(self, folder: Path, topic: str) -> None:
        self._file = folder / TOPICS
        self._topic = topic

    def __str__(self) -> str:
        return f"{self._file}, {self._topic}"

    def published(self) -> Iterator[tuple[int, int, bytes]]:
        now_ms = _now_ms()
        with contextlib.closing(KeptTopics(self._file)) as kept:
            for number, message in enumerate(kept.messages(), 1):
                if message.topic == self._topic:
                    yield number, min(message.publish_ms, now_ms), message.value or b""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def experiment_log(
    config: Config, name: str, folder: Path | None, *, window_ms: int, strict: bool
) -> ExperimentLog:
    """Read an experiment's users.

    Parameters
    ----------
    folder
        With ``decisions.jsonl`` and ``events.jsonl``, as `streamer record` writes them (or ``.gz``,
        ``.zst``), or the ``topics.db`` of a trial; None: the topics.

    Raises
    ------
    ConfigError
        As :func:`streamer.ope.experiment_log.read_experiment`, and where the folder lacks one, or
        is none.
    KafkaError
        When the broker does not answer or has no such topic.
    StoreError
        When a trial's file can't be read.
    """
    return read_experiment(
        config,
        name,
        decisions=_lines(config, "decisions", folder),
        events=_lines(config, "events", folder),
        window_ms=window_ms,
        now_ms=_now_ms(),
        strict=strict,
    )


def _lines(config: Config, role: TopicRole, folder: Path | None) -> Lines:
    if folder is None:
        return TopicLines(config, role)
    if (folder / TOPICS).is_file():
        return KeptLines(folder, config.topics.topic(role))
    if not folder.is_dir():
        raise ConfigError(f"{folder} is {'no folder' if folder.exists() else 'not there'}; {_LOGS}")
    found = files_in(folder, role)
    if len(found) != 1:
        raise ConfigError(f"{folder} holds {len(found)} files of {role}; {_LOGS}")
    return LogFile(found[0])


def reported(
    config: Config,
    name: str,
    folder: Path | None,
    window: str,
    *,
    alpha: float,
    n_planned: int,
    strict: bool = False,
) -> ExperimentReport:
    """Read an experiment and return what each variant is worth so far.

    Parameters
    ----------
    folder, strict
        As :func:`experiment_log`.
    window
        What counts of a user: so long from the first slate on, as ``12h`` or ``7d``.
    alpha, n_planned
        As :func:`streamer.ope.experiment_report.report`.

    Raises
    ------
    ConfigError, KafkaError, StoreError
        As :func:`experiment_log`; and where the window is no time.
    """
    try:
        window_ms = duration_ms(window)
    except ValueError as error:
        raise ConfigError(f"--window {error}") from error
    if not window_ms:
        raise ConfigError(f"--window {window!r} is no time; write one as 12h or 7d")
    read = experiment_log(config, name, folder, window_ms=window_ms, strict=strict)
    return report(
        name,
        config.experiments[name],
        read,
        window_s=window_ms / 1000,
        alpha=alpha,
        n_planned=n_planned,
    )
