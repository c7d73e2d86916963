"""The prior file of a Beta-Bernoulli Thompson policy, as the Open Bandit Dataset has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import ConfigError

_CHUNK = 10_000
_POINTS = 512
_CELLS_MAX = 20_000_000
"""Items times points of integration: two arrays of 160 MB."""
_KEY = re.compile(r"(\w+):\s*$")
_VALUE = re.compile(r"\s*-\s+(\S+)\s*$")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BetaPrior:
    """``(n_actions,)`` parameters above 0: the click rate of an item is Beta(alpha, beta)."""

    alpha: Floats
    beta: Floats

    def __len__(self) -> int:
        return len(self.alpha)

    def slot_probabilities(self, n_slots: int) -> Floats:
        """Probability of each item in each slot when the best of a draw are shown in order.

        With density f and distribution F of an item's click rate, item a is the best but j with
        probability ``∫ f_a(x) P(j of the others exceed x) dx``; integrated over the log-odds of x,
        where densities have no poles, in steps of 1/16 of the narrowest one's deviation.

        Returns
        -------
        ``(n_slots, n_actions)``, each row adds up to 1.

        Raises
        ------
        ConfigError
            When a rate is known too exactly to integrate over; it can still be drawn.

        Examples
        --------
        Of two rates that are equally likely to be higher, each is the best half of the time:

        >>> BetaPrior(np.array([1.0, 1.0]), np.array([9.0, 9.0])).slot_probabilities(1).round(6)
        array([[0.5, 0.5]])
        """
        odds = self._grid()
        densities, below = self._distributions(odds)
        probabilities = np.zeros((n_slots, len(self)))
        for start in range(0, len(odds), _POINTS):
            part = slice(start, start + _POINTS)
            exceeding = _exceeding_others(below[:, part], n_slots)
            probabilities += np.einsum("ag,jag->ja", densities[:, part], exceeding)
        normalised: Floats = probabilities / probabilities.sum(axis=1, keepdims=True)
        return normalised

    def drawn_slot_probabilities(self, n_slots: int, *, n_draws: int, seed: int) -> Floats:
        """The same by Monte Carlo, as obp's ``BernoulliTS.compute_batch_action_dist`` has it.

        Each draw takes a click rate of every item from its posterior and gives the slots the
        highest ones. The standard error of a probability p is ``√(p (1 - p) / n_draws)``.
        """
        rng = np.random.default_rng(seed)
        counts = np.zeros((n_slots, len(self)))
        for start in range(0, n_draws, _CHUNK):
            shape = (min(_CHUNK, n_draws - start), len(self))
            rates = rng.beta(self.alpha, self.beta, size=shape)
            best = np.argsort(-rates, axis=1)[:, :n_slots]
            for slot in range(n_slots):
                counts[slot] += np.bincount(best[:, slot], minlength=len(self))
        probabilities: Floats = counts / n_draws
        return probabilities

    def _grid(self) -> Floats:
        """Log-odds over which all but e^-30 of every density lies."""
        # For large |u| the density of the log-odds u falls as exp(alpha u) and exp(-beta u).
        centres = np.log(self.alpha / self.beta)
        deviations = np.sqrt(1 / self.alpha + 1 / self.beta)
        low = (centres - 30 / self.alpha - 8 * deviations).min()
        high = (centres + 30 / self.beta + 8 * deviations).max()
        step = deviations.min() / 16
        n_points = int((high - low) / step) + 2
        if n_points * len(self) > _CELLS_MAX:
            raise ConfigError(
                f"the prior's rates are {high - low:.0f} apart in log-odds and known to"
                f" {16 * step:.1g}: {n_points:,} points of {len(self):,} items are more than"
                f" {_CELLS_MAX:,}; draw them instead: bts:FILE,draws=100000"
            )
        grid: Floats = np.linspace(low, high, n_points)
        return grid

    def _distributions(self, odds: Floats) -> tuple[Floats, Floats]:
        """``(n_actions, n_points)`` probability of each point, and of all below it."""
        log_rate, log_rest = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        logs = self.alpha[:, None] * log_rate + self.beta[:, None] * log_rest
        densities = np.exp(logs - logs.max(axis=1, keepdims=True))
        densities /= densities.sum(axis=1, keepdims=True)
        # Half of a point lies below it: the trapezoid rule.
        return densities, np.clip(densities.cumsum(axis=1) - densities / 2, 0.0, 1.0)


def _exceeding_others(below: Floats, n_slots: int) -> Floats:
    """``(n_slots, n_actions, n_points)``: that exactly j of the other items exceed a point.

    The number of items that exceed it, of those before an item and of those after it, by adding
    one at a time (the Poisson binomial distribution, up to ``n_slots - 1``).
    """
    n_actions, n_points = below.shape
    before = np.zeros((n_actions + 1, n_slots, n_points))
    after = np.zeros((n_actions + 1, n_slots, n_points))
    before[0, 0] = after[n_actions, 0] = 1.0
    for a in range(n_actions):
        for counted, source, target, item in (
            (before, a, a + 1, a),
            (after, n_actions - a, n_actions - a - 1, n_actions - a - 1),
        ):
            counted[target] = counted[source] * below[item]
            counted[target, 1:] += counted[source, :-1] * (1 - below[item])
    exceeding = np.zeros((n_slots, n_actions, n_points))
    for j in range(n_slots):
        for i in range(j + 1):
            exceeding[j] += before[:-1, i] * after[1:, j - i]
    return exceeding


def read_beta_prior(path: Path, campaign: str | None) -> BetaPrior:
    """The prior of a campaign; None: of the only one in the file.

    The file is the part of YAML that it takes to write ``campaign: {alpha: [...], beta: [...]}``
    in block style: two keys in turn, and a number a line.

    Raises
    ------
    ConfigError
        When the file can't be read, holds something else, or lacks the campaign.
    """
    campaigns = _read(path)
    if campaign is None and len(campaigns) == 1:
        (campaign,) = campaigns
    if campaign not in campaigns:
        raise ConfigError(
            f"{path} has the campaigns {', '.join(campaigns) or 'none'}, not {campaign!r}; name one"
            f" of them: bts:{path},campaign=NAME"
        )
    lists = campaigns[campaign]
    alpha, beta = (np.array(lists.get(name, []), dtype=np.float64) for name in ("alpha", "beta"))
    if not len(alpha) or len(alpha) != len(beta) or not (np.minimum(alpha, beta) > 0).all():
        raise ConfigError(
            f"{path}: {campaign} has {len(alpha)} alphas and {len(beta)} betas; one of each an"
            " item is needed, all above 0"
        )
    return BetaPrior(alpha, beta)


def _read(path: Path) -> dict[str, dict[str, list[float]]]:
    campaigns: dict[str, dict[str, list[float]]] = {}
    lists: dict[str, list[float]] = {}
    values: list[float] | None = None
    for number, line in _lines(path):
        value = _VALUE.match(line)
        key = _KEY.match(line.lstrip())
        if key and not line.startswith(" "):
            lists, values = campaigns.setdefault(key[1], {}), None
        elif key and campaigns:
            values = lists.setdefault(key[1], [])
        elif value and values is not None:
            try:
                values.append(float(value[1]))
            except ValueError:
                raise ConfigError(f"{path}:{number}: {value[1]!r} is not a number") from None
        else:
            raise ConfigError(
                f"{path}:{number}: {line[:40]!r} is neither a key nor a number in a list; write"
                " CAMPAIGN:, alpha:, - NUMBER …, beta:, - NUMBER … on lines of their own"
            )
    return campaigns


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read as a prior ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].rstrip()
        if bare and bare != "---":
            yield number, bare
