"""The settings of an experiment: what is scored, against what, and how it is counted."""

from __future__ import annotations

from typing import Literal

import msgspec

from streamer.errors import ConfigError
from streamer.replay.knobs import Knobs
from streamer.replay.log import Ties
from streamer.replay.models import Task

RankTies = Literal["random", "against"]
Repeats = Literal["skip", "keep"]
FeedbackSeen = Literal["positives", "all"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one experiment; the same log and settings give the same result.

    Attributes
    ----------
    task
        ``topk``: rank the item of each positive event. ``rating``: predict each value.
    positives
        Condition of :func:`streamer.replay.positives.parse_positives`. None: what the
        configuration gives a reward above 0 (topk); every event with a value (rating).
    warmup
        Share of the targets that are learned only.
    scored
        Share of the others that are scored, drawn at random; all are learned.
    k
        Depth of the lists.
    seed
        Of models, ties and samples.
    ties
        Whether events of one time are put in a random order, or stay in that of the log.
    rank_ties
        Where the target stands among candidates of its score.
    n_sampled
        Rank against so many candidates drawn at random; None: against all. A sample makes every
        model look better, and can turn their order round (Krichene & Rendle 2020).
    served
        Rank the slate that a funnel would have served, whatever the user has consumed.
    repeats
        ``skip``: what the user has consumed is neither scored nor a candidate. ``keep``: it is.
    feedback
        ``all``: models learn from other feedback too, which makes it consumed.
    scale
        Bounds of predicted values; None: those of the log's values.
    n_windows
        Windows of time, of as many targets each.
    window_ms
        In their place, windows of so many ms.
    cold_below
        Users and items are cold before so many consumptions.
    knobs
        How late and complete what models learn is.
    keys
        Keys of the configuration that a sweep changed, as typed; of funnels and channels.
    """

    task: Task = "topk"
    positives: str | None = None
    warmup: float = 0.3
    scored: float = 1.0
    k: int = 10
    seed: int = 0
    ties: Ties = "shuffle"
    rank_ties: RankTies = "random"
    n_sampled: int | None = None
    served: bool = False
    repeats: Repeats = "skip"
    feedback: FeedbackSeen = "positives"
    scale: tuple[float, float] | None = None
    n_windows: int = 20
    window_ms: int | None = None
    cold_below: int = 5
    knobs: Knobs = Knobs()
    keys: dict[str, str] = {}

    def check(self) -> None:
        """Refuse what can't be.

        Raises
        ------
        ConfigError
            Naming the setting, its value and its bounds.
        """
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup {self.warmup} must be at least 0 and below 1: a share")
        if not 0 < self.scored <= 1:
            raise ConfigError(f"scored {self.scored} must be above 0 and at most 1: a share")
        whole = {"k": self.k, "n_windows": self.n_windows, "cold_below": self.cold_below}
        whole |= {"sampled": self.n_sampled or 1} if self.n_sampled is not None else {}
        for name, value in whole.items():
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        if self.n_sampled is not None and self.n_sampled < 1:
            raise ConfigError(f"sampled:{self.n_sampled} candidates; there must be at least 1")
        if self.served and self.task != "topk":
            raise ConfigError("candidates served are of --task topk")
        self.knobs.check()
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} must not be negative")
        if self.window_ms is not None and self.window_ms < 1:
            raise ConfigError(f"windows of {self.window_ms} ms; they must last at least 1 ms")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ConfigError(
                f"scale {self.scale[0]}:{self.scale[1]} must go from low to high, as 0.5:5"
            )
