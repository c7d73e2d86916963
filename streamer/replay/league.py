"""The league: every model that can do a task, for one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamer.config import Config
from streamer.config.specs import Spec, parse_specs
from streamer.ranking.recall.registry import measuring_on
from streamer.replay.models import CHANNEL, FUNNEL, NIGHTLY, Task
from streamer.replay.nightly.implicit_models import INSTALLED

ALL: Final = "all"
"""``--model all``: the league."""
_ONLINE: Final[dict[Task, tuple[str, ...]]] = {
    "topk": (
        "popularity",
        "popularity:half_life_events=1000",
        "item-cosine",
        "isgd",
        "mf-softmax",
        "mf-bpr",
        "mf-logistic",
        "biased-mf",
    ),
    "rating": ("running-mean", "biased-mf"),
}
_NIGHTLY: Final = ("ease", "ease,histories=trained")
_OF_IMPLICIT: Final = ("als", "bpr")


def league(config: Config, task: Task) -> list[str]:
    """Return the models of the league as they are typed.

    For ``topk`` the funnel, each of its channels alone, models that learn each event and models
    trained on a schedule; those of implicit where it is installed.
    """
    if task == "rating":
        return [*_ONLINE[task]]
    nightly = (*_NIGHTLY, *(_OF_IMPLICIT if INSTALLED else ()))
    return [
        FUNNEL,
        *(f"{CHANNEL}:{name}" for name in measuring_on(config)),
        *_ONLINE[task],
        *(f"{NIGHTLY}:{name}" for name in nightly),
    ]


def not_installed(specs: Sequence[Spec], task: Task) -> list[str]:
    """Return the models that ``all`` among ``specs`` would be too if implicit were installed."""
    if INSTALLED or task == "rating" or not any(spec.text == ALL for spec in specs):
        return []
    return [f"{NIGHTLY}:{name}" for name in _OF_IMPLICIT]


def models_of(specs: Sequence[Spec], config: Config, task: Task) -> list[Spec]:
    """Return ``specs`` with the league in the place of ``all``, each model once."""
    found: dict[str, Spec] = {}
    for spec in specs:
        for each in parse_specs(league(config, task)) if spec.text == ALL else [spec]:
            found.setdefault(each.text, each)
    return list(found.values())
