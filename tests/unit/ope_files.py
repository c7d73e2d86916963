"""Logs of bandit feedback as files: made up, and the real ones where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.events import Decision, Event, encode, pack_features
from streamer_models.bandits.slates import draw_plackett_luce

DATA = Path(os.environ.get("STREAMER_DATA") or Path(__file__).parents[3] / "shared" / "data")
OBD = DATA / "obd-small"
MAB = DATA / "mab-10x100"
needs_obd = pytest.mark.skipif(not OBD.exists(), reason=f"no {OBD}: see STREAMER_DATA")
needs_mab = pytest.mark.skipif(not MAB.exists(), reason=f"no {MAB}: see STREAMER_DATA")

START_MS = 1_750_000_000_000
OBD_HEADER = (
    ",timestamp,item_id,position,click,propensity_score,user_feature_0,"
    "user-item_affinity_0,user-item_affinity_1,user-item_affinity_2"
)
CLICK_RATES = np.array([0.1, 0.5, 0.9])
ITEMS = ("a", "b", "c")


def obd_line(
    item: object = 0,
    position: int = 1,
    click: object = 0,
    propensity: object = 0.5,
    user: str = "u",
) -> str:
    time = "2019-11-24 00:00:34.762830+00:00"
    return f"0,{time},{item},{position},{click},{propensity},{user},0.0,1.5,0.25"


def write_obd(folder: Path, lines: Sequence[str], header: str = OBD_HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "all.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "item_context.csv").write_text("item_id\n0\n1\n2\n")
    return folder


def small_log(tmp_path: Path) -> Path:
    """60 rows of three items in two positions, drawn uniformly, and a malformed line."""
    lines = [obd_line(i % 3, 1 + i % 2, int(i % 5 == 0), 1 / 3) for i in range(60)]
    return write_obd(tmp_path / "all", [*lines, "broken"])


def decision(request: str, items: Sequence[str], **changes: Any) -> Decision:
    """A slate of ``items`` out of a, b, c, each slot drawn uniformly from what is left."""
    fields: dict[str, Any] = {
        "request_id": request,
        "user_id": "user",
        "ts": START_MS,
        "items": list(items),
        "positions": list(range(len(items))),
        "propensities": [1 / (3 - slot) for slot in range(len(items))],
        "policy": "uniform",
        "policy_parameters": {},
        "seed": 0,
        "model_version": "1",
        "candidates": list(ITEMS),
        "feature_names": ["one", "number"],
        "features": pack_features(np.array([[1, 0], [1, 1], [1, 2]], dtype=np.float32)),
    }
    return Decision(**{**fields, **changes})


def event(request: str | None, item: str, kind: str = "click", **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "event_id": f"{request}-{item}-{kind}",
        "type": kind,
        "user_id": "user",
        "item_id": item,
        "ts": START_MS + 1_000,
        "request_id": request,
    }
    return Event(**{**fields, **changes})


def write_decisions(
    folder: Path, decisions: Sequence[Decision | bytes], events: Sequence[Event | bytes]
) -> Path:
    folder.mkdir(exist_ok=True)
    files: Mapping[str, Sequence[Decision | Event | bytes]] = {
        "decisions": decisions,
        "events": events,
    }
    for name, messages in files.items():
        lines = [each if isinstance(each, bytes) else encode(each) for each in messages]
        (folder / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def simulated_slates(n: int, seed: int = 5) -> tuple[list[Decision], list[Event]]:
    """Slates of two of three items, drawn with preferences; clicks by ``CLICK_RATES``."""
    rng = np.random.default_rng(seed)
    decisions, events = [], []
    for number in range(n):
        draw = draw_plackett_luce(np.array([1.0, 0.5, 0.0]), 2, number, temperature=1.0)
        shown = [ITEMS[place] for place in draw.order]
        name = f"r{number}"
        decisions.append(decision(name, shown, propensities=draw.propensities.tolist()))
        events += [
            event(name, ITEMS[place]) for place in draw.order if rng.random() < CLICK_RATES[place]
        ]
    return decisions, events
