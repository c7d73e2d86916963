"""A Ctrl-C or a stop that comes inside a kernel is what it is, not a failure of a request."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.application.services.signals import stopped_by_signals
from streamer.application.services.warm_up import warm_up
from streamer.config import Config, load_config
from streamer.errors import is_interruption
from streamer.events import encode
from streamer.ranking.candidates import Candidates
from streamer.ranking.context import RequestContext
from streamer.ranking.features import Features
from streamer.ranking.recall.channel import Channel, Recalled, RecallSettings, Scores
from streamer.ranking.recall.registry import registered_for_now
from streamer.scorer.policy.choice import Choice
from streamer.scorer.policy.knowledge import Knowledge
from tests.signalled_kernel import run_signalled_kernel
from tests.unit.replay_logs import random_log
from tests.unit.test_scorer_service import CONFIG
from tests.unit.test_shadows import Watched, outcomes, scoring
from tests.unit.test_store_commands import ended


class InterruptedSettings(RecallSettings, frozen=True, kw_only=True):
    """Recall by a channel that is interrupted."""

    candidates: int = 5


class Interrupted(Channel[InterruptedSettings]):
    """A channel during whose kernels a signal comes."""

    name = "interrupted"
    reason = "interrupted"
    settings_type = InterruptedSettings
    columns = ("score", "rank")
    number = signal.SIGTERM

    def recall(self, context: RequestContext, allowed: NDArray[np.bool_], n: int) -> Recalled:
        run_signalled_kernel(self.number)
        raise AssertionError

    def score(self, context: RequestContext, candidates: Candidates) -> Scores:
        return candidates.zeros()


class InterruptedByCtrlC(Interrupted):
    number = signal.SIGINT


def warm_up_stopped_inside_an_answer() -> None:
    with registered_for_now(Interrupted):
        warm_up(load_config("/dev/null", env={}, flags={}))


@pytest.mark.parametrize(
    "start",
    [partial(run_signalled_kernel, signal.SIGTERM), warm_up_stopped_inside_an_answer],
    ids=["any kernel", "one of a request"],
)
def test_a_start_that_is_stopped_inside_a_kernel_ends_without_an_error(
    start: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    went_on = False
    with caplog.at_level("INFO"), stopped_by_signals():
        start()
        went_on = True
    assert not went_on
    (end,) = [each for each in caplog.records if each.message == "start_stopped"]
    assert not hasattr(end, "reason")


def test_ctrl_c_inside_a_kernel_ends_a_command_as_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"".join(encode(each) + b"\n" for each in random_log(20, seed=1).events()))
    with registered_for_now(InterruptedByCtrlC):
        assert ended(monkeypatch, "replay", str(log), "--model", "funnel") == 130


class InterruptedPolicy(Watched):
    """A policy during whose n-th draw Ctrl-C comes."""

    def __init__(self, config: Config, n: int) -> None:
        super().__init__(config)
        self._n = n

    def choose(self, features: Features, knowledge: Knowledge, k: int, seed: int) -> Choice:
        if self.n_draws + 1 == self._n:
            run_signalled_kernel(signal.SIGINT)
        return super().choose(features, knowledge, k, seed)


@pytest.mark.parametrize("n", [1, 2], ids=["the answer", "a shadow"])
def test_it_is_taken_for_a_failure_of_no_answer_and_of_no_shadow(n: int) -> None:
    found = scoring("one", policy=InterruptedPolicy(CONFIG, n))
    found.ask("ann")
    with pytest.raises(SystemError) as raised:
        found.service.round()
    assert is_interruption(raised.value)
    assert not found.dead_letters()
    assert outcomes(found, "one") == {}


def test_what_a_kernel_itself_fails_with_is_no_interruption() -> None:
    assert not is_interruption(SystemError("of numba's own"))
    error = SystemError("of a result")
    error.__cause__ = ZeroDivisionError()
    assert not is_interruption(error)
