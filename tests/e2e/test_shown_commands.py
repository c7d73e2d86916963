"""What the pages show is what their commands print: those of each page, run in their order.

Every command of every page is run, here or by the test that :data:`ELSEWHERE` names, or stands in
:data:`NOT_RUN` with why.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from deploy.kafka.node import free_port
from streamer.kafka.embedded import EmbeddedBroker
from tests.consoles import (
    FENCE,
    PAGES,
    File,
    Shown,
    Terminal,
    differences,
    reader,
    sections,
    shape,
    steps,
)
from tests.e2e.test_up import TIMEOUT_S, Up, running_up
from tests.imports import ROOT

TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
SHOP = (
    "observability.md#`streamer doctor`",
    "observability.md#Why an item stands where it stands",
    "lists.md",
    "slates.md#By embedding",
    "slates.md#Pinned and sponsored positions",
    "slates.md#Several rows, no item twice",
    "slates.md#The next page",
    "content.md",
    "users.md#",
    "users.md#Erase a user",
    "users.md#Forget an item",
    "http.md",
    "README.md#Use it",
)
"""What is asked of one shop, in this order: what a page changes no later one shows."""
RULES = ("rules.md",)
TRIAL = ("trial.md#", "trial.md#To a Kafka of your own")
ALONE = ("configuration.md", "users.md#What it is worth on your log")
"""What needs nothing but an empty folder."""
BESIDE_A_BROKER = ("import.md", "experiments.md")
DECISIONS = ("objectives.md", "page.md#Reports", "ope.md")
"""What asks a log of decisions, which the first page makes."""
REPLAYS = ("replay.md", "quality.md", "slates.md#The price", "README.md#Rank, explore, evaluate")
ELSEWHERE = {
    "tutorial.md": "tests/e2e/test_tutorial.py",
    "clients.md": "tests/test_client_packages.py",
}
"""Pages whose commands another test runs."""
CLUSTER = "it needs a cluster and a registry of images: tests/unit/test_kubernetes.py has its files"
INSTALLS = "it installs from a package index: tests/test_wheel.py has the extras"
ENDLESS = "it runs until it is stopped, beside a Kafka: "
KEYED = "-K: -X topic.partitioner=murmur2_random"
PUBLISHED_BY_KCAT = (
    'echo \'ann:{"event_id":"1","type":"click","user_id":"ann","item_id":"tea",'
    f'"ts":1760000000000}}\' | kcat -P -b $BROKER -t events {KEYED}'
)
ASKED_BY_KCAT = (
    r'echo "ann:{\"request_id\":\"r1\",\"user_id\":\"ann\",\"k\":3,\"ts\":$(date +%s000)}"'
    f" | kcat -P -b $BROKER -t requests {KEYED}"
)
IN_A_POD = "streamer doctor --config /etc/streamer/streamer.toml"
NOT_RUN = {
    ("README.md", "make demo"): "a minute of two systems: tests/e2e/test_demo.py",
    ("README.md", "streamer import shop/"): "import.md does",
    ("README.md", "streamer bridge"): ENDLESS + "tests/integration/test_bridging.py",
    ("README.md", "streamer subscribe --user ann"): ENDLESS + "tests/e2e/test_up.py",
    ("README.md", "kcat -C -b $BROKER -t recommendations -o beginning -e"): "test_kcat.py does",
    ("README.md", "kcat -C -b $BROKER -t dead-letters -o beginning -e"): "test_kcat.py does",
    ("README.md", PUBLISHED_BY_KCAT): "tests/integration/test_kcat.py does",
    ("README.md", ASKED_BY_KCAT): "tests/integration/test_kcat.py does",
    ("README.md", "streamer up --http-port 8080"): "shop.md does",
    ("README.md", "streamer ope log/ --format decisions --policy linucb:alpha=0.25"): "ope.md does",
    ("bridge.md", "streamer bridge"): ENDLESS + "tests/integration/test_bridging.py",
    ("bridge.md", "streamer bridge orders products"): ENDLESS
    + "tests/integration/test_bridging.py",
    (
        "extending.md",
        "streamer replay log.jsonl --config streamer.toml --positives type=save",
    ): "the log is of the reader's own events",
    ("features.md", "pip install '.[features]'"): INSTALLS,
    ("features.md", "pip install '.[features,rocksdb]'"): INSTALLS,
    (
        "features.md",
        "streamer topics create",
    ): "it needs a Kafka: tests/integration/test_kafka_topics.py",
    ("features.md", "streamer features run"): ENDLESS + "tests/integration/test_features.py",
    ("features.md", "streamer features show item i42"): "what a worker has counted",
    ("http.md", "streamer up --http-port 8080"): "shop.md does",
    ("http.md", "streamer serve"): ENDLESS + "tests/integration/test_http.py",
    (
        "kubernetes.md",
        "docker build -f deploy/Dockerfile -t registry.shop.example/streamer:0.1.0 .",
    ): CLUSTER,
    ("kubernetes.md", "docker push registry.shop.example/streamer:0.1.0"): CLUSTER,
    ("kubernetes.md", "kubectl create secret generic streamer --from-env-file=secret.env"): CLUSTER,
    ("kubernetes.md", "kubectl apply -k ."): CLUSTER,
    ("kubernetes.md", "kubectl rollout status deployment/streamer-http --timeout=15m"): CLUSTER,
    ("kubernetes.md", f"kubectl exec deployment/streamer-http -- {IN_A_POD}"): CLUSTER,
    ("kubernetes.md", "kubectl scale deployment/streamer-http --replicas=6"): CLUSTER,
    (
        "kubernetes.md",
        "kubectl rollout restart deployment/streamer-http deployment/streamer-learner",
    ): CLUSTER,
    ("kubernetes.md", "kubectl rollout undo deployment/streamer-learner"): CLUSTER,
    ("index.md", "pip install '.[http,rules]'"): INSTALLS,
    ("index.md", "pip wheel --no-deps ."): INSTALLS,
    ("index.md", "pip install 'streamer-0.1.0-py3-none-any.whl[http,rules]'"): INSTALLS,
    ("observability.md", "STREAMER_LOGS__FORMAT=json streamer learn"): ENDLESS
    + "tests/unit/test_telemetry.py",
    ("observability.md", "streamer store export copy.db"): "tests/unit/test_store_commands.py",
    ("observability.md", "streamer store import copy.db"): "tests/unit/test_store_commands.py",
    (
        "observability.md",
        "STREAMER_KAFKA__GROUP=rebuild streamer learn --alone --store sqlite:new.db",
    ): ENDLESS + "tests/integration/test_main_job.py",
    (
        "observability.md",
        "STREAMER_KAFKA__GROUP=rebuild streamer doctor --store sqlite:new.db",
    ): "it waits for the learner above",
    ("page.md", "pip install '.[ui]'"): INSTALLS,
    ("page.md", "streamer up --http-port 8080"): "shop.md does",
    ("page.md", "streamer serve --page"): ENDLESS + "tests/unit/test_page.py",
    (
        "page.md",
        "streamer up --http-port 8080 --reports reports",
    ): "tests/unit/test_page.py shows reports",
    ("quality.md", "pip install '.[nightly]'"): INSTALLS,
    (
        "reliability.md",
        "make torture MINUTES=30 SEED=7",
    ): "half an hour: tests/integration/test_torture.py",
}
"""Commands that are run nowhere here, each with why, or with the test of its kind."""
SUBSTITUTED = {
    ("README.md", "tea"): "sencha",
    ("README.md", "clicks.jsonl"): "events.jsonl",
    ("README.md", "compare a.json b.json"): "compare a.json b.json --model-a isgd",
    ("README.md", 'ratings.csv --positives "value>=5"'): "events.jsonl",
    ("ope.md", "log/ "): "short ",
    ("ope.md", "decisions.jsonl --events "): "short/decisions.jsonl --events short/",
    ("ope.md", "bootstrap:1000"): "bootstrap:50",
    ("ope.md", " --open"): "",
    ("page.md", "LOG --model all"): "log/events.jsonl --model popularity",
    ("page.md", "ope LOG"): "ope short",
    (
        "quality.md",
        'ml-latest-small --positives "value>=5" --model all',
    ): "events.jsonl --model isgd",
    ("replay.md", " --open"): "",
    ("replay.md", "LOG"): "events.jsonl",
    ("replay.md", 'ml-latest-small --positives "value>=5" --model mf-softmax,funnel'): (
        "events.jsonl --model mf-softmax,funnel"
    ),
    ("replay.md", "0,1s,1m,30m,1h,1d"): "0,1h",
    ("slates.md", 'ml-latest-small --positives "value>=5"'): "events.jsonl --items items.jsonl",
    ("slates.md", "0,0.05,0.1,0.2"): "0,0.1",
    ("slates.md", " --open"): "",
}
"""What stands in for words of a page's commands: a short log, no browser."""
LINKS = {"ml-latest-small": "ml-latest-small", "obd": "obd-small"}
"""Logs of others, by the names that pages have for them."""
PORTS = ("8080", "9092", "9100")
DATA = Path(os.environ.get("STREAMER_DATA") or ROOT.parent / "shared" / "data")
LOGGED = re.compile(r"^\d{4}-\d\d-\d\dT\S+ [A-Z]+ .*\n", re.MULTILINE)
WRITES = re.compile(r"-X [A-Z]+|/v1/(events|items|users|feedback) -d|/reward |streamer [a-z]+")
READS = re.compile(r"streamer (request|explain|doctor) ?")
LEARNS_NOTHING = ("configuration.md", "import.md")
"""Pages of which each figure is held; those of others depend on the processor, and on which
partition learns first."""
COMMAND_S = 540.0
"""What one command may take, on a machine that does much else."""
KINDS = re.findall(r'^    "[a-z]+": "([a-z -]+)",$', TEXTS["shop.md"], re.MULTILINE)
IDS = [item_id for kind in KINDS for item_id in kind.split()]
NAMES = {*IDS, *(item_id.replace("-", " ").title() for item_id in IDS)}
"""Of the shop's items."""


def commands(part: str) -> list[Shown | File]:
    """Return the steps of a page, or of one of its parts, ``PAGE#HEADING``."""
    page, _, heading = part.partition("#")
    text = sections(TEXTS[page])[heading] if "#" in part else TEXTS[page]
    return list(steps(text))


def plain(command: str) -> str:
    """Return a command in one line, without its comment."""
    return " ".join(re.sub(r"\s#.*", "", command.replace("\\\n", " ")).split())


class Reader:
    """Follows pages in a folder of their own, with one terminal, and one more for ``up``."""

    def __init__(self, folder: Path, *, besides: str = "", **environment: str) -> None:
        self.folder = folder
        self.up: Up | None = None
        self.kafka = ""
        self._page = ""
        self._besides = (
            [step for step in commands(besides) if isinstance(step, File)] if besides else []
        )
        self._ports = {port: str(free_port()) for port in PORTS}
        self._ports["9101"] = str(int(self._ports["9100"]) + 1)
        self._terminal = Terminal(folder, reader(**environment), timeout_s=COMMAND_S)
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._terminal.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self._terminal.__exit__()

    def follow(self, part: str) -> None:
        """Run the commands of a part, and compare what they print."""
        for step in commands(part):
            if isinstance(step, File):
                self.write(step)
            elif (part.partition("#")[0], plain(step.command)) not in NOT_RUN:
                self.run(step, part.partition("#")[0])

    def write(self, file: File) -> None:
        """Write a file of a page, and behind it what another page adds to it."""
        path = self.folder / file.name
        before = path.read_text() if file.added else ""
        if file.text not in before:
            path.write_text(before + file.text)
        for each in self._besides:
            if each.name == file.name and not file.added:
                self.write(each)

    def run(self, step: Shown, page: str) -> None:
        """Run one command of a page.

        Raises
        ------
        AssertionError
            If it prints something else than the page shows, or fails where the page shows no error.
        """
        self._page = page
        command = step.command.replace("kafka:9092", self.kafka)
        for (where, words), others in SUBSTITUTED.items():
            if where == page:
                command = command.replace(words, others)
        for port, free in self._ports.items():
            command = command.replace(port, free)
        if command.startswith("streamer up "):
            differs = self.start(shlex.split(command, comments=True)[2:], step)
        else:
            differs = self.ask(command, step)
        assert not differs, f"{page}: {step.command}\n{differs}"

    def start(self, words: list[str], step: Shown) -> str:
        """Have ``up`` run from here on, in place of the one that did."""
        self.stop()
        self.up = self._running.enter_context(running_up(self.folder, *words))
        for name, value in self.up.environment().items():
            if name.startswith("STREAMER_"):
                self._terminal.run(f"export {name}={shlex.quote(value)}")
        return self.differences(step, LOGGED.sub("", self.up.printed()))

    def stop(self) -> None:
        """End ``up``, as Ctrl-C does."""
        self._running.close()
        self.up = None

    def ask(self, command: str, step: Shown) -> str:
        """Run a command; one that only reads again, until a running system has learned enough."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            printed, status = self._terminal.run(command, step.typed)
            differs = self.differences(step, printed)
            refused = re.search(r"^error: ", step.printed or "", re.MULTILINE) is not None
            if refused != (status != 0):
                differs = f"exit status {status}: {printed}"
            again = self.up is not None and not WRITES.search(READS.sub("", command))
            if not differs or not again or time.monotonic() > deadline:
                return differs
            time.sleep(0.2)

    def differences(self, step: Shown, printed: str) -> str:
        """Return how what was printed differs from what is shown."""
        for port, free in self._ports.items():
            printed = re.sub(rf"(?<=:){free}\b", port, printed)
        shows_none = not step.printed and step.command.startswith("streamer up ")
        if step.printed is None or shows_none:
            return ""
        if self._page in LEARNS_NOTHING:
            return differences(step.printed, printed)
        return differences(shape(step.printed, NAMES), shape(printed, NAMES))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    for program in ("curl", "jq"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}, which the pages ask the shop with")
    with Reader(tmp_path_factory.mktemp("shop")) as found:
        found.follow("shop.md")
        yield found


@pytest.mark.parametrize("part", SHOP)
def test_the_shop_answers_as_its_pages_say(shop: Reader, part: str) -> None:
    shop.follow(part)


@pytest.mark.parametrize("part", RULES)
def test_the_shop_keeps_the_rules_of_a_page(part: str, tmp_path: Path) -> None:
    with Reader(tmp_path, besides=part) as found:
        found.follow("shop.md")
        found.follow(part)


def test_a_trial_goes_on_and_moves_as_its_page_says(tmp_path: Path) -> None:
    with EmbeddedBroker() as kafka, Reader(tmp_path) as found:
        found.kafka = kafka.bootstrap_servers
        for step in commands("shop.md"):
            if isinstance(step, File):
                found.write(step)
        found.run(Shown("python shop.py"), "shop.md")
        found.follow(TRIAL[0])
        found.stop()
        found.follow(TRIAL[1])


@pytest.mark.parametrize("part", ALONE)
def test_a_folder_is_all_that_a_page_needs(part: str, tmp_path: Path) -> None:
    with Reader(tmp_path) as found:
        found.follow(part)


@pytest.mark.parametrize("part", BESIDE_A_BROKER)
def test_a_broker_beside_it_is_all_that_a_page_needs(part: str, tmp_path: Path) -> None:
    with EmbeddedBroker() as kafka:
        address = kafka.bootstrap_servers
        with Reader(tmp_path, STREAMER_KAFKA__BOOTSTRAP_SERVERS=address) as found:
            found.follow(part)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the shop's log, and with the logs of others that pages name."""
    folder = tmp_path_factory.mktemp("logs")
    for name, path in LINKS.items():
        if not (DATA / path).exists():
            pytest.skip(f"no {DATA / path}: STREAMER_DATA says where logs of others are")
        (folder / name).symlink_to(DATA / path)
    return folder


def test_a_log_of_decisions_is_asked_as_pages_say(logs: Path, tmp_path: Path) -> None:
    (tmp_path / "obd").symlink_to(logs / "obd")
    with Reader(tmp_path) as found:
        made, *others = DECISIONS
        found.follow(made)
        (tmp_path / "short").mkdir()
        for log in (tmp_path / "log").iterdir():
            lines = log.read_bytes().splitlines(keepends=True)
            (tmp_path / "short" / log.name).write_bytes(b"".join(lines[: len(lines) // 8]))
        for part in others:
            found.follow(part)


def test_logs_are_replayed_as_pages_say(logs: Path) -> None:
    with Reader(logs) as found:
        (made,) = (
            step
            for step in commands("shop.md")
            if isinstance(step, File) and step.name == "shop.py"
        )
        found.write(made)
        found.run(Shown("python shop.py"), "shop.md")
        for part in REPLAYS:
            found.follow(part)


def test_every_command_of_every_page_is_run_or_stands_here_with_why_not() -> None:
    parts = ("shop.md", *SHOP, *RULES, *TRIAL, *ALONE, *BESIDE_A_BROKER, *DECISIONS, *REPLAYS)
    asked = {
        (part.partition("#")[0], step.command)
        for part in parts
        for step in commands(part)
        if isinstance(step, Shown)
    }
    run = {(page, command) for page, command in asked if (page, plain(command)) not in NOT_RUN}
    written = {
        (page, plain(step.command))
        for page in TEXTS.keys() - ELSEWHERE.keys()
        for step in commands(page)
        if isinstance(step, Shown)
    }
    assert written - {(page, plain(command)) for page, command in run} == NOT_RUN.keys()
    assert not [
        (page, words)
        for page, words in SUBSTITUTED
        if not any(page == where and words in command for where, command in run)
    ]


PROGRAMS = "streamer|python|pip|curl|kcat|make|mkdir|docker|kubectl|npm|echo|[A-Z_]+=\\S+"


@pytest.mark.parametrize("page", sorted(TEXTS.keys() - ELSEWHERE.keys()))
def test_no_command_stands_in_a_block_of_another_kind(page: str) -> None:
    others = [block for kind, block in FENCE.findall(TEXTS[page]) if kind not in ("console", "sh")]
    assert not re.findall(rf"^(?:\$ )?(?:{PROGRAMS}) .*", "".join(others), re.MULTILINE)
