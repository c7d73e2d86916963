"""An experiment's decisions and events, from the topics or from a recorded folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamer.application.topic_log import TopicLog
from streamer.config import Config, TopicRole
from streamer.config.specs import duration_ms
from streamer.errors import ConfigError
from streamer.ope.bandit_log import Lines
from streamer.ope.decision_log import file_in
from streamer.ope.experiment_log import ExperimentLog, read_experiment
from streamer.ope.experiment_report import ExperimentReport, report
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
    ConfigError, KafkaError
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
