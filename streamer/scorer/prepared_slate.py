"""What a slate is drawn from: candidates with their features, and what the policy knows of them."""

from __future__ import annotations

from dataclasses import dataclass

from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.features import Features
from streamer.scorer.policy.knowledge import Knowledge


@dataclass(frozen=True, slots=True)
class PreparedSlate:
    """All that the draw of a slate depends on, beside the policy and the number of its places."""

    context: RequestContext
    candidates: Candidates
    features: Features
    knowledge: Knowledge
