"""The command ``streamer record``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import BrokerOption, ConfigOption, configured
from streamer.commands.screen import output, rated_progress, show_malformed, show_remarks


def record(
    topic: Annotated[str, typer.Argument(help="The topic's full name.")],
    file: Annotated[Path, typer.Argument(help="FILE.jsonl, FILE.jsonl.gz or FILE.jsonl.zst.")],
    start: Annotated[
        str,
        typer.Option("--from", help="`earliest`, an offset, or a time as 2026-01-31T08:00:00."),
    ] = "earliest",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first message that is not JSON.")
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Write what is on a topic now to a log file, one JSON object a line."""
    from streamer.application.record import record as record_topic
    from streamer.application.topic_log import TopicLog

    loaded = configured(config, bootstrap_servers)
    log = TopicLog(loaded, topic, start=start, strict=strict)
    with rated_progress() as bar:
        recording = bar.add_task("recording", total=log.n_estimated)
        n_written = record_topic(log, file, progress=lambda n: bar.update(recording, completed=n))
    output.print(f"{n_written:,} messages of {topic} written to {file}", highlight=False)
    show_malformed(log.n_malformed, [str(each) for each in log.malformed])
    show_remarks(log.gone)
