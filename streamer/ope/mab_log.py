"""Logs of ten arms drawn uniformly at random, each with a context of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streamer.errors import BadMessage, ConfigError, LogRefused
from streamer.ope.bandit_log import (
    BanditLog,
    Faults,
    Floats,
    LoggedRow,
    Progress,
    Survey,
    SurveyColumns,
)
from streamer_producers.log_file import LogFile

N_ARMS: Final = 10
N_CONTEXT: Final = 10


class UniformArmsLog(BanditLog):
    """``dataset.txt``: arm, reward, and ten numbers of context for each of the ten arms, a line.

    The arm is drawn uniformly at random, so each has propensity 1/10. Arms are numbered from 0, or
    from 1 where an arm 10 occurs.
    """

    format = "mab"

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        self._file = LogFile(path / "dataset.txt" if path.is_dir() else path)
        if not self._file.path.is_file():
            raise ConfigError(
                f"{self._file} is not there; name dataset.txt or the folder that holds it"
            )
        super().__init__([self._file], uniform=True, strict=strict)
        self.feature_names = tuple(f"x{i}" for i in range(N_CONTEXT))
        self._first_arm = 0

    def survey(self, progress: Progress | None = None) -> Survey:
        faults, columns = Faults(strict=self.strict), SurveyColumns()
        arms = {arm for arm, _, _ in self._lines(Faults(strict=self.strict))}
        self._first_arm = int(N_ARMS in arms)
        if {0, N_ARMS} <= arms:
            raise LogRefused(
                f"{self._file} names arms 0 and {N_ARMS}, eleven in all; number the ten arms from"
                " 0 or from 1"
            )
        for number, (arm, reward, _) in enumerate(self._lines(faults)):
            columns.add(
                request=number,
                position=0,
                chosen=arm - self._first_arm,
                reward=reward,
                propensity=1 / N_ARMS,
                n_candidates=N_ARMS,
            )
            if progress is not None:
                progress(number + 1)
        names = [str(arm + self._first_arm) for arm in range(N_ARMS)]
        return columns.survey(str(self._file), faults, names)

    def rows(self, *, features: bool) -> Iterator[LoggedRow]:
        candidates = np.arange(N_ARMS)
        no_features = np.empty((N_ARMS, 0))
        lines = self._lines(Faults(strict=False))
        for number, (arm, reward, contexts) in enumerate(lines):
            yield LoggedRow(
                request=number,
                request_id="",
                slot=0,
                ts_ms=0,
                candidates=candidates,
                chosen=arm - self._first_arm,
                reward=reward,
                propensity=1 / N_ARMS,
                features=contexts if features else no_features,
            )

    def _lines(self, faults: Faults) -> Iterator[tuple[int, float, Floats]]:
        """The good lines; the others are added to ``faults``."""
        for number, text in self._file.lines():
            try:
                yield _numbers(text)
            except BadMessage as error:
                faults.add(self._file, number, error)


def _numbers(text: bytes) -> tuple[int, float, Floats]:
    """Arm, reward and ``(10, 10)`` contexts, a row an arm."""
    words = text.split()
    n_expected = 2 + N_ARMS * N_CONTEXT
    if len(words) != n_expected:
        raise BadMessage(f"{len(words)} numbers where {n_expected} are needed")
    try:
        arm, numbers = int(words[0]), np.array(words[1:], dtype=np.float64)
    except ValueError as error:
        raise BadMessage(f"{error}; an arm and numbers are needed") from None
    if not 0 <= arm <= N_ARMS or not np.isfinite(numbers).all():
        raise BadMessage(f"arm {arm} is none of 0 to {N_ARMS}, or a number is not finite")
    return arm, float(numbers[0]), numbers[1:].reshape(N_ARMS, N_CONTEXT)
