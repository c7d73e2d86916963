"""Contenders of ``bench_bandit``: each scores a decision's candidates, chooses one, learns it."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer_models.bandits.in_memory import InMemoryBandit, published_bandit

N_CANDIDATES = 100
UNIFORM_SHARE = 0.02
N_DRAWS = 64
"""Posterior draws behind a propensity of Thompson sampling."""
BATCH = 100
"""Decisions at once where a batch is meant to be."""
OBP = ("obp==0.4.1", "pyyaml", "tqdm", "mypy_extensions")


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions to make, over and over.

    Attributes
    ----------
    x
        ``(n, N_CANDIDATES, d)`` float32, a row a candidate. Models that have parameters by arm
        and one context for all of them take the first row.
    rewards
        ``(n, N_CANDIDATES)`` 0 or 1, by what each row promises.
    arms
        ``(N_CANDIDATES,)`` keys.
    """

    x: NDArray[np.float32]
    rewards: NDArray[np.float64]
    arms: NDArray[np.uint64]

    @classmethod
    def made_up(cls, n: int, d: int, seed: int) -> Decisions:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, N_CANDIDATES, d)).astype(np.float32)
        x[:, :, 0] = 1
        logits = 2 * (x @ rng.normal(size=d)) / d**0.5 - 1
        rewards = (rng.random((n, N_CANDIDATES)) < 1 / (1 + np.exp(-logits))).astype(np.float64)
        return cls(x, rewards, rng.integers(0, 1 << 63, N_CANDIDATES).astype(np.uint64))

    def __len__(self) -> int:
        return len(self.x)

    @property
    def first(self) -> NDArray[np.float32]:
        """``(N_CANDIDATES, d)``: an example of each arm, so that no model is still empty when its
        time is taken."""
        return self.x[:N_CANDIDATES, 0]

    @property
    def first_rewards(self) -> NDArray[np.float64]:
        """``(N_CANDIDATES,)``."""
        return np.diagonal(self.rewards[:N_CANDIDATES])


@dataclass(slots=True)
class Contender:
    """One library, as it is told to work.

    Attributes
    ----------
    n
        Decisions a round: fewer where they are slow.
    run
        Makes and learns ``n`` decisions from a start on; returns the sum of rewards.
    wall_s
        Of each round.
    """

    n: int
    run: Callable[[int, int], float]
    wall_s: list[float] = field(default_factory=list)
    reward: float = 0.0


# --- ours ----------------------------------------------------------------------------------------


def ours(kind: str, decisions: Decisions) -> InMemoryBandit:
    """One of our policies, by its name in the result, every arm already learned once."""
    policy = published_bandit(
        "linear-thompson" if "thompson" in kind else "linucb",
        decisions.x.shape[2],
        form="disjoint" if "disjoint" in kind else "shared",
        uniform_share=UNIFORM_SHARE,
        **({"n_draws": N_DRAWS} if "thompson" in kind else {}),
    )
    ts_ms = np.zeros(N_CANDIDATES, dtype=np.int64)
    policy.update(decisions.first, decisions.arms, decisions.first_rewards, ts_ms)
    return policy


def rows_for(kind: str, decisions: Decisions, t: int) -> NDArray[np.float32]:
    """``(N_CANDIDATES, d)`` what the candidates of a decision are told apart by."""
    x = decisions.x[t % len(decisions)]
    return x if "shared" in kind else np.broadcast_to(x[0], x.shape)


def our_contender(kind: str, decisions: Decisions, *, n: int = 500) -> Contender:
    """``choose`` (scores, a slate of one with its propensity) and ``update``, one by one."""
    policy = ours(kind, decisions)
    ts_ms = np.zeros(1, dtype=np.int64)

    def run(start: int, n: int) -> float:
        total = 0.0
        for t in range(start, start + n):
            x = rows_for(kind, decisions, t)
            chosen = policy.choose(x, decisions.arms, 1, t).order
            rewards = decisions.rewards[t % len(decisions), chosen]
            policy.update(x[chosen], decisions.arms[chosen], rewards, ts_ms)
            total += float(rewards[0])
        return total

    return Contender(n, run)


def our_batches(kind: str, decisions: Decisions, *, n: int = 5 * BATCH) -> Contender:
    """The same, with one ``update`` a hundred decisions."""
    policy = ours(kind, decisions)
    ts_ms = np.zeros(BATCH, dtype=np.int64)

    def run(start: int, n: int) -> float:
        total = 0.0
        for first in range(start, start + n, BATCH):
            at = np.arange(first, first + BATCH) % len(decisions)
            chosen = np.array(
                [
                    policy.choose(rows_for(kind, decisions, t), decisions.arms, 1, t).order[0]
                    for t in at.tolist()
                ]
            )
            rewards = decisions.rewards[at, chosen]
            policy.update(decisions.x[at, 0], decisions.arms[chosen], rewards, ts_ms)
            total += float(rewards.sum())
        return total

    return Contender(n, run)


# --- others --------------------------------------------------------------------------------------


def mabwiser(decisions: Decisions, *, batched: bool, n: int) -> Contender:
    """MABWiser's LinUCB, disjoint; it takes batches of decisions, and of what to learn."""
    module = importlib.import_module("mabwiser.mab")
    mab = module.MAB(
        arms=list(range(N_CANDIDATES)),
        learning_policy=module.LearningPolicy.LinUCB(alpha=1.0, l2_lambda=1.0),
        seed=0,
    )
    contexts = decisions.x[:, 0].astype(np.float64)
    mab.fit(list(range(N_CANDIDATES)), decisions.first_rewards, decisions.first.astype(np.float64))
    size = BATCH if batched else 1

    def run(start: int, n: int) -> float:
        total = 0.0
        for first in range(start, start + n, size):
            at = np.arange(first, first + size) % len(decisions)
            chosen = np.atleast_1d(mab.predict(contexts[at]))
            rewards = decisions.rewards[at, chosen]
            mab.partial_fit(chosen, rewards, contexts[at])
            total += float(rewards.sum())
        return total

    return Contender(n, run)


def river(decisions: Decisions, *, n: int) -> Contender:
    """river's LinUCBDisjoint; contexts are dicts, made beforehand."""
    policy: Any = importlib.import_module("river.bandit").LinUCBDisjoint(seed=0)
    contexts = [dict(enumerate(row)) for row in decisions.x[:, 0].astype(np.float64).tolist()]
    arms = list(range(N_CANDIDATES))
    for arm in arms:
        policy.update(arm, contexts[arm], float(decisions.first_rewards[arm]))

    def run(start: int, n: int) -> float:
        total = 0.0
        for t in range(start, start + n):
            context = contexts[t % len(decisions)]
            chosen = policy.pull(arms, context=context)
            reward = float(decisions.rewards[t % len(decisions), chosen])
            policy.update(chosen, context, reward)
            total += reward
        return total

    return Contender(n, run)


def obp(decisions: Decisions, folder: Path, *, n: int) -> Contender:
    """The Open Bandit Pipeline's LinUCB, disjoint."""
    policy = _obp_policies(folder).LinUCB(
        dim=decisions.x.shape[2], n_actions=N_CANDIDATES, epsilon=1.0, random_state=0
    )
    contexts = decisions.x[:, :1].astype(np.float64)
    for arm in range(N_CANDIDATES):
        policy.update_params(arm, float(decisions.first_rewards[arm]), contexts[arm])

    def run(start: int, n: int) -> float:
        total = 0.0
        for t in range(start, start + n):
            context = contexts[t % len(decisions)]
            chosen = int(policy.select_action(context)[0])
            reward = float(decisions.rewards[t % len(decisions), chosen])
            policy.update_params(chosen, reward, context)
            total += reward
        return total

    return Contender(n, run)


def _obp_policies(folder: Path) -> ModuleType:
    """Install obp into a folder and import its policies.

    It asks for old versions of what is installed, which these parts can do without, and for
    torch, for which an empty stand-in serves while they are imported.
    """
    if not any(folder.iterdir()):
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *OBP],
            check=True,
            timeout=300,
            capture_output=True,
        )
        sys.path.append(str(folder))
    if "obp.policy" not in sys.modules:
        stand_ins = [ModuleType(name) for name in ("torch", "torch.nn", "torch.optim")]
        for stand_in in stand_ins:
            stand_in.__dict__["__getattr__"] = lambda name: _AnyClass(name, (), {})
            sys.modules[stand_in.__name__] = stand_in
        try:
            importlib.import_module("obp.policy")
        finally:
            for stand_in in stand_ins:
                del sys.modules[stand_in.__name__]
    return sys.modules["obp.policy"]


class _AnyClass(type):
    """A class that has every attribute; each is such a class again."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyClass(name, (), {})


# --- Vowpal Wabbit: actions with features, all learned by one model, as our shared forms are ------

VW_ARGUMENTS = "--cb_explore_adf --squarecb --quiet"


def vw_lines(decisions: Decisions) -> list[list[str]]:
    """Decisions in its text format, a line a candidate."""
    return [
        ["|a " + " ".join(f"{j}:{value:.6g}" for j, value in enumerate(row)) for row in rows]
        for rows in decisions.x.tolist()
    ]


def vw(decisions: Decisions, lines: list[list[str]], *, n: int) -> Contender:
    """Through its Python API, decision by decision; the lines were formatted beforehand."""
    workspace = importlib.import_module("vowpalwabbit").Workspace(VW_ARGUMENTS)

    def run(start: int, n: int) -> float:
        total = 0.0
        for t in range(start, start + n):
            rows = lines[t % len(decisions)]
            probabilities = workspace.predict(rows)
            chosen = int(np.argmax(probabilities))
            reward = float(decisions.rewards[t % len(decisions), chosen])
            labelled = list(rows)
            labelled[chosen] = f"0:{-reward}:{probabilities[chosen]} {rows[chosen]}"
            workspace.learn(labelled)
            total += reward
        return total

    return Contender(n, run)


def vw_driver(decisions: Decisions, lines: list[list[str]], folder: Path) -> Contender:
    """Its own C++ loop over a binary cache of decisions already made: nothing is parsed, nothing
    passes through Python, and the choice is not its own. What is left is the learner."""
    workspace = importlib.import_module("vowpalwabbit").Workspace
    data, cache = folder / f"vw-{decisions.x.shape[2]}.txt", folder / f"vw-{decisions.x.shape[2]}"
    with data.open("w") as file:
        for t, rows in enumerate(lines):
            chosen = t % N_CANDIDATES
            label = f"0:{-decisions.rewards[t, chosen]}:{1 / N_CANDIDATES} "
            labelled = [label + row if i == chosen else row for i, row in enumerate(rows)]
            file.write("\n".join(labelled) + "\n\n")
    arguments = f"{VW_ARGUMENTS} -d {data} --cache_file {cache}"
    workspace(f"{arguments} -k").finish()

    def run(start: int, n: int) -> float:
        workspace(arguments).finish()
        return float("nan")

    return Contender(len(decisions), run)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bench-bandit-")
