"""``streamer forget user`` says truly what stays."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.config import load_config
from streamer.kafka.embedded import EmbeddedBroker
from streamer.kafka.topics import create_topics


def test_of_a_trial_it_is_said_that_its_folder_keeps_what_a_user_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("STREAMER_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap_servers)
        create_topics(broker.bootstrap_servers, load_config().topics)
        done = CliRunner().invoke(app, ["forget", "user", "ann"])
    said = " ".join(done.output.split())
    assert done.exit_code == 0, said
    assert "a tombstone of ann is on topic users" in said
    assert "other topics, which keep them as long as this broker runs, the folder of" in said
    assert " h" not in said.partition("keep them")[2]
