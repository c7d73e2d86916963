"""The clients as users install them: the commands and the code of docs/clients.md, run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.clients.files import JAVASCRIPT
from tests.http_world import served_world
from tests.imports import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
KEY = "a-key-of-16-chars"
TIMEOUT_S = 300
SHOWN = """
import contextlib, importlib.metadata, io, json, sys
names, shown = {}, []
for block in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(block, names)
    shown.append(printed.getvalue())
installed = [each.metadata["Name"].lower() for each in importlib.metadata.distributions()]
print(json.dumps({"shown": shown, "installed": installed}))
"""
COMPILER = "typescript@7.0.2"
"""In machine code: it takes 0.6 s where the one that writes the types takes 7 s of a core."""
NODE = "declare const process: { env: Record<string, string | undefined> };\n"
WRONG = """
import { createClient, type RecommendationRequest } from "streamer-client";
const client = createClient("http://localhost:8080");
// @ts-expect-error a name that is no field
const misspelt: RecommendationRequest = { user_id: "ann", surfce: "home" };
// @ts-expect-error a field is missing
await client.POST("/v1/events", { body: { type: "click", user_id: "ann" } });
// @ts-expect-error no such route
await client.GET("/v1/item/{item_id}", { params: { path: { item_id: "tea" } } });
export { misspelt };
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served_world(api_keys=(KEY,)) as (world, address):
        world.learn(("kim", "tea"), ("lou", "tea"), ("kim", "milk"))
        yield address


def run(block: str, folder: Path, *, first: Path | None = None, **given: Any) -> str:
    """Return what a command prints; the programs of the folder ``first`` come first."""
    path = f"{first}:{os.environ['PATH']}" if first else os.environ["PATH"]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace("../streamer", str(ROOT))],
        cwd=folder,
        env=os.environ | {"PATH": path} | given.pop("env", {}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        **given,
    )
    printed: str = done.stdout
    assert done.returncode == 0, f"{block}\n{printed}{done.stderr}"
    return printed


def blocks(section: str, language: str) -> list[tuple[str, str]]:
    """Return the code of a section of the page, each with what is shown below it."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(rf"```{language}\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)
    assert found
    return [(code, shown) for code, shown in found]


def empty_environment(folder: Path) -> Path:
    """Return a virtual environment whose `pip` is ours, so that nothing is in it."""
    found = folder / "environment"
    venv.create(found, symlinks=True)
    pip = found / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {found}/bin/python "$@"\n')
    pip.chmod(0o755)
    return found


def test_what_the_page_says_of_python_is_so_with_what_it_installs_alone(
    url: str, tmp_path: Path
) -> None:
    environment = empty_environment(tmp_path)
    ((install, _),) = blocks("Python", "sh")
    pinned = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    run(install, tmp_path, first=environment / "bin", env=pinned)
    code = [
        (each.replace("http://localhost:8080", url), shown)
        for each, shown in blocks("Python", "python")
    ]
    (tmp_path / "shown.py").write_text(SHOWN)
    python = str(environment / "bin" / "python")
    said = run(
        f"{python} -I shown.py",
        tmp_path,
        env={"STREAMER_API_KEY": KEY},
        input=json.dumps([each for each, _ in code]),
    )
    found = json.loads(said)
    assert [*environment.rglob("streamer_client/py.typed")], "type checkers read its types"
    assert found["shown"] == [shown for _, shown in code]
    assert {*found["installed"]} == {
        "streamer-client",
        "httpx",
        "httpcore",
        "h11",
        "anyio",
        "certifi",
        "idna",
        "typing_extensions",
    } - ({"typing_extensions"} if sys.version_info >= (3, 13) else set())


def test_what_the_page_says_of_javascript_is_so(url: str, node: str, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    ((install, _),) = blocks("JavaScript and TypeScript", "sh")
    run(f"{install.strip()} {COMPILER} --no-audit --no-fund", tmp_path)
    code = blocks("JavaScript and TypeScript", "ts")
    environment = {"STREAMER_URL": url, "STREAMER_API_KEY": KEY}
    whole = "".join(each for each, _ in code).replace("http://localhost:8080", url)
    (tmp_path / "page.js").write_text(whole)
    assert run(f"{node} page.js", tmp_path, env=environment) == "".join(shown for _, shown in code)
    shutil.copy(JAVASCRIPT / "client.test.js", tmp_path)
    assert "# pass 8" in run(
        f"{node} --test --test-reporter tap client.test.js", tmp_path, env=environment
    )
    (tmp_path / "page.ts").write_text(NODE + whole)
    (tmp_path / "wrong.ts").write_text(WRONG)
    for name in ("index.js", "index.d.ts", "openapi.d.ts"):
        shutil.copy(JAVASCRIPT / name, tmp_path)
    run(
        f"{node} node_modules/typescript/bin/tsc --noEmit --strict --checkJs --target es2022"
        " --module nodenext --lib es2022,dom,dom.iterable page.ts wrong.ts index.js",
        tmp_path,
    )
