"""The dashboard and the alerts that are shipped: each metric that they name is served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from streamer.application.all_metrics import all_metrics
from tests.imports import ROOT

LABELS = {name: {*each.labels, "le"} for each in all_metrics() for name in each.series}
"""Labels of each time series; of buckets their edge too."""


def alerts() -> list[dict[str, Any]]:
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy/grafana/streamer.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def not_kept(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where what was read and written again differs from what was given."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            if name not in kept:
                yield f"{path}/{name}"
            else:
                yield from not_kept(value, kept[name], f"{path}/{name}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for at, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from not_kept(one, other, f"{path}/{at}")
    elif given != kept:
        yield path


def unknown_to_grafana(given: dict[str, Any]) -> list[str]:
    """Fields that the types of Grafana 11, generated from its schemas, do not have."""
    register_default_plugins()
    read = JSONEncoder().encode(Dashboard.from_json(given))
    return list(not_kept(given, json.loads(read)))


def expressions() -> Iterator[str]:
    for alert in alerts():
        yield alert["expr"]
    for panel in panels():
        for target in panel.get("targets", []):
            yield target["expr"]


def faults(expression: str) -> list[str]:
    """Metrics that nobody serves, and labels that they do not have."""
    found = re.findall(r"(streamer_\w+)(?:\{([^}]*)\})?", expression)
    missing = [name for name, _ in found if name not in LABELS]
    if missing:
        return missing
    known = set.union(*(LABELS[name] for name, _ in found))
    asked = {label for _, matched in found for label in re.findall(r"(\w+)\s*[=!]", matched)}
    for by in re.findall(r"\bby \(([^)]*)\)", expression):
        asked |= {label.strip() for label in by.split(",")}
    return sorted(asked - known)


@pytest.mark.parametrize("expression", [*expressions()])
def test_metrics_of_the_dashboard_and_of_alerts_are_served(expression: str) -> None:
    assert "streamer_" in expression
    assert faults(expression) == []
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_a_metric_or_a_label_that_is_not_served_is_found() -> None:
    assert faults("rate(streamer_learner_events[5m])") == ["streamer_learner_events"]
    assert faults("sum by (fate, user) (streamer_learner_feedback_total)") == ["user"]
    assert faults('streamer_learner_feedback_total{kind="late"}') == ["kind"]


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names)) >= 10
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "warn", "info"), alert
        assert {"summary", "description", "action"} == alert["annotations"].keys(), alert
        assert all(alert["annotations"].values()), alert


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    assert unknown_to_grafana(dashboard()) == []
    odd = dashboard()
    odd["panels"][1]["targets"][0]["expresion"] = "up"
    odd["refreshes"] = "1s"
    odd["panels"][1]["gridPos"]["width"] = 3
    assert sorted(unknown_to_grafana(odd)) == [
        "/panels/1/gridPos/width",
        "/panels/1/targets/0/expresion",
        "/refreshes",
    ]


def test_the_dashboard_is_laid_out_without_overlap() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= 24
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for one, other in combinations([panel["gridPos"] for panel in panels()], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)
