"""Compiled kernels of processes that compile at once: each finds its own, or compiles again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numba.core.caching import IndexDataCacheFile

import streamer_models.state  # noqa: F401 - which names files apart


@pytest.mark.parametrize("other_knows_the_index", [False, True])
def test_two_that_write_at_once_do_not_take_each_others_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_knows_the_index: bool
) -> None:
    make: Any = IndexDataCacheFile
    one, other = (make(str(tmp_path), "kernel", "stamp") for _ in range(2))
    write = one._save_data

    def write_behind_the_other(name: str, data: Any) -> None:
        if not other_knows_the_index:
            monkeypatch.setattr(other, "_load_index", dict)  # read before this one wrote it
        other.save("its types", "its code")
        monkeypatch.undo()
        write(name, data)

    monkeypatch.setattr(one, "_save_data", write_behind_the_other)
    one.save("types", "code")
    assert one.load("its types") == "its code"
    assert one.load("types") == ("code" if other_knows_the_index else None)
    one.save("types", "code")
    assert (other.load("types"), other.load("its types")) == ("code", "its code")
