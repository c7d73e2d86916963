"""The commands ``streamer forget user`` and ``streamer forget item``."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from streamer.commands.options import BrokerOption, ConfigOption, configured
from streamer.commands.screen import output


def forget_user(
    user_id: Annotated[str, typer.Argument(help="Who is to be forgotten.")],
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Erase a user: send the tombstone on the users topic that learners erase by."""
    from streamer.application.starting import await_broker
    from streamer.client import Publisher
    from streamer.kafka.configured import configured_reader
    from streamer.kafka.topics import cleanup_policy

    settings = configured(config, bootstrap_servers)
    await_broker(settings)
    topic = settings.topics.topic("users")
    with contextlib.closing(configured_reader(settings)) as reader:
        reader.partitions(topic)  # says how to make it, where it is missing
    with Publisher(config=settings) as publisher:
        publisher.delete_user(user_id)
    of_broker = cleanup_policy(
        settings.kafka.bootstrap_servers,
        topic,
        client_options=settings.kafka.client,
        timeout_s=settings.kafka.request_timeout_s,
    )
    kept = "as long as this broker runs, the folder of `streamer up --data` for ever"
    if of_broker:
        kept = f"for up to {settings.topics.retention_hours:,} h"
    output.print(
        f"a tombstone of {user_id} is on topic {topic}: their rows leave the store with the next"
        f" commit of a learner, and its log when it is trimmed. Not erased: messages on the other"
        f" topics, which keep them {kept}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def forget_item(
    item_id: Annotated[str, typer.Argument(help="What is to be forgotten.")],
    config: ConfigOption = None,
    bootstrap_servers: BrokerOption = None,
) -> None:
    """Forget an item: send the tombstone on the items topic that takes it out of all."""
    from streamer.application.starting import await_broker
    from streamer.client import Publisher

    settings = configured(config, bootstrap_servers)
    await_broker(settings)
    with Publisher(config=settings) as publisher:
        publisher.delete_item(item_id)
    output.print(
        f"a tombstone of {item_id} is on topic {settings.topics.topic('items')}: it is not"
        " recommended any more, and each learner drops what it has learned of it",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
