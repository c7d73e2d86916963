"""Decisions of a live system in memory, made again from its commits."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.events import Decision, decode_request
from streamer.protocols import Entry
from streamer.simulation.live import LiveSystem
from streamer.verify.decisions import SlatesVerification, verify_slates


def verified_again(live: LiveSystem, decisions: Sequence[Decision]) -> SlatesVerification:
    """Ask the funnel each request of a system again, of what its decision was made from."""
    after = dict.fromkeys(range(live.config.topics.partitions), 0)
    entries: list[Entry] = []
    while some := live.store.follow(after, timeout_s=0.0):  # a bounded number at a time
        entries += some
        after |= {each.partition: each.version for each in some}
    return verify_slates(
        live.config,
        entries={(each.partition, each.version): each for each in entries},
        requests=[
            decode_request(record.value, publish_ms=record.publish_ms)
            for record in live.broker.records("requests")
        ],
        decisions=decisions,
        catalogue=live.scorer.catalogue,
    )
