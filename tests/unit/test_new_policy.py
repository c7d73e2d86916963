"""A policy is one file and one entry of a registry: what is derived from them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import streamer_models.bandits.policies as registry
from tests.imports import ROOT

EXTENDING = ROOT / "docs" / "extending.md"
FILE = "models/streamer_models/bandits/policies/moody.py"

# Runs in a process of its own, in which the registry has the new entry from the start.
PRELUDE = """
import importlib.util, sys
from pathlib import Path
import streamer_models.bandits
folder, original = {folder!r}, {original!r}
name = "streamer_models.bandits.policies"
spec = importlib.util.spec_from_file_location(
    name, folder + "/__init__.py", submodule_search_locations=[folder, original]
)
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
"""

CHECKS = """
import json
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


def documented() -> tuple[str, str]:
    """The source of the policy that the documentation adds, and of its test."""
    page = EXTENDING.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (source,) = (each for each in blocks if each.startswith(f"# {FILE}\n"))
    (test,) = (each for each in blocks if each.startswith("def test_a_calm_one_is_greedy"))
    return source, test


@pytest.fixture
def prelude(tmp_path: Path) -> str:
    """Code that puts the policy into its file and its line into the registry, elsewhere."""
    source, _ = documented()
    original = Path(registry.__file__).parent
    (tmp_path / "moody.py").write_text(source, encoding="utf-8")
    text = (original / "__init__.py").read_text(encoding="utf-8")
    line = "_REGISTERED: Final[tuple[type[Policy[Any]], ...]] = (\n"
    assert line in text
    entry = f"from {registry.__name__}.moody import Moody\n\n{line}    Moody,\n"
    (tmp_path / "__init__.py").write_text(text.replace(line, entry), encoding="utf-8")
    return PRELUDE.format(folder=str(tmp_path), original=str(original))


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_everything_follows_from_the_file_and_the_entry(prelude: str, tmp_path: Path) -> None:
    run(prelude + CHECKS.format(docs=str(ROOT / "docs"), folder=str(tmp_path)))


def test_the_test_of_the_documentation_passes(prelude: str) -> None:
    _, test = documented()
    imports = (
        "import numpy as np\n"
        "from streamer_models.bandits.in_memory import published_bandit\n"
        "from streamer_models.state.id_table import keys_of\n"
    )
    run(f"{prelude}{imports}{test}\ntest_a_calm_one_is_greedy()\n")
