"""Learners and scorers as a user runs them, over one store, and what they leave there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from streamer.application.services.warm_up import warm_up
from streamer.application.starting import configured_store
from streamer.config import Config, known_keys, load_config
from streamer.config.keys import named_key
from streamer.config.masking import toml_text
from streamer.kafka.configured import configured_reader
from streamer.kafka.topics import create_topics
from streamer.learner.configured import learner_settings
from streamer.model_set import build_models, store_layout
from streamer.verify.parameters import Contents, image_contents
from tests.forked import ForkedCommand

COMMAND = [sys.executable, "-P", "-m", "streamer"]
PATIENCE_S = 180.0

# Small enough that a few ten thousand events fold the log often, evict users and items, and let the
# window of duplicates move on.
SETTINGS: Mapping[str, object] = {
    "learner.checkpoint_interval_s": 0.3,
    "learner.sync_interval_ms": 10,
    "learner.batch_messages_max": 2_000,
    "learner.dedup_window": 3_000,
    "learner.users_max": 400,
    "learner.items_max": 3_000,
    "learner.feature_rows_max": 2_000,
    "practice.share": 0.05,
    "practice.time_share": 1.0,  # runs are compared to the bit
}

_OWNED = re.compile(r"partitions_(?:assigned|revoked) partitions=\[(.*)\]")


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = PATIENCE_S) -> None:
    """Return when ``condition`` holds; fail when it doesn't in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.02)


def _variable(name: str, value: object) -> tuple[str, str]:
    """A setting as an environment variable: its name and the text that stands for the value."""
    key = known_keys().get(name) or named_key(name)
    assert key is not None, f"there is no setting {name}"
    return key.variable, str(value) if key.takes_text else toml_text(value)


Start = Callable[[Sequence[str], Mapping[str, str], Path], subprocess.Popen[bytes] | ForkedCommand]
"""Starts ``streamer`` with arguments, in an environment, with a file for what it prints."""


def executed(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start it as its operator does."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


_COMPILED: list[Config] = []


def _compile(config: Config) -> None:
    """Compile in this process what a deployment needs, once for all that need the same.

    A learner that is killed early, one life after another, would else never be done with compiling
    what its successors find compiled.
    """
    default = Config()
    needed = msgspec.structs.replace(
        config, kafka=default.kafka, topics=default.topics, store=default.store, origins={}
    )
    if needed not in _COMPILED:
        warm_up(needed)
        _COMPILED.append(needed)


class StreamerProcess:
    """One life of a process: ``learn`` or ``score``, and its arguments."""

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        log: Path,
        start: Start = ForkedCommand,
    ) -> None:
        self._log = log
        self._process = start(arguments, {**os.environ, **environment}, log)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """Its exit status, the negative number of a signal that ended it; None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL it, in the midst of whatever it does."""
        assert self.running, f"it has ended by itself:\n{self.log}"
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def freeze(self) -> None:
        """Let it stand still, as in a long pause of its machine."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was."""
        self._process.send_signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """SIGTERM it."""
        self._process.terminate()

    def stop(self) -> None:
        """SIGTERM it, and see it end in order."""
        assert self.running, f"it has ended by itself:\n{self.log}"
        self.ask_to_stop()
        assert self._process.wait(PATIENCE_S) == 0, self.log
        assert "_stopped" in self.log

    def wait(self, *, timeout_s: float = PATIENCE_S) -> int:
        """Wait for it to end by itself; its exit status."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Let nothing of it remain."""
        if self.running:
            self._process.kill()
        self._process.wait()


class LearnerProcess(StreamerProcess):
    """One life of a learner."""

    @property
    def partitions(self) -> list[int]:
        """Those it owns now, as its log says."""
        last = deque(_OWNED.finditer(self.log), maxlen=1)
        if not last or last[0][0].startswith("partitions_revoked"):
            return []
        return [int(number) for number in last[0][1].split(",") if number.strip()]


class Deployment:
    """Topics, a store and the processes over them; ends those that still run when left.

    Parameters
    ----------
    folder
        For the processes' logs; no other deployment's.
    settings
        Of broker, topics and store, over ``SETTINGS``, by dotted key.
    start
        How processes are started.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, object], *, start: Start = ForkedCommand
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        given = {**SETTINGS, **settings}
        self.config = load_config(env={}, flags=given)
        self._settings = learner_settings(self.config)
        self._folder = folder
        self._start = start
        self._environment = dict(_variable(name, value) for name, value in given.items())
        create_topics(self.config.kafka.bootstrap_servers, self.config.topics)
        self._models = build_models(self.config)
        _compile(self.config)
        self._store = configured_store(self.config)
        self._store.ensure_layout(store_layout(self.config, self._models))
        self._processes: list[StreamerProcess] = []

    def start(self, *, alone: bool = False) -> LearnerProcess:
        """Start another learner, in the consumer group or ``alone``."""
        arguments = ["learn", *(["--alone"] if alone else [])]
        learner = LearnerProcess(arguments, self._environment, self._new_log(), self._start)
        self._processes.append(learner)
        return learner

    def start_scorer(self, *, alone: bool = True, group: str | None = None) -> StreamerProcess:
        """Start a scorer; ``alone``, in a ``group`` that is new, it begins with what was asked
        before.
        """
        arguments = ["score", *(["--alone"] if alone else [])]
        own = {} if group is None else dict([_variable("kafka.group", group)])
        scorer = StreamerProcess(
            arguments, {**self._environment, **own}, self._new_log(), self._start
        )
        self._processes.append(scorer)
        return scorer

    def start_http(self, port: int) -> StreamerProcess:
        """Start the HTTP service, which answers the requests topic too."""
        arguments = ["serve", "--alone", "--http-port", str(port)]
        service = StreamerProcess(arguments, self._environment, self._new_log(), self._start)
        self._processes.append(service)
        return service

    def start_features(self) -> StreamerProcess:
        """Start a worker of the windowed features."""
        worker = StreamerProcess(
            ["features", "run"], self._environment, self._new_log(), self._start
        )
        self._processes.append(worker)
        return worker

    def _new_log(self) -> Path:
        return self._folder / f"process-{len(self._processes)}.log"

    def learn_all(
        self, *, timeout_s: float = PATIENCE_S, at_end: Callable[[], None] = lambda: None
    ) -> None:
        """Learn whatever is in the topic, undisturbed, and stop in order.

        Parameters
        ----------
        at_end
            Called when all is learned, while the learner runs.
        """
        learner = self.start(alone=True)
        what = "the undisturbed learner has learned everything"
        wait_until(self.caught_up, what, timeout_s=timeout_s)
        at_end()
        learner.stop()

    def verify(self, *options: str, timeout_s: float = PATIENCE_S) -> str:
        """What ``streamer store verify`` says when it is content."""
        status, said = self.command("store", "verify", *options, timeout_s=timeout_s)
        assert status == 0, said
        return said

    def command(self, *arguments: str, timeout_s: float = PATIENCE_S) -> tuple[int, str]:
        """Exit status of a command, and what it says, in one line."""
        process = StreamerProcess(list(arguments), self._environment, self._new_log(), self._start)
        self._processes.append(process)
        status = process.wait(timeout_s=timeout_s)
        return status, " ".join(process.log.split())

    # --- what is there ---------------------------------------------------------------------------

    def versions(self) -> dict[int, int]:
        """Partition → number of its commits."""
        stored = self._store.versions()
        return {p: stored.get(p, 0) for p in range(self.config.topics.partitions)}

    @property
    def n_commits(self) -> int:
        return sum(self.versions().values())

    def wait_for_a_commit(self) -> None:
        """Wait until some partition has been committed once more."""
        before = self.n_commits
        wait_until(lambda: self.n_commits > before, "a commit")

    def wait_for_commits(self) -> None:
        """Wait until every partition has been committed once more."""
        before = self.versions()
        wait_until(
            lambda: all(version > before[p] for p, version in self.versions().items()),
            "a commit of every partition",
        )

    def offsets(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → next offset to learn, as stored."""
        last = {p: deque(self._store.schedule(p), maxlen=1) for p in self.versions()}
        return {
            (topic, p): entries[0].offsets[topic][1] if entries else 0
            for p, entries in last.items()
            for topic in self._settings.topics
        }

    def ends(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → offset the next message will get."""
        with ExitStack() as stack:
            reader = configured_reader(self.config)
            stack.callback(reader.close)
            return reader.end_offsets(reader.partitions(*self._settings.topics))

    def caught_up(self) -> bool:
        return self.offsets() == self.ends()

    def contents(self) -> list[Contents]:
        """All that the store holds, partition after partition."""
        return [
            image_contents(self._store.load(p), self._models, self._settings)
            for p in self.versions()
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.end()
        self._store.close()
