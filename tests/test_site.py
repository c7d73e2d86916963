"""The documentation builds as a site, without a warning and without anything from a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT

pytest.importorskip("mkdocs", reason="pip install '.[site]'")
LOADED = re.compile(r"""<(?:script|img|iframe)[^>]*src="([^"]+)"|<link[^>]*href="([^"]+)"[^>]*>""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-f",
        "deploy/site/mkdocs.yml",
        "-d",
        str(folder),
    ]
    done = subprocess.run(
        build,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).with_suffix("") for page in docs.rglob("*.md")}
    pages = {page.parent / "index" if page.name == "README" else page for page in pages}
    built = {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}
    assert pages <= built
    loaded = {
        address
        for page in site.rglob("*.html")
        for found in LOADED.findall(page.read_text(encoding="utf-8"))
        for address in found
        if address
    }
    assert loaded
    assert not [each for each in loaded if each.startswith(("http:", "https:", "//"))]


def test_the_reference_holds_what_the_package_offers(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in ("Publisher", "Recommender", "Subscriber", "check_model"):
        assert re.search(rf'id="streamer\.[a-z._]*{name}"', page), name
    assert ":meth:" not in page
