"""A policy is one file and one entry of a registry: what is derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extended import Extended, extended
from tests.imports import ROOT

CHECKS = """
import json
from pathlib import Path
from typer.testing import CliRunner
from streamer.cli import app
from streamer.config import BanditConfig, known_keys, load_config
from streamer.documentation import generated
from streamer.scorer.policy.policies import redraw
from tests.unit.ope_files import obd_line, write_obd
from tests.unit.test_live_policies import experienced, logged

docs, folder = Path({docs!r}), Path({folder!r})

# Configuration.
key = known_keys()["bandit.calm_share"]
assert (key.default, key.allowed) == (0.5, "a number from 0 to 1")
assert key.description == "moody: of requests answered without optimism"
flags = {{"bandit.policy": "moody", "bandit.calm_share": "0.25"}}
bandit = load_config(env={{}}, flags=flags).bandit
assert (bandit.policy, bandit.calm_share) == ("moody", 0.25)

# Live: ranked, logged, drawn again.
shop = experienced(BanditConfig(policy="moody", calm_share=0.0, alpha=3.0, uniform_share=0.1))
slate = shop.ask("u3", k=6)
assert slate.policy == "moody"
assert slate.policy_parameters["calm_share"] == 0.0
again = redraw(logged(slate))
assert [slate.candidates[index] for index in again.order] == slate.item_ids
assert again.propensities.tolist() == slate.propensities

# Off-policy.
lines = [obd_line(item, 1, int(item == 1), 1 / 3) for item in (0, 1, 2)] * 20
log = write_obd(folder / "all", lines)
out = folder / "result.json"
arguments = ["ope", str(log), "--format", "obd", "--policy", "moody:calm_share=1"]
arguments += ["--estimators", "ips", "--json", str(out)]
result = CliRunner().invoke(app, arguments, catch_exceptions=False)
assert result.exit_code == 0, result.output
assert json.loads(out.read_text())["metrics"]["ips"]["value"] > 0.8

# Documentation.
pages = {{path.name: text for path, text in generated(docs).items()}}
assert "| `moody` | the best `x·θ`, or `x·θ + alpha" in pages["bandits.md"]
assert "| `bandit.calm_share` | `0.5` |" in pages["configuration.md"]
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    return extended(tmp_path_factory.mktemp("extended"))


def test_everything_follows_from_the_file_and_the_entry(page: Extended, tmp_path: Path) -> None:
    page.run(CHECKS.format(docs=str(ROOT / "docs"), folder=str(tmp_path)))


@pytest.mark.parametrize("module", ["composition", "composition_settings", "in_memory", "slates"])
def test_a_policy_may_import_what_it_draws_by_whatever_comes_first(
    module: str, tmp_path: Path
) -> None:
    page = extended(tmp_path)
    (policy,) = tmp_path.rglob("moody.py")
    source = policy.read_text(encoding="utf-8")
    assert "if TYPE_CHECKING:" in source
    policy.write_text(source.replace("if TYPE_CHECKING:", "if True:"), encoding="utf-8")
    page.run(f"import streamer_models.bandits.{module}, streamer_models.bandits.policies.registry")
