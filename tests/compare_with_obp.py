"""Our estimators beside those of the Open Bandit Pipeline, on the same arrays.

obp asks for torch, which it needs for other parts; here an empty stand-in takes its place. So it
lives in an environment of its own::

    python -m venv /tmp/obp
    /tmp/obp/bin/pip install --no-deps obp==0.4.1
    /tmp/obp/bin/pip install numba numpy pandas scikit-learn scipy tqdm pyyaml \\
        mypy_extensions matplotlib seaborn
    PYTHONPATH=. /tmp/obp/bin/python -W ignore tests/compare_with_obp.py

It prints what obp says about the log of ``tests/unit/ope_log.py``, the figures that
``tests/unit/test_ope_estimators.py`` holds, and exits with 1 where we differ from obp on that log
or on obp's own synthetic data.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

from streamer_models.evaluation.ope import DM, DR, IPS, SNIPS, Estimator, ReplayMatching, SwitchDR
from tests.unit.ope_log import OpeLog, synthetic_log

CLIP = 5.0
THRESHOLD = 2.0
DIFFERENCE_MAX = 1e-12


class _AnyClass(type):
    """A class that has every attribute; each is such a class again."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyClass(name, (), {})


def _import_obp() -> tuple[Any, Any]:
    for name in ("torch", "torch.nn", "torch.optim"):
        stand_in = ModuleType(name)
        stand_in.__dict__["__getattr__"] = lambda attribute: getattr(
            _AnyClass("", (), {}), attribute
        )
        sys.modules[name] = stand_in
    return importlib.import_module("obp.dataset"), importlib.import_module("obp.ope")


def obp_log(dataset: Any) -> OpeLog:
    """What obp's generator makes, and a softmax policy to evaluate."""
    synthetic = dataset.SyntheticBanditDataset(
        n_actions=10,
        dim_context=5,
        reward_type="binary",
        reward_function=dataset.logistic_reward_function,
        behavior_policy_function=dataset.linear_behavior_policy,
        random_state=12_345,
    )
    logged = synthetic.obtain_batch_bandit_feedback(n_rounds=5_000)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(5_000, 10)) + 2 * logged["expected_reward"]
    target = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    model = np.clip(logged["expected_reward"] + rng.normal(scale=0.1, size=(5_000, 10)), 0, 1)
    return OpeLog(
        actions=logged["action"],
        rewards=logged["reward"].astype(np.float64),
        propensities=logged["pscore"],
        target=target,
        model=model,
    )


def theirs(ope: Any, log: OpeLog) -> dict[str, float]:
    """Values by obp."""
    arguments: dict[str, Any] = {
        "reward": log.rewards,
        "action": log.actions,
        "pscore": log.propensities,
        "action_dist": log.target[:, :, None],
        "estimated_rewards_by_reg_model": log.model[:, :, None],
        "position": np.zeros(len(log.actions), dtype=int),
    }
    certain = {**arguments, "action_dist": log.greedy()[:, :, None]}
    weights = log.target[np.arange(len(log.actions)), log.actions] / log.propensities
    return {
        "replay": ope.ReplayMethod().estimate_policy_value(**certain),
        "ips": ope.InverseProbabilityWeighting().estimate_policy_value(**arguments),
        # obp 0.4.1 clips no weights: larger propensities give it the clipped ones.
        "ips clipped": ope.InverseProbabilityWeighting().estimate_policy_value(
            **{**arguments, "pscore": log.propensities * np.maximum(weights / CLIP, 1)}
        ),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**arguments),
        "dm": ope.DirectMethod().estimate_policy_value(**arguments),
        "dr": ope.DoublyRobust().estimate_policy_value(**arguments),
        "switch-dr": ope.SwitchDoublyRobust(tau=THRESHOLD).estimate_policy_value(**arguments),
    }


def ours(log: OpeLog) -> dict[str, float]:
    """The same values by :mod:`streamer_models.evaluation.ope`."""
    estimators: dict[str, Estimator] = {
        "replay": ReplayMatching(),
        "ips": IPS(),
        "ips clipped": IPS(clip=CLIP),
        "snips": SNIPS(),
        "dm": DM(),
        "dr": DR(),
        "switch-dr": SwitchDR(threshold=THRESHOLD),
    }
    weighed = log.weighed()
    return {name: estimator.estimate(weighed).value for name, estimator in estimators.items()}


def main() -> int:
    dataset, ope = _import_obp()
    worst = 0.0
    for name, log in (("ours", synthetic_log()), ("obp's", obp_log(dataset))):
        expected, found = theirs(ope, log), ours(log)
        for estimator, value in expected.items():
            print(f"{name:6} {estimator:12} {value:.12f} {found[estimator]:.12f}")
            worst = max(worst, abs(value - found[estimator]))
    print(f"largest difference {worst:.1e}")
    return int(worst > DIFFERENCE_MAX)


if __name__ == "__main__":
    raise SystemExit(main())
