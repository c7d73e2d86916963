"""Imports point one way; a client library is imported in one place."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping

import pytest

from tests.imports import Edge, cycle, edges, sources

OURS = ("streamer_models", "streamer_producers", "streamer")
CLIENT = "streamer_client"
"""A distribution of its own, whose messages have the names that they have on the topics."""

# Every module of ours belongs to the group of its longest prefix here.
GROUPS = {
    "streamer_models": "models",
    "streamer_producers": "producers",
    "streamer_client": "http_client",
    "streamer": "package",
    "streamer.errors": "errors",
    "streamer.masking": "errors",
    "streamer.events": "events",
    "streamer.expressions": "expressions",
    "streamer.config": "config",
    "streamer.clock": "clock",
    "streamer.logs": "clock",
    "streamer.protocols": "protocols",
    "streamer.commit_ids": "protocols",
    "streamer.dead_letters": "protocols",
    "streamer.telemetry": "telemetry",
    "streamer.ranking": "ranking",
    "streamer.model_set": "ranking",
    "streamer.kafka": "kafka",
    "streamer.store": "store",
    "streamer.client": "client",
    "streamer.windows": "windows",
    "streamer.faust_worker": "faust_worker",
    "streamer.learner": "learner",
    "streamer.scorer": "scorer",
    "streamer.http": "http",
    "streamer.bridge": "bridge",
    "streamer.replica": "replica",
    "streamer.catalogue": "catalogue",
    "streamer.simulation": "simulation",
    "streamer.testing": "testing",
    "streamer.verify": "verify",
    "streamer.replay": "replay",
    "streamer.ope": "ope",
    "streamer.reports": "reports",
    "streamer.application": "application",
    "streamer.documentation": "application",
    "streamer.demo": "demo",
    "streamer.page": "page",
    "streamer.commands": "commands",
    "streamer.cli": "cli",
    "streamer.__main__": "main",
    "streamer.application.local.supervised": "main",
}

# What a group may import beside itself. Services (learner, scorer) see protocols, never a client of
# Kafka or of the store: the application puts them together, and replay does without Kafka.
CONTRACT = {"errors", "events", "config", "clock", "protocols", "telemetry", "models"}
SERVICES = {*CONTRACT, "ranking"}
ALLOWED: dict[str, set[str]] = {
    "models": set(),
    "errors": set(),
    "events": {"errors", "models"},
    # Settings of policies are what the registry of policies says.
    "config": {"errors", "events", "expressions", "models"},
    # What is written in CEL, read; it knows no columns.
    "expressions": {"errors"},
    "clock": {"errors"},
    "protocols": {"errors", "events", "config", "models"},
    "telemetry": {"errors", "config", "clock", "protocols"},
    # Pages of HTML, and the folder they are in; what is on them is the business of who writes them.
    "reports": {"errors"},
    # What is read of the parameters and of the items topic, to rank by.
    "replica": {*CONTRACT, "windows"},
    "catalogue": CONTRACT,
    # From a request to candidates and their columns, for whoever ranks: the scorer today.
    "ranking": {*CONTRACT, "catalogue", "expressions", "replica", "windows"},
    "kafka": CONTRACT,
    "store": CONTRACT,
    "client": {*CONTRACT, "expressions", "kafka"},
    "package": {"client", "errors", "events", "config"},
    "producers": {"client", "errors", "events", "config", "package"},
    # What is known of items beside events is learned too.
    "learner": {*SERVICES, "catalogue"},
    # What windows mean and what is known of their values, without whatever computes them live.
    "windows": CONTRACT,
    # Repeated events are told from new ones as the learner does.
    "faust_worker": {*SERVICES, "learner", "windows"},
    "scorer": {*SERVICES, "catalogue", "replica", "windows"},
}
# HTTP sees what answers and what sends as protocols: no client of Kafka, no store.
ALLOWED["http"] = {*CONTRACT, "reports", "scorer"}
# The live code with a store, a broker and a clock that are in memory.
ALLOWED["simulation"] = {*ALLOWED["scorer"], "learner", "scorer", "store", "kafka"}
ALLOWED["verify"] = {*ALLOWED["simulation"], "simulation"} - {"kafka"}
# Logs, and topics of others, are those that producers read.
ALLOWED["bridge"] = {*CONTRACT, "producers"}
ALLOWED["replay"] = {*ALLOWED["verify"], "producers", "reports"}
ALLOWED["ope"] = {*SERVICES, "learner", "producers", "reports"}
ALLOWED["application"] = {*ALLOWED}
ALLOWED["demo"] = {*ALLOWED}
# Shows what the application puts together; commands hand it to the service.
ALLOWED["page"] = {*ALLOWED} - {"demo"}
ALLOWED["commands"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED}
ALLOWED["main"] = {"cli", "errors"}
# For the tests of users, and imported by nothing of ours.
ALLOWED["testing"] = {"events", "models", "simulation"}
# A distribution of its own: it is not installed with the others.
ALLOWED["http_client"] = set()

# The only places where these are imported.
HOMES = {
    "confluent_kafka": "streamer.kafka",
    "httpx2": "streamer.kafka",
    "fastavro": "streamer.bridge.avro",
    "google": "streamer.bridge.protobuf",
    "redis": "streamer.store",
    "sqlite3": "streamer.store",
    "faust": "streamer.faust_worker",
    "datasketches": "streamer_models.windows.distinct",
    "river": "streamer_models.river_adapter",
    "fastapi": "streamer.http",
    "fastapi_offline": "streamer.http",
    "starlette": "streamer.http",
    "uvicorn": "streamer.http",
    "nicegui": "streamer.page",
    "celpy": "streamer.expressions",
    "httpx": "streamer_client",
    "implicit": "streamer.replay.nightly.implicit_models",
}

# Models are pure: no I/O, no clock, no global randomness. Pickles run code when they are read.
MODELS_THIRD_PARTY = {"llvmlite", "numba", "numpy"}
NOT_IN_MODELS = {"asyncio", "datetime", "random", "secrets", "socket", "subprocess", "time"}
NOWHERE = {"pickle", "shelve", "marshal", "dill", "cloudpickle", "joblib"}


def group_of(module: str) -> str | None:
    """Return the group of a module of ours; None for one that GROUPS doesn't place."""
    prefix = module
    while prefix not in GROUPS:
        prefix = prefix.rpartition(".")[0]
        if not prefix:
            return None
    # `streamer` itself is one module: a new one beside it must say where it belongs.
    return None if prefix == "streamer" != module else GROUPS[prefix]


def violations(modules: Mapping[str, str]) -> list[str]:
    """Return what breaks the rules in ``modules`` (name to source), one line each."""
    placed = [name for name in modules if group_of(name) is not None]
    found = [
        f"{name} is in no group: place it in GROUPS" for name in sorted({*modules} - {*placed})
    ]
    for edge in edges({name: modules[name] for name in placed}):
        found += [f"{edge}: {reason}" for reason in _reasons(edge)]
    loop = cycle(edges(modules), modules)
    return [*found, f"a cycle: {' -> '.join(loop)}"] if loop else found


def _reasons(edge: Edge) -> list[str]:
    root = edge.imported.partition(".")[0]
    if root in (*OURS, CLIENT):
        importer, imported = group_of(edge.importer), group_of(edge.imported)
        if importer is None or imported is None or imported in {importer, *ALLOWED[importer]}:
            return []
        return [f"{importer} may import {', '.join(sorted(ALLOWED[importer])) or 'none of ours'}"]
    found = []
    home = HOMES.get(root)
    if home and edge.importer != home and not edge.importer.startswith(f"{home}."):
        found.append(f"only {home} imports {root}")
    if root in NOWHERE:
        found.append("what it reads can run code")
    is_foreign = root not in sys.stdlib_module_names and root != "httpx"
    if edge.importer.startswith(CLIENT) and is_foreign:
        found.append("the client installs httpx alone")
    if edge.importer.startswith("streamer_models"):
        third_party = root not in sys.stdlib_module_names and root != home
        if root in NOT_IN_MODELS or (third_party and root not in {*MODELS_THIRD_PARTY, *HOMES}):
            found.append("models are pure: numpy and numba, no I/O, no clock")
    return found


def test_imports_point_one_way_and_clients_stay_at_home() -> None:
    found = violations(sources(*OURS, CLIENT))
    assert not found, "\n".join(found)


def test_rooms_make_no_circle() -> None:
    between = [
        Edge(importer, imported, edge.line, for_types=False)
        for edge in edges(sources(*OURS))
        if (importer := group_of(edge.importer)) and (imported := group_of(edge.imported))
        if importer != imported
    ]
    loop = cycle(between, dict.fromkeys(GROUPS.values(), ""))
    assert not loop, f"a circle of rooms: {' -> '.join(loop)}"


def test_no_class_has_the_name_of_another() -> None:
    homes: dict[str, list[str]] = {}
    for module, text in sources(*OURS).items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(module)
    twice = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert not twice, f"rename one of each: {twice}"


def test_every_placed_module_exists() -> None:
    modules = sources(*OURS, CLIENT)
    gone = [name for name in GROUPS if name not in modules]
    assert not gone, f"GROUPS places what doesn't exist: {', '.join(gone)}"


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("streamer_models.made_up", "from streamer.errors import StreamerError", "none of ours"),
        ("streamer_models.made_up", "import time", "models are pure"),
        ("streamer_models.made_up", "import scipy.sparse", "models are pure"),
        ("streamer_models.made_up", "import redis", "only streamer.store"),
        ("streamer.learner.made_up", "import streamer.store.redis", "learner may import"),
        (
            "streamer.learner.made_up",
            "def f():\n    from streamer import cli",
            "learner may import",
        ),
        ("streamer.scorer.made_up", "from streamer.learner import learner", "scorer may import"),
        ("streamer.scorer.made_up", "from streamer.faust_worker import app", "scorer may import"),
        ("streamer.events", "from streamer.config import Config", "events may import"),
        ("streamer.client", "import confluent_kafka.admin", "only streamer.kafka"),
        ("streamer.kafka_tools", "import confluent_kafka", "in no group"),
        ("streamer_client.made_up", "import streamer.events", "http_client may import none"),
        ("streamer_client.made_up", "import numpy", "httpx alone"),
        ("streamer.learner.made_up", "import streamer_client", "learner may import"),
        (
            "streamer.application.local.supervisor",
            "from streamer.cli import app",
            "application may import",
        ),
        ("streamer.store.made_up", "import pickle", "can run code"),
        (
            "streamer_producers.made_up",
            "from streamer_models.state.table import Table",
            "producers may import",
        ),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str, complaint: str) -> None:
    with_it = {**sources(*OURS), module: source}
    made = [line for line in violations(with_it) if line.startswith((f"{module}:", f"{module} "))]
    assert len(made) == 1
    assert complaint in made[0]


def test_a_cycle_is_found() -> None:
    modules = {
        "streamer_models.a": "from streamer_models import b",
        "streamer_models.b": "def later():\n    import streamer_models.c",
        "streamer_models.c": "from streamer_models.a import thing",
    }
    (found,) = violations(modules)
    assert found.startswith("a cycle: ")
    assert {"streamer_models.a", "streamer_models.b", "streamer_models.c"} <= set(
        found.replace(":", "").split()
    )


def test_a_cycle_through_a_package_that_an_import_runs_is_found() -> None:
    modules = {
        "streamer_models.a": "from streamer_models.kinds.settings import thing",
        "streamer_models.kinds": "from streamer_models.kinds import base",
        "streamer_models.kinds.base": "from streamer_models.a import thing",
        "streamer_models.kinds.settings": "",
    }
    (found,) = violations(modules)
    assert found.startswith("a cycle: ")
    without = {**modules, "streamer_models.kinds": ""}
    assert violations(without) == []


def test_an_import_for_types_alone_makes_no_cycle_but_must_be_allowed() -> None:
    for_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {} import thing"
    assert (
        violations(
            {
                "streamer_models.a": "import streamer_models.b",
                "streamer_models.b": for_types.format("streamer_models.a"),
            }
        )
        == []
    )
    (found,) = violations({"streamer_models.a": for_types.format("streamer.errors")})
    assert "none of ours" in found
