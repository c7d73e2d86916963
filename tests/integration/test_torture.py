"""The torture, cut short: one of each fault, and then every message is accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.kafka.node import KafkaNode
from tests.redis_server import RedisServer
from tests.torture.faults import FAULTS
from tests.torture.run import Torture, torture

pytest.importorskip("faust", reason="pip install '.[features]'")


@pytest.mark.timeout(1_800)
def test_after_one_of_each_fault_every_message_is_accounted_for(
    kafka_broker: KafkaNode, redis_server: RedisServer, tmp_path: Path
) -> None:
    what = Torture(seed=1, n_each=1, total_s=20.0, events_s=50.0, patience_s=600.0)
    outcome = torture(what, tmp_path, kafka_broker, redis_server, say=print)
    assert not outcome.differing, "\n".join(outcome.differing)
    assert set(outcome.faults) == {fault.name for fault in FAULTS}
    assert len(outcome.checks) > 40
    assert outcome.ledger.n("events") > 1_000
