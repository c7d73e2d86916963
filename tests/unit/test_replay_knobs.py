"""The knobs of production: what models learn late, in disorder or never, and sweeps over it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.screen import output as screen
from streamer.errors import ConfigError, StreamerError
from streamer.events import Item, encode
from streamer.replay.interactions import UNKNOWN, Interaction
from streamer.replay.knobs import Knobs, turned
from streamer.replay.knobs_delivery import Delivered
from streamer.replay.settings import Settings
from streamer.replay.sweep import parse_sweep
from tests.unit.replay_logs import DAY_MS, event, means, random_log, replayed

SECOND_MS = 1_000
MODELS = (
    "popularity,popularity:half_life=7d,item-cosine,isgd,mf-softmax,biased-mf,channel:next,"
    "nightly:ease"
)


class Heard:
    """A model that remembers what it was told, and when predictions would see it."""

    def __init__(self) -> None:
        self.learned: list[Interaction] = []
        self.syncs: list[tuple[int, int]] = []

    def learn(self, interaction: Interaction) -> None:
        self.learned.append(interaction)

    def sync(self, at_ms: int) -> None:
        self.syncs.append((at_ms, len(self.learned)))

    def score(self, user_row: int, ts_ms: int, n_items: int) -> NDArray[np.float64]:
        return np.arange(n_items, dtype=np.float64) + 100.0 * user_row


def sent(knobs: Knobs, times_ms: list[int], *, seed: int = 0) -> tuple[Heard, Delivered]:
    """Events of as many users and items, sent on their way."""
    heard = Heard()
    delivered = Delivered(heard, knobs, seed=seed)
    for row, ts in enumerate(times_ms):
        each = event(f"u{row}", f"i{row}", ts)
        delivered.learn(Interaction(number=row, event=each, user_row=row, item_row=row, reward=1.0))
    return heard, delivered


def test_at_rest_events_are_learned_before_the_next_prediction() -> None:
    heard, delivered = sent(Knobs(), [5, 5, 7])
    delivered.advance(5)
    assert [each.event.ts for each in heard.learned] == [5, 5]
    delivered.advance(7)
    assert heard.syncs == [(5, 2), (7, 3)]


def test_what_arrives_before_a_sync_is_seen_after_it() -> None:
    heard, delivered = sent(Knobs(sync_interval_ms=SECOND_MS), [10, 999, 1_000, 1_500, 5_200])
    delivered.advance(999)
    assert heard.learned == []
    delivered.advance(1_000)
    assert heard.syncs == [(1_000, 2)]
    delivered.advance(7_000)
    assert heard.syncs == [(1_000, 2), (2_000, 4), (6_000, 5)]


def test_labels_arrive_later_by_their_delay() -> None:
    heard, delivered = sent(Knobs(label_delay_ms=100, sync_interval_ms=SECOND_MS), [850, 950])
    delivered.advance(1_049)
    assert len(heard.learned) == 1
    delivered.advance(2_000)
    assert heard.syncs == [(1_000, 1), (2_000, 2)]


def test_disorder_lets_events_overtake_each_other_within_its_span() -> None:
    times_ms = [100 * n for n in range(200)]
    heard, delivered = sent(Knobs(disorder_ms=SECOND_MS), times_ms)
    last_ms = 0
    for now_ms in times_ms:
        delivered.advance(now_ms)
    delivered.advance(times_ms[-1] + SECOND_MS)
    order = [each.event.ts for each in heard.learned]
    assert sorted(order) == times_ms
    assert order != times_ms
    for ts in order:
        assert ts > last_ms - SECOND_MS
        last_ms = max(last_ms, ts)
    again, delivered = sent(Knobs(disorder_ms=SECOND_MS), times_ms)
    delivered.advance(10**9)
    assert again.learned == heard.learned
    other, delivered = sent(Knobs(disorder_ms=SECOND_MS), times_ms, seed=1)
    delivered.advance(10**9)
    assert other.learned != heard.learned


def test_a_share_is_lost_and_the_rest_keeps_its_order() -> None:
    heard, delivered = sent(Knobs(drop=0.25), list(range(4_000)))
    delivered.advance(10**9)
    assert abs(len(heard.learned) - 3_000) < 4 * (4_000 * 0.25 * 0.75) ** 0.5
    assert [each.number for each in heard.learned] == list(range(len(heard.learned)))
    times = [each.event.ts for each in heard.learned]
    assert times == sorted(times)


def test_rows_are_those_of_what_has_arrived() -> None:
    heard, delivered = sent(Knobs(drop=0.5), list(range(20)))
    delivered.advance(100)
    arrived = [each.event.ts for each in heard.learned]
    assert 0 < len(arrived) < 20
    assert [each.item_row for each in heard.learned] == list(range(len(arrived)))
    user = arrived[-1]
    scores = delivered.score(user, 100, 20)
    expected = np.full(20, -np.inf)
    expected[arrived] = np.arange(len(arrived)) + 100.0 * (len(arrived) - 1)
    assert scores.tolist() == expected.tolist()
    lost = next(row for row in range(20) if row not in arrived)
    assert delivered.score(lost, 100, 20)[arrived[0]] == 100.0 * UNKNOWN


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(sync_interval_ms=10 * DAY_MS),
        Knobs(label_delay_ms=3 * DAY_MS, disorder_ms=5 * DAY_MS, drop=0.2),
    ],
)
def test_every_model_bears_what_production_does(knobs: Knobs) -> None:
    log = random_log(600, seed=3)
    settings = Settings(positives="value>=3", knobs=knobs)
    late = replayed(log, MODELS, settings)
    at_once = replayed(log, MODELS, Settings(positives="value>=3"))
    assert late.tally.n_scored == at_once.tally.n_scored
    assert late.n_learned == at_once.n_learned
    for model in range(len(late.names)):
        assert 0 < means(late, model)["recall@10"] < 1
        assert means(late, model) != means(at_once, model), late.names[model]


def test_ratings_are_predicted_from_what_has_arrived() -> None:
    log = random_log(300, seed=4)
    knobs = Knobs(sync_interval_ms=1_000 * DAY_MS)
    stale = replayed(log, "running-mean", Settings(task="rating", warmup=0.0, knobs=knobs))
    constant = replayed(log, "running-mean:first=0", Settings(task="rating", warmup=0.0))
    values = np.array([each.value for each in log.events()])
    assert means(stale)["squared_error"] == pytest.approx(float(((1 - values) ** 2).mean()))
    assert means(constant)["squared_error"] < means(stale)["squared_error"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("sync-interval", "5", "no duration"),
        ("drop", "1", "below 1"),
        ("drop", "few", "could not convert"),
        ("crash-every", "-1", "at least 1, or 0"),
        ("partitions", "0", "from 1 to 1024"),
        ("weather", "1", "is no knob"),
    ],
)
def test_what_no_knob_can_be_is_refused(name: str, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        turned(Knobs(), name, text)


@pytest.mark.parametrize("text", ["drop", "drop=0.1", "drop=0.1,0.1", "weather=1,2"])
def test_what_no_sweep_can_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="knob"):
        parse_sweep(text, Knobs())


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})
    if isinstance(result.exception, StreamerError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_sweep_is_one_table_and_one_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [encode(each) + b"\n" for each in random_log(600, seed=1).events()]
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines))
    words = ["replay", "log.jsonl", "--positives", "value>=3", "--model", "popularity,isgd"]
    output = run(
        *words,
        *("--sweep", "sync-interval=0,10d,600d", "--label-delay", "1d"),
        *("--json", "out.json", "--report", "out.html"),
    )
    found = json.loads((tmp_path / "out.json").read_bytes())
    assert found["knob"] == "sync-interval"
    assert [each["value"] for each in found["runs"]] == ["0", "10d", "600d"]
    knobs = [each["result"]["configuration"]["knobs"] for each in found["runs"]]
    assert [each["sync_interval_ms"] for each in knobs] == [0, 10 * DAY_MS, 600 * DAY_MS]
    assert {each["label_delay_ms"] for each in knobs} == {DAY_MS}
    recalls = [each["result"]["metrics"]["popularity"]["recall@10"] for each in found["runs"]]
    assert recalls[2] < recalls[0]
    page = (tmp_path / "out.html").read_text()
    assert page.count("<svg") == 1
    for recall in recalls:
        assert f"{recall:.4f}" in output
        assert f"<td>{recall:.4f}</td>" in page
    alone = ["--sync-interval", "10d", "--label-delay", "1d", "--json", "alone.json"]
    run(*words, *alone)
    same = json.loads((tmp_path / "alone.json").read_bytes())["metrics"]["isgd"]
    swept = found["runs"][1]["result"]["metrics"]["isgd"]
    assert same | {"events_per_s": 0} == swept | {"events_per_s": 0}


def test_knobs_of_the_funnel_need_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(encode(e) + b"\n" for e in random_log(50, seed=1).events()))
    for knob in (["--crash-every", "10"], ["--partitions", "3"]):
        with pytest.raises(ConfigError, match=f"{knob[0]} is of --model funnel"):
            run("replay", str(path), "--model", "popularity", *knob)


def test_a_key_of_the_configuration_is_swept_and_its_trade_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(screen, "width", 160)  # wherever it was made
    log = random_log(300, seed=1)
    Path("log.jsonl").write_bytes(b"".join(encode(each) + b"\n" for each in log.events()))
    names = sorted({each.item_id for each in log.events()})
    items = [Item(item_id=each, categories=[f"c{n % 2}"]) for n, each in enumerate(names)]
    Path("items.jsonl").write_bytes(b"".join(encode(each) + b"\n" for each in items))
    words = ["replay", "log.jsonl", "--items", "items.jsonl", "--positives", "value>=3"]
    output = run(
        *words,
        *("--model", "funnel:recall.session.factors=4", "--warmup", "0.7", "--k", "3"),
        *("--sweep", 'slate.caps=[],["categories<=1 in 2", "tags<=1"]'),
        *("--json", "out.json", "--report", "out.html"),
    )
    found = json.loads(Path("out.json").read_bytes())
    (off, capped) = (each["result"] for each in found["runs"])
    assert found["knob"] == "slate.caps"
    assert off["configuration"]["keys"] == {"slate.caps": "[]"}
    (metrics,) = capped["metrics"].values()
    (before,) = off["metrics"].values()
    assert metrics["diversity@3"] > before["diversity@3"]
    page = Path("out.html").read_text()
    assert page.count("<svg") == 2
    assert "What slate.caps trades for what" in page
    for name in ("recall@3", "ndcg@3", "diversity@3", "coverage@3", "novelty@3", "calibration@3"):
        assert f"{metrics[name]:.4f}" in output
        assert f"<td>{metrics[name]:.4f}</td>" in page


@pytest.mark.parametrize(
    ("sweep", "complaint"),
    [
        ("slate.weather=0,1", "no key that matters"),
        ("slate.diversity=0", "two values or more"),
        ("slate.diversity=0,2", r"slate\.diversity"),
        ("slate.diversity=0,0.5", "is of --model funnel"),
    ],
)
def test_what_no_sweep_of_a_key_can_be_is_refused(
    tmp_path: Path, sweep: str, complaint: str
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(encode(e) + b"\n" for e in random_log(50, seed=1).events()))
    with pytest.raises(ConfigError, match=complaint):
        run("replay", str(path), "--model", "popularity", "--sweep", sweep)
