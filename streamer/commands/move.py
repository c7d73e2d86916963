"""The command ``streamer move``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamer.commands.options import BrokerOption, ConfigOption, configured
from streamer.commands.screen import output, rated_progress


def move(
    folder: Annotated[Path, typer.Argument(help="That of `streamer up --data`.")],
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Publish what a trial has kept to a Kafka of your own."""
    from streamer.application.local.move_trial import move_trial

    loaded = configured(config, bootstrap_servers)
    with rated_progress() as bar:
        moving = bar.add_task("moving", total=None)
        moved = move_trial(
            folder, loaded, progress=lambda n, total: bar.update(moving, completed=n, total=total)
        )
    for topic, n in moved.items():
        output.print(f"{n:,} messages of {topic}", highlight=False)
    output.print(
        "Start `streamer learn`, which learns them again into store.url, and `streamer score`"
        " (or `streamer serve`)."
    )
