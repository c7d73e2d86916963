"""An experiment's decisions and events, from the topics or from a recorded folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamer.application.topic_log import TopicLog
from streamer.config import Config, TopicRole
from streamer.ope.bandit_log import Lines
from streamer.ope.decision_log import file_in
from streamer.ope.experiment_log import ExperimentLog, read_experiment
from streamer_producers.log_file import LogFile


class TopicLines:
    """What is on a topic now, a message a line."""

    def __init__(self, config: Config, role: TopicRole) -> None:
        self._log = TopicLog(config, config.topics.topic(role))

    def __str__(self) -> str:
        return self._log.name

    def lines(self) -> Iterator[tuple[int, bytes]]:
        return enumerate(self._log.payloads(), 1)


def experiment_log(
    config: Config, name: str, folder: Path | None, *, window_ms: int, strict: bool
) -> ExperimentLog:
    """Read an experiment's users.

    Parameters
    ----------
    folder
        With ``decisions.jsonl`` and ``events.jsonl``, as `streamer record` writes them (or ``.gz``,
        ``.zst``); None: the topics.

    Raises
    ------
    ConfigError
        As :func:`streamer.ope.experiment_log.read_experiment`, and where the folder lacks one.
    KafkaError
        When the broker does not answer or has no such topic.
    """
    found: list[Lines] = [
        TopicLines(config, role) if folder is None else LogFile(file_in(folder, role))
        for role in ("decisions", "events")
    ]
    decisions, events = found
    return read_experiment(
        config, name, decisions=decisions, events=events, window_ms=window_ms, strict=strict
    )
