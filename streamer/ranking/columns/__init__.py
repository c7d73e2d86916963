"""What candidates are ranked by: one file for a column or a family of them."""

from __future__ import annotations

from streamer.ranking.columns.registry import (
    feature_names,
    followed_definitions,
    prior_mean,
    ranking_columns,
)

__all__ = ["feature_names", "followed_definitions", "prior_mean", "ranking_columns"]
