"""The manifests for Kubernetes: valid, and in agreement with each other and what they start."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from deploy.kafka.node import free_port
from streamer.cli import app
from streamer.config import Config, load_config
from streamer.errors import ConfigError
from streamer.http.schemas import OPEN
from streamer.scorer.metrics import ScorerMetrics
from streamer.telemetry import serve_metrics
from tests.imports import ROOT

FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
READ = {"apiVersion", "kind", "resources", "components", "images", "configMapGenerator"}
"""What these tests know of kustomizations."""
VERSIONS = ("1.25", "1.37")
"""Of Kubernetes: the first and the last whose schemas there are."""
PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")


def loaded(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


MANIFESTS = [
    manifest
    for path in KUSTOMIZATIONS
    for name in loaded(path)[0]["resources"]
    for manifest in loaded(path.parent / name)
]
BASE = loaded(FOLDER / "kustomization.yaml")[0]
(CONFIG_MAP,) = BASE["configMapGenerator"]
DEPLOYMENTS = {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == "Deployment"}
PODS = {name: each["spec"]["template"] for name, each in DEPLOYMENTS.items()}
COMPOSE = loaded(ROOT / "docker-compose.yml")[0]["services"]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
IMAGE_ENV = dict(re.findall(r"^(?:ENV)? +(\w+)=(\S+)", DOCKERFILE, re.MULTILINE))


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]


def ports_of(pod: dict[str, Any]) -> dict[str, int]:
    return {
        each["name"]: each["containerPort"]
        for container in containers(pod)
        for each in container.get("ports", [])
    }


def config() -> Config:
    """Read what a container of the image reads, but for the Secret."""
    env = {name: value for name, value in IMAGE_ENV.items() if name.startswith("STREAMER_")}
    return load_config(FOLDER / "streamer.toml", env=env)


def parsed(args: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the command that the command line finds in ``args``, and its parameters."""
    command: Any = typer.main.get_command(app)
    rest, path = list(args), []
    while hasattr(command, "commands"):
        path.append(rest.pop(0))
        assert path[-1] in command.commands, args
        command = command.commands[path[-1]]
    return " ".join(path), command.make_context("", rest).params


def matched(selector: dict[str, str]) -> list[str]:
    return [
        name for name, pod in PODS.items() if selector.items() <= pod["metadata"]["labels"].items()
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_field_that_kubernetes_does_not_know_is_found(version: str) -> None:
    manifest = {**MANIFESTS[0], "spec": {**MANIFESTS[0]["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_is_applied_and_what_is_said_in_kustomizations_is_read_here() -> None:
    applied = {FOLDER / "streamer.toml", *KUSTOMIZATIONS}
    for path in KUSTOMIZATIONS:
        (kustomization,) = loaded(path)
        assert kustomization.keys() <= READ
        applied |= {path.parent / name for name in kustomization["resources"]}
    assert applied == {path for path in FOLDER.rglob("*") if path.is_file()}
    components = {path.parent.name for path in KUSTOMIZATIONS if path.parent != FOLDER}
    assert {loaded(FOLDER / name / "kustomization.yaml")[0]["kind"] for name in components} == {
        "Component"
    }
    for name in components:
        assert f"`{name}`" in PAGE
    assert CONFIG_MAP == {"name": "streamer", "files": ["streamer.toml"]}


def test_pods_are_alike_but_for_what_they_run() -> None:
    def shared(pod: dict[str, Any]) -> dict[str, Any]:
        (container,) = pod["spec"]["containers"]
        probes = ("startupProbe", "readinessProbe", "livenessProbe")
        own = ("name", "args", "ports", "lifecycle", "resources", *probes)
        apart = ("containers", "topologySpreadConstraints", "terminationGracePeriodSeconds")
        return {
            "pod": {key: value for key, value in pod["spec"].items() if key not in apart},
            "container": {key: value for key, value in container.items() if key not in own},
            "annotations": pod["metadata"]["annotations"],
        }

    first, *others = map(shared, PODS.values())
    assert all(other == first for other in others)


def test_names_and_labels_find_what_they_mean() -> None:
    assert len(DEPLOYMENTS) == sum(each["kind"] == "Deployment" for each in MANIFESTS)
    for name, deployment in DEPLOYMENTS.items():
        spec = deployment["spec"]
        assert matched(spec["selector"]["matchLabels"]) == [name]
        assert deployment["metadata"]["labels"] == spec["template"]["metadata"]["labels"]
        for each in spec["template"]["spec"].get("topologySpreadConstraints", []):
            assert matched(each["labelSelector"]["matchLabels"]) == [name]
    for manifest in MANIFESTS:
        selector = manifest["spec"]["selector"]
        if manifest["kind"] == "Service":
            (name,) = matched(selector)
            for port in manifest["spec"]["ports"]:
                assert ports_of(PODS[name])[port["targetPort"]] == port["port"]
        elif manifest["kind"] == "PodDisruptionBudget":
            (name,) = matched(selector["matchLabels"])
            assert DEPLOYMENTS[name]["spec"]["replicas"] > manifest["spec"]["maxUnavailable"]


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_a_pod_finds_its_settings_and_may_write_where_it_writes(pod: dict[str, Any]) -> None:
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    for container in containers(pod):
        assert container["image"] == COMPOSE["learner"]["image"] == BASE["images"][0]["name"]
        mounts = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
        path = parsed(container["args"])[1]["config"]
        assert mounts[str(path.parent)]["configMap"]["name"] == CONFIG_MAP["name"]
        assert path.name in CONFIG_MAP["files"]
        writable = {path for path, volume in mounts.items() if "emptyDir" in volume}
        assert writable == {IMAGE_ENV["NUMBA_CACHE_DIR"], "/tmp"}
        load_config(env={each["name"]: each["value"] for each in container.get("env", [])})
        for source in container["envFrom"]:
            assert f"generic {source['secretRef']['name']} --from-env-file" in PAGE
    user = pod["spec"]["securityContext"]["runAsUser"]
    assert re.findall(r"^USER (.+)", DOCKERFILE, re.MULTILINE) == [str(user)]
    assert f"--uid {user} " in DOCKERFILE


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_ports_and_probes_are_those_of_the_configuration(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    settings, ports = config(), ports_of(pod)
    assert settings.metrics.host == settings.http.host == "0.0.0.0"
    wanted = {"metrics": settings.metrics.port}
    if parsed(container["args"])[0] == "serve":
        wanted["http"] = settings.http.port
    assert ports == wanted
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.metrics.port)
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        if (asked := container[kind].get("httpGet")) is not None:
            paths = {"metrics": {"/metrics"}, "http": OPEN}[asked["port"]]
            assert asked["path"] in paths, kind  # those of HTTP that need no key
        else:
            assert f":{settings.metrics.port}/metrics" in container[kind]["exec"]["command"][-1]


def test_a_scorer_is_ready_when_its_metrics_say_so() -> None:
    (scorer,) = PODS["streamer-scorer"]["spec"]["containers"]
    *python, program = scorer["readinessProbe"]["exec"]["command"]
    assert python == ["python", "-c"]
    registry = CollectorRegistry()
    metrics = ScorerMetrics(registry)
    with serve_metrics(registry, free_port()) as port:
        program = program.replace(str(config().metrics.port), str(port))
        for ready in (0, 1):
            metrics.ready.set(ready)
            with pytest.raises(SystemExit) as ended:
                exec(program, {})
            assert ended.value.code == (not ready)


def test_pods_do_not_get_variables_of_services_which_read_like_settings() -> None:
    (service,) = (each for each in MANIFESTS if each["kind"] == "Service")
    variable = f"{service['metadata']['name'].upper().replace('-', '_')}_PORT"
    with pytest.raises(ConfigError, match=variable):
        load_config(env={variable: "tcp://10.0.0.1:8080"})
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in PODS.values())


def test_who_shares_partitions_has_one() -> None:
    for name in ("streamer-learner", "streamer-scorer", "streamer-features"):
        assert DEPLOYMENTS[name]["spec"]["replicas"] <= config().topics.partitions


def test_compose_starts_the_same() -> None:
    settings = config()
    for service in ("learner", "http"):
        pod = PODS[f"streamer-{service}"]["spec"]
        (container,) = pod["containers"]
        assert container["name"] == service
        assert parsed(container["args"])[0] == COMPOSE[service]["command"]
        assert "topics" in COMPOSE[service]["depends_on"]
        (first,) = pod["initContainers"]
        assert parsed(first["args"])[0] == COMPOSE[first["name"]]["command"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        pause_s = int(pause["command"][-1]) if pause else 0
        grace_s = int(COMPOSE[service]["stop_grace_period"].removesuffix("s"))
        assert pod["terminationGracePeriodSeconds"] == pause_s + grace_s
        given = COMPOSE[service]["environment"]
        assert given["STREAMER_KAFKA__BOOTSTRAP_SERVERS"] == settings.kafka.bootstrap_servers
        assert given["STREAMER_STORE__URL"] == settings.store.url


def blocks(language: str) -> Iterator[str]:
    yield from re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_kustomization_of_ones_own_on_the_page_changes_what_there_is() -> None:
    (own,) = map(yaml.safe_load, blocks("yaml"))
    assert own.keys() <= READ | {"replicas"}
    places = [*own["resources"], *own["components"]]
    assert all((ROOT / place.removeprefix("streamer/")).is_dir() for place in places)
    assert [each["name"] for each in own["images"]] == [BASE["images"][0]["name"]]
    (generated,) = own["configMapGenerator"]
    assert generated == {**CONFIG_MAP, "behavior": "replace"}
    assert {each["name"] for each in own["replicas"]} <= DEPLOYMENTS.keys()


def test_variables_of_the_secret_on_the_page_are_settings() -> None:
    (env,) = blocks("ini")
    given = dict(line.split("=", 1) for line in env.splitlines())
    assert all(name.startswith("STREAMER_") for name in given)
    load_config(env=given)


def test_the_image_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [each["newTag"] for each in BASE["images"]] == [project["version"]]
