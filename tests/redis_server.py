"""A Redis server of a test's own, which can be stopped, killed and started again."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import redis

from deploy.kafka.node import Unavailable, free_port

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 300.0
ALL_SLOTS = (0, 16_383)


class RedisServer:
    """A ``redis-server`` process on 127.0.0.1, with its data in a folder of the test.

    Parameters
    ----------
    data_dir : where it keeps its append-only file and ``redis.log``; made if absent.
    durable : sync every write to the append-only file before answering, so that a kill loses none.
    cluster : run as a cluster of one node that owns all slots: a command or a script whose keys
        are of several slots fails, as on a larger cluster.
    """

    def __init__(self, data_dir: Path, *, durable: bool = False, cluster: bool = False) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise Unavailable("no redis-server on the PATH: apt-get install redis-server")
        self.port = free_port()
        self._data_dir = data_dir
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--dir", str(data_dir), "--save", ""]
        self._command += ["--appendonly", "yes" if durable else "no", "--appendfsync", "always"]
        if cluster:
            # Its bus listens on the port + 10000 otherwise, which may be taken.
            self._command += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and return when it answers."""
        if self._process is not None:
            raise RuntimeError(f"Redis on port {self.port} runs already; stop it first")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        with (self._data_dir / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_text = (self._data_dir / "redis.log").read_text(errors="replace")
                raise RuntimeError(f"Redis on port {self.port} did not start:\n{log_text[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Let the server write what it holds and exit."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=2.0) as client:
            try:
                client.ping()
                if not self._cluster:
                    return True
                if client.execute_command("CLUSTER INFO")["cluster_slots_assigned"] == "0":
                    client.execute_command("CLUSTER", "ADDSLOTSRANGE", *ALL_SLOTS)
                return bool(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
                return False
