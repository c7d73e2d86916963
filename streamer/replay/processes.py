"""A replay by several processes, with the result of one.

What takes time is to ask a funnel: it learns many events at once some hundred times faster than one
by one, as it must before each that somebody asks about. So each process has its models learn the
whole log, and asks them about the events of its own turns alone. What they know then does not
depend on who was asked before, so every number is that of one process, to the bit.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event as Flag
from time import perf_counter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.config.specs import Spec
from streamer.errors import ConfigError
from streamer.replay.asked_turns import AskedTurns
from streamer.replay.experiment import Experiment, Outcome
from streamer.replay.log import EventLog, LogSurvey, Progress
from streamer.replay.models import CHANNEL, FUNNEL
from streamer.replay.settings import Settings
from streamer.replay.tally import BLOCK_EVENTS, Scored
from streamer.replay.topk_task import TopKTask

PROCESSES_MAX: Final = 8
"""By default: each holds the models with all they learn."""
_ASKED_MIN: Final = 2_000
"""Times that a funnel is asked for which a process is worth starting: some 8 s, for 3 to start."""


def n_cores() -> int:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class PlannedReplay:
    """An experiment that another process can have too.

    Attributes
    ----------
    open_log
        Opens the log, also in a process to which it is pickled; None: it can be read once only.
    """

    open_log: Callable[[], EventLog] | None
    specs: Sequence[Spec]
    settings: Settings
    config: Config

    def experiment(self, log: EventLog | None = None) -> Experiment:
        """Return the experiment with the log, where it is open, or with it opened anew; errors as
        of :class:`Experiment`."""
        if log is None:
            assert self.open_log is not None
            log = self.open_log()
        return Experiment(log, self.specs, self.settings, config=self.config)


def n_processes(replay: PlannedReplay, found: LogSurvey, asked: int | None = None) -> int:
    """Return how many processes suit a replay: at most as many as were ``asked`` for; None: as many
    as make it faster, which is 1 where models are fast."""
    if replay.settings.task != "topk" or replay.open_log is None:
        return 1
    n_scored = found.n_targets * (1 - replay.settings.warmup) * replay.settings.scored
    if asked is not None:
        return max(1, min(asked, int(n_scored // BLOCK_EVENTS)))
    n_live = sum(spec.name in (FUNNEL, CHANNEL) for spec in replay.specs)
    return max(1, min(n_cores(), PROCESSES_MAX, int(n_live * n_scored // _ASKED_MIN)))


class _Part(NamedTuple):
    """What a process scored at its turns, what its task has counted, and seconds of CPU by
    model."""

    scored: dict[int, Scored]
    counts: NDArray[np.int64]
    model_s: tuple[float, ...]


def replay_by(
    n: int,
    replay: PlannedReplay,
    experiment: Experiment,
    found: LogSurvey,
    progress: Progress | None = None,
) -> Outcome:
    """Replay a log by ``n`` processes, of which this is the first.

    Parameters
    ----------
    experiment
        Of this process.
    found
        By its survey.
    progress
        Told how many events this process has read.

    Raises
    ------
    ConfigError, LearningError
        As of :meth:`Experiment.replay`, in any of the processes; ConfigError also where one of
        them was killed.
    """
    if n == 1:
        return experiment.replay(found, progress)
    start_s = perf_counter()
    scored: dict[int, Scored] = {}
    with _others(n - 1) as pool:
        parts = [pool.submit(_part, replay, found, AskedTurns(at, n)) for at in range(1, n)]

        def look(n_read: int) -> None:
            for each in parts:
                if each.done():
                    each.result()
            if progress is not None:
                progress(n_read)

        outcome = experiment.replay(found, look, turns=AskedTurns(0, n), take=scored.__setitem__)
        others = [each.result() for each in parts]
    assert isinstance(outcome.task, TopKTask)
    for part in others:
        scored |= part.scored
        outcome.task.add_counts(part.counts)
    for turn in sorted(scored):
        outcome.tally.add(scored[turn])
    seconds = zip(outcome.model_s, *(part.model_s for part in others), strict=True)
    return dataclasses.replace(
        outcome, model_s=tuple(map(sum, seconds)), elapsed_s=perf_counter() - start_s
    )


@contextmanager
def _others(n: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of ours, which end where this one fails or is interrupted."""
    spawned = multiprocessing.get_context("spawn")
    unwanted = spawned.Event()
    with ProcessPoolExecutor(
        n, mp_context=spawned, initializer=_prepare, initargs=(unwanted,)
    ) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise ConfigError(
                "a process of this replay was killed, as where memory runs out; fewer --processes"
                " take less"
            ) from error
        finally:
            unwanted.set()


_unwanted: Flag | None = None
"""In another process: set where the first one has no use for it any more."""


def _prepare(unwanted: Flag) -> None:
    global _unwanted
    _unwanted = unwanted
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for all of us, and the first one says
    threading.Thread(target=_end_with_first, name="first process", daemon=True).start()


def _end_with_first() -> None:
    first = multiprocessing.parent_process()
    if first is not None:
        first.join()
        os._exit(1)


def _part(replay: PlannedReplay, found: LogSurvey, turns: AskedTurns) -> _Part:
    scored: dict[int, Scored] = {}
    outcome = replay.experiment().replay(found, _go_on, turns=turns, take=scored.__setitem__)
    assert isinstance(outcome.task, TopKTask)
    return _Part(scored, outcome.task.counts, outcome.model_s)


def _go_on(n_read: int) -> None:
    if _unwanted is not None and _unwanted.is_set():
        raise KeyboardInterrupt
