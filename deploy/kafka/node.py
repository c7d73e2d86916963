"""One Apache Kafka node (KRaft: broker and controller in one process) without a container.

``python3 -m deploy.kafka.node --port 9092 --data .cache/kafka-data`` runs one in the foreground;
the integration tests own theirs through :class:`KafkaNode`. It needs Java 17 or newer, and Maven
once, to fetch the jars that ``pom.xml`` names into ``.cache/``. Standard library only, so that it
runs before anything is installed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "kafka"
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0

# Automatic topics are off: one made by accident has the wrong number of partitions. The controller
# forgets a killed broker after 3 s instead of 9: until then it doesn't let the next one in.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={log_dir}
auto.create.topics.enable=false
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
"""


class Unavailable(Exception):
    """No broker can be run here; the message says what is missing and how to get it."""


class KafkaNode:
    """A broker process that can be stopped, killed and started again on the same data and port.

    Parameters
    ----------
    data_dir : folder of the settings, the logs of the topics and ``node.log``; made if absent.
    port : where clients connect, on 127.0.0.1; a free one by default.
    short_lived : compile quickly instead of well. Up to its first 30,000 messages, a broker then
        takes 5 s of processor time instead of 12; under sustained load it takes more.
    """

    def __init__(
        self, data_dir: Path, *, port: int | None = None, short_lived: bool = False
    ) -> None:
        self._java = _java()
        self._jars = fetch_jars()
        self._data_dir = data_dir
        self._short_lived = short_lived
        self.port = port or free_port()
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the broker and return when it answers.

        Raises
        ------
        RuntimeError
            It exited, or did not answer within ``timeout_s``; the end of its log is in the message.
        """
        if self._process is not None:
            raise RuntimeError(f"the broker on port {self.port} runs already; stop it first")
        settings = self._settings()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", str(settings), short_lived=self._short_lived),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + timeout_s
        while not answers("127.0.0.1", self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(
                    f"Kafka on port {self.port} did not answer within {timeout_s:.0f} s; "
                    f"the end of {self._log_path}:\n{self._log_tail()}"
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Let the broker write what it holds and exit; kill it when that takes too long."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        self._end(signal.SIGKILL)

    def wait(self) -> int:
        """Wait until the broker exits by itself and return its exit status."""
        assert self._process is not None
        return self._process.wait()

    def _end(self, signal_number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal_number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _command(self, *program: str, short_lived: bool) -> list[str]:
        return [
            self._java,
            *(["-XX:TieredStopAtLevel=1"] if short_lived else []),
            "-Xms256m",
            "-Xmx512m",
            "-XX:+UseSerialGC",  # starts faster than G1, and needs less memory beside the tests
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
            "-cp",
            f"{self._jars}/*",
            *program,
        ]

    @property
    def _log_path(self) -> Path:
        return self._data_dir / "node.log"

    def _log_tail(self) -> str:
        return self._log_path.read_text(errors="replace")[-2000:]

    def _settings(self) -> Path:
        """Write the settings; format the storage the first time."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        log_dir = self._data_dir / "logs"
        settings = self._data_dir / "server.properties"
        settings.write_text(
            PROPERTIES.format(
                port=self.port, controller_port=self._controller_port, log_dir=log_dir
            )
        )
        if not (log_dir / "meta.properties").exists():
            # A cluster id is a UUID in unpadded base64, and must not begin with a dash.
            cluster_id = "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
            tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings)]
            command = self._command(*tool, short_lived=True)
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"could not format {log_dir}:\n{done.stdout}{done.stderr}")
        return settings


def answers(host: str, port: int) -> bool:
    """Whether a broker at ``host:port`` answers and lists itself as a live member.

    Asks in the wire protocol (Metadata, version 1, no topics): an open port is not enough, because
    it opens before the controller has let the broker in.
    """
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.settimeout(2.0)
            connection.sendall(struct.pack(">i", len(request)) + request)
            reader = connection.makefile("rb")
            size, _correlation_id, n_brokers = struct.unpack(">iii", reader.read(12))
            reader.read(size - 8)
    except (OSError, struct.error):
        return False
    return bool(n_brokers > 0)


def free_port() -> int:
    """Return a port on 127.0.0.1 that nothing listens on.

    Below the ephemeral range, so that no outgoing connection takes it while a server restarts.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("none of 100 ports between 20000 and 32000 is free on 127.0.0.1")


def fetch_jars() -> Path:
    """Return the folder of the broker's jars; fetch them with Maven the first time (43 MB)."""
    pom = HERE / "pom.xml"
    jars = CACHE / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Maven (mvn) fetches Kafka's jars: apt-get install maven")
    CACHE.mkdir(parents=True, exist_ok=True)
    # Into a folder of its own, then renamed: a fetch that broke off is never taken for a whole one.
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        target = Path(folder) / "jars"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        done = subprocess.run(
            [maven, "-q", "-B", "-f", str(pom), *goal], capture_output=True, text=True
        )
        if done.returncode != 0:
            raise Unavailable(f"Maven could not fetch Kafka's jars:\n{done.stdout}{done.stderr}")
        with contextlib.suppress(OSError):  # another process was first: its folder is as good
            target.rename(jars)
    return jars


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not os.access(java, os.X_OK):
        raise Unavailable("Kafka needs Java 17 or newer: apt-get install default-jre-headless")
    return java


def main() -> int:
    parser = argparse.ArgumentParser(description="Run one Kafka node in the foreground.")
    parser.add_argument("--port", type=int, default=9092, help="port for clients (9092)")
    parser.add_argument("--data", type=Path, default=CACHE.parent / "kafka-data", help="folder")
    options = parser.parse_args()
    if answers("127.0.0.1", options.port):
        print(f"a Kafka broker answers on 127.0.0.1:{options.port} already", file=sys.stderr)
        return 1

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        node = KafkaNode(options.data, port=options.port)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    try:
        began = time.monotonic()
        node.start()
        print(f"Kafka on {node.bootstrap_servers} after {time.monotonic() - began:.1f} s, ", end="")
        print(f"data in {options.data}; Ctrl-C stops it", flush=True)
        return node.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        node.stop()


if __name__ == "__main__":
    sys.exit(main())
