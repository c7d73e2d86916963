"""What a benchmark ran on, and where its result goes: enough to run a claim again."""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import psutil


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, help="write the result here")
    made.add_argument("--seed", type=int, default=0, help="of the made-up data")
    return made


def environment(*packages: str) -> dict[str, Any]:
    """Machine, Python and the versions of ``packages``."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "n_cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_1m": os.getloadavg()[0],
            "system": platform.platform(),
        },
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
    }


def write(result: dict[str, Any], path: Path | None) -> None:
    """Print a result, and write it to ``path`` where one is given."""
    text = orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    print(text.decode())
    if path is not None:
        path.write_bytes(text)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
