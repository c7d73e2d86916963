"""Keys that have another name now; the old one is an error that gives the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RENAMED: Final[Mapping[str, str]] = {
    "scorer.candidates_mf": "recall.mf.candidates",
    "scorer.candidates_trending": "recall.trending.candidates",
    "scorer.candidates_random": "recall.random.candidates",
    "scorer.weight_mf": "recall.mf.weight",
    "scorer.weight_trending": "recall.trending.weight",
    "scorer.trending_half_life_s": "recall.trending.half_life_s",
    "scorer.trending_feature": "recall.trending_feature.feature",
}
