"""The checks for secrets and vulnerable dependencies fail when one is planted."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import check_dependencies

ROOT = Path(__file__).resolve().parents[2]
HOOK = Path(sys.executable).parent / "detect-secrets-hook"
# In two parts, so that the check of this repository does not find it.
PLANTED_KEY = "AKIA" + "QLZ7RYP3VNWXK2HD"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with our dependencies, their pins and our baseline of secrets."""
    for name in ("pyproject.toml", "constraints.txt", ".secrets.baseline"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def dependencies_of(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["check_dependencies", str(project)])
    return check_dependencies.main(), capsys.readouterr().err


def secrets_of(project: Path, file: str, text: str) -> subprocess.CompletedProcess[str]:
    (project / file).write_text(text)
    subprocess.run(["git", "init", "--quiet", project], check=True)
    subprocess.run(["git", "-C", project, "add", file], check=True)
    return subprocess.run(
        [ROOT / "deploy" / "check-secrets.sh", HOOK],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_our_own_dependencies_are_free_of_known_vulnerabilities(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dependencies_of(project, monkeypatch, capsys) == (0, "")


def test_a_vulnerable_pin_fails_with_its_advisory_and_the_version_that_mends_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (project / "constraints.txt").open("a") as constraints:
        constraints.write("Jinja2==2.10\n")
    status, said = dependencies_of(project, monkeypatch, capsys)
    assert status == 1
    assert "jinja2 2.10: GHSA-462w-v97r-4m45 (CVE-2019-10906)" in said
    assert "fixed in 2.10.1: pin that or a later one in constraints.txt" in said


def test_an_accepted_advisory_passes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (project / "constraints.txt").open("a") as constraints:
        constraints.write("python-gnupg==0.4.3\n")
    assert dependencies_of(project, monkeypatch, capsys)[0] == 1
    settings = (project / "pyproject.toml").read_text()
    accepted = 'accepted = { GHSA-2fch-jvg5-crf6 = "not called" }'
    (project / "pyproject.toml").write_text(settings.replace("accepted = {}", accepted))
    assert dependencies_of(project, monkeypatch, capsys) == (0, "")


def test_a_dependency_without_a_pin_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(settings.replace('"redis>=', '"Django>=4", "redis>='))
    status, said = dependencies_of(project, monkeypatch, capsys)
    assert status == 1
    assert "django: required in pyproject.toml and not pinned in constraints.txt" in said


def test_a_secret_in_a_tracked_file_fails_with_its_place(project: Path) -> None:
    found = secrets_of(project, "settings.py", f'region = "eu"\naws = "{PLANTED_KEY}"\n')
    assert found.returncode == 1
    assert "settings.py:2" in found.stdout
    assert "revoke it and remove it" in found.stderr


def test_a_made_up_password_that_the_baseline_names_passes(project: Path) -> None:
    found = secrets_of(project, "settings.py", 'password = "s3cret"\n')
    assert (found.returncode, found.stdout) == (0, "")


def test_a_folder_that_is_no_checkout_fails(project: Path) -> None:
    script = [ROOT / "deploy" / "check-secrets.sh", HOOK]
    assert subprocess.run(script, cwd=project, capture_output=True, check=False).returncode == 1


def test_make_check_runs_both() -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/.dev-installed", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-m deploy.check_dependencies\n" in recipe
    assert "deploy/check-secrets.sh .venv/bin/detect-secrets-hook\n" in recipe
