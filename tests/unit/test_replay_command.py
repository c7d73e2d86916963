"""``streamer replay`` and ``streamer compare``, as they are typed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamer.cli import app
from streamer.commands.written import Written
from streamer.config import FileConfig
from streamer.errors import BadMessage, ConfigError, StreamerError
from streamer.events import encode
from streamer.reports.frame import Origin, head_of
from streamer_producers.datasets import read_with
from tests.html_pages import whole_report
from tests.unit.replay_logs import random_log

Run = Callable[..., str]
TIMINGS = ("elapsed_s", "events_per_s")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder; errors of ours are raised."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), env={"COLUMNS": "160"})
        if isinstance(result.exception, StreamerError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(encode(each) + b"\n" for each in random_log(800, seed=1).events()))
    return path


def result(path: Path) -> Any:
    return json.loads(path.read_text())


def without_timings(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: without_timings(each) for key, each in found.items() if key not in TIMINGS}
    return found


def test_the_result_has_what_was_asked_for(run: Run, log: Path) -> None:
    words = ["--positives", "value>=5", "--k", "5", "--json", "out.json", "--warmup", "0.5"]
    output = run("replay", str(log), "--model", "popularity,mf-bpr:n_factors=4", *words)
    found = result(log.with_name("out.json"))
    assert list(found["metrics"]) == ["popularity", "mf-bpr:n_factors=4"]
    for model in found["metrics"].values():
        assert 0 < model["recall@5"] < 1
        assert {"ndcg@5", "map@5", "mrr", "hit_rate@5", "coverage@5", "novelty@5"} < set(model)
        assert model["precision@5"] == pytest.approx(model["recall@5"] / 5)
        assert 0 < model["gini@5"] < 1
        assert model["events_scored"] == found["events_scored"] > 0
        assert model["events_per_s"] > 0
    assert found["standard_errors"]["popularity"]["recall@5"] > 0
    assert sum(each["events_scored"] for each in found["windows"]) == found["events_scored"]
    assert found["configuration"]["warmup"] == 0.5
    assert 10 < found["users"]["n_users"] <= 20
    assert 0.5 < found["metrics"]["popularity"]["auc"] < 1
    assert found["metrics"]["popularity"]["log_loss"] is None  # counts are no shares
    assert "scores of" in output
    assert "log_loss" not in output  # of neither
    assert all(each["metrics"]["popularity"]["auc"] is not None for each in found["windows"])
    for metric in ("recall@5", "gini@5"):
        assert f"{found['metrics']['popularity'][metric]:.4f}" in output


def test_the_same_log_seed_and_settings_give_the_same_json(run: Run, log: Path) -> None:
    words = ["--model", "popularity,item-cosine,isgd,mf-softmax", "--positives", "value>=4"]
    for name in ("first.json", "second.json"):
        run("replay", str(log), *words, "--json", name)
    first, second = (result(log.with_name(name)) for name in ("first.json", "second.json"))
    assert without_timings(first) == without_timings(second)
    assert first["elapsed_s"] != second["elapsed_s"]
    run("replay", str(log), *words, "--seed", "1", "--json", "third.json")
    assert without_timings(result(log.with_name("third.json"))) != without_timings(first)


def test_other_formats_of_a_log_are_the_same_log(run: Run, log: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [
        f"{row['user_id']},{row['item_id']},{row['ts'] // 1000},{row['value']}" for row in rows
    ]
    (tmp_path / "log.csv").write_text("userId,movieId,at,stars\n" + "\n".join(lines) + "\n")
    mapping = "user_id=userId,item_id=movieId,ts=at:s,value=stars"
    words = ["--positives", "value>=5", "--model", "popularity", "--json"]
    run("replay", str(log), *words, "lines.json")
    run("replay", "log.csv", "--map", mapping, "--type", "rating", *words, "csv.json")
    of_lines, of_csv = (result(tmp_path / name) for name in ("lines.json", "csv.json"))
    assert of_csv["log"]["digest"] == of_lines["log"]["digest"]
    assert without_timings(of_csv["metrics"]) == without_timings(of_lines["metrics"])
    assert "No difference" in run("compare", "lines.json", "csv.json")


def test_malformed_lines_are_counted_unless_strict(run: Run, log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:3], "{broken\n", *lines[3:]]))
    output = run("replay", str(log), "--positives", "value>=5", "--json", "out.json")
    found = result(log.with_name("out.json"))["log"]
    assert found["n_malformed"] == 1
    assert found["malformed"][0].startswith("log.jsonl:4:")
    assert "log.jsonl:4:" in output
    with pytest.raises(BadMessage, match=r"log\.jsonl:4:"):
        run("replay", str(log), "--positives", "value>=5", "--strict")


@pytest.mark.parametrize("kind", ["item", "user"])
def test_malformed_items_and_users_are_counted_too(run: Run, log: Path, kind: str) -> None:
    log.with_name("said.jsonl").write_text(
        f'{{"{kind}_id":"i1","categories":["c"]}}\n{{"title":"x"}}\n'
    )
    words = ["--positives", "value>=5", "--model", "popularity", "--json", "out.json"]
    output = run("replay", str(log), f"--{kind}s", "said.jsonl", *words)
    assert result(log.with_name("out.json"))["log"]["n_malformed"] == 1
    assert "said.jsonl:2:" in output


def test_ratings_have_errors_and_no_warmup(run: Run, log: Path) -> None:
    run("replay", str(log), "--task", "rating", "--scale", "1:5", "--json", "out.json")
    found = result(log.with_name("out.json"))
    assert found["events_scored"] == 800
    assert found["configuration"]["warmup"] == 0
    for model in found["metrics"].values():
        assert 0 < model["mae"] < model["rmse"] < 3
        assert not {"recall@10", "coverage@10"} & set(model)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--task", "ranking"], "'ranking' is none of topk, rating"),
        (["--ties", "none"], "shuffle, file"),
        (["--candidates", "few"], "none of all, sampled:N and served"),
        (["--scale", "5"], "LOW:HIGH"),
        (["--windows", "monthly"], "neither a number of windows"),
        (["--model", "als"], "unknown; choose one of"),
        (["--open"], "add --report"),
        (["--json", "nowhere/out.json"], "can't be written"),
        (["--task", "rating", "--model", "isgd"], "can't do --task rating"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, log: Path, words: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        run("replay", str(log), *words)


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_a_result_does_not_replace_what_is_read(
    run: Run, log: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.commands.replay._replay_once", pytest.fail)  # nothing is read
    items, config = log.with_name("items.jsonl"), log.with_name("streamer.toml")
    items.write_bytes(b'{"item_id": "a"}\n')
    config.write_bytes(b"")
    linked = log.with_name("linked.json")
    linked.hardlink_to(log)
    log.with_name("soft.html").symlink_to(items.name)
    before = log.read_bytes()
    for name in (log.name, "linked.json", "items.jsonl", "soft.html", "streamer.toml"):
        with pytest.raises(ConfigError, match=f"{option} .*{name} is a file that is read"):
            run("replay", str(log), "--items", str(items), option, name)
    assert (log.read_bytes(), items.stat().st_size) == (before, 17)
    with pytest.raises(ConfigError, match="both name out"):
        run("replay", str(log), "--json", "out", "--report", "./out")


@pytest.mark.parametrize("read", ["ml", "ml/ratings.csv"])
def test_files_of_a_folder_that_is_read_are_not_replaced(
    tmp_path: Path, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("ml")
    folder.mkdir()
    for name in ("ratings.csv", "movies.csv", "clicks.json", "former.json"):
        (folder / name).write_bytes(b"x")
    inputs = read_with(read, {"mine": FileConfig(file="clicks.*")})
    with pytest.raises(ConfigError, match=r"movies\.csv is a file of"):
        Written(folder / "movies.csv", None, opened=False, inputs=inputs)
    if read == "ml":
        with pytest.raises(ConfigError, match=r"clicks\.json is a file that is read"):
            Written(folder / "clicks.json", None, opened=False, inputs=inputs)
    Written(folder / "former.json", folder / "new.html", opened=False, inputs=inputs)


def test_a_page_says_its_command_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ["streamer", "replay", "kafka:x", "--bootstrap-servers", "SSL://ann:s3cret@k:1"]
    monkeypatch.setattr("sys.argv", typed)
    origins: list[str] = []

    def page(origin: Origin) -> str:
        origins.append(origin.command)
        return ""

    Written(None, tmp_path / "out.html", opened=False).write(lambda: b"", page)
    assert origins == ["streamer replay kafka:x --bootstrap-servers 'SSL://ann:***@k:1'"]


def test_standard_input_is_not_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(b"user_id,item_id,ts\n")
    run_it = [sys.executable, "-m", "streamer", "replay", "-", "--json", str(log)]
    with log.open("rb") as stdin:
        done = subprocess.run(run_it, stdin=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is a file that is read" in done.stderr
    assert log.read_bytes() == b"user_id,item_id,ts\n"


def test_a_kafka_log_takes_no_mapping_and_needs_a_broker(run: Run) -> None:
    with pytest.raises(ConfigError, match="of files"):
        run("replay", "kafka:events", "--type", "click")
    with pytest.raises(ConfigError, match="bootstrap_servers"):
        run("replay", "kafka:events")


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "n_charts"), [("topk", 5), ("rating", 4)])
def test_the_page_is_whole_by_itself(
    run: Run, log: Path, task: str, n_charts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    typed = ["streamer", "replay", str(log), "--report", "my reports/out.html"]
    monkeypatch.setattr("sys.argv", typed)
    run("replay", str(log), "--task", task, "--report", "out.html", "--open")
    path = log.with_name("out.html")
    assert opened == [path.as_uri()]
    text = path.read_text()
    assert whole_report(text).tags.count("figure") == n_charts
    for metric in ("auc", "log_loss", "graded_ndcg@10"):
        assert (f"<h2>{metric} over time</h2>" in text) == (task == "topk")
    head = head_of(text.encode())
    assert head is not None
    assert (head.kind, head.title) == ("replay", f"Replay of {log.name}")
    assert head.origin.command == f"streamer replay {log} --report 'my reports/out.html'"
    assert escape(head.origin.command) in text


def test_a_league_says_so_and_draws_as_many_models_as_there_are_colours(
    run: Run, log: Path
) -> None:
    words = ["--task", "rating", "--model", "all,running-mean", "--report", "out.html"]
    run("replay", str(log), *words)
    text = log.with_name("out.html").read_text()
    head = head_of(text.encode())
    assert head is not None
    assert (head.kind, head.title) == ("league", f"League on {log.name}")
    assert "<h2>Standing</h2>" in text
    many = ",".join(f"popularity:half_life_events={n}" for n in range(10, 21))
    run("replay", str(log), "--model", many, "--report", "out.html")
    text = log.with_name("out.html").read_text()
    assert "the best 10 of 11 models" in text
    assert text.count('<div class="row">') == 11
    over_time = text.partition("<h2>recall@10 over time</h2>")[2].partition("</figure>")[0]
    assert over_time.count("<polyline") == 10


# --- comparison -----------------------------------------------------------------------------------


def test_other_logs_and_other_events_are_refused(run: Run, log: Path, tmp_path: Path) -> None:
    shorter = tmp_path / "shorter.jsonl"
    shorter.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    words = ["--positives", "value>=5", "--model", "popularity", "--json"]
    run("replay", str(log), *words, "a.json")
    run("replay", str(shorter), *words, "b.json")
    with pytest.raises(ConfigError, match="replay one log in both"):
        run("compare", "a.json", "b.json")
    run("replay", str(log), "--warmup", "0.1", *words, "c.json")
    with pytest.raises(ConfigError, match=r"warmup 0\.3 and 0\.1"):
        run("compare", "a.json", "c.json")
    with pytest.raises(ConfigError, match="no result of streamer replay"):
        run("compare", "a.json", str(log))
    with pytest.raises(ConfigError, match="can't be read"):
        run("compare", "a.json", "nowhere.json")


def test_models_are_compared_by_name_or_as_told(run: Run, log: Path) -> None:
    words = ["--positives", "value>=5", "--json"]
    run("replay", str(log), "--model", "popularity,isgd", *words, "a.json")
    run("replay", str(log), "--model", "isgd,mf-bpr", *words, "b.json")
    same = run("compare", "a.json", "b.json", "--metric", "mrr")
    assert same.count("\n") == 1
    assert "B's isgd" in same
    told = ["--model-a", "popularity", "--model-b", "mf-bpr", "--json"]
    found = json.loads(run("compare", "a.json", "b.json", *told))
    named = ["recall@10", "ndcg@10", "mrr", "auc", "recalled"]
    assert [each["metric"] for each in found] == named
    assert {(each["name_a"], each["name_b"]) for each in found} == {("popularity", "mf-bpr")}
    with pytest.raises(ConfigError, match="name one of each"):
        run("compare", "a.json", "b.json", "--model-a", "popularity")
    with pytest.raises(ConfigError, match="no model 'als'"):
        run("compare", "a.json", "b.json", "--model-b", "als")
    with pytest.raises(ConfigError, match="no sums of 'map@10'"):
        run("compare", "a.json", "b.json", "--metric", "map@10")


def test_a_replay_that_scores_nothing_says_why_and_fails(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "song.csv"
    rows = [f"u,x,{1_760_000_000_000 + at},click" for at in range(50)]
    path.write_text("\n".join(["user_id,item_id,ts,type", *rows]))
    complaint = (
        r"song\.csv: no event was scored; of 50 that could be, 15 were warm-up and 35 repeated"
        r" what their user had consumed before; --repeats keep scores"
    )
    with pytest.raises(ConfigError, match=complaint):
        run("replay", "song.csv", "--model", "popularity")
    with pytest.raises(ConfigError, match=complaint):
        run("replay", "song.csv", "--model", "popularity", "--sweep", "drop=0,0.1")
    keeps = ("replay", "song.csv", "--model", "popularity", "--repeats", "keep")
    assert "35 events scored after" in run(*keeps)
    assert re.search(r"\d events scored, 0.2 of them, drawn, after", run(*keeps, "--scored", "0.2"))
    with pytest.raises(ConfigError, match=r"were warm-up or not drawn .* greater --scored"):
        run(*keeps, "--scored", "0.00001")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "funnel", "--repeats", "keep"], True),
        (["--model", "funnel:recall.again.candidates=50", "--repeats", "keep"], False),
        (["--model", "popularity", "--repeats", "keep"], False),
        (["--model", "funnel"], False),
    ],
)
def test_a_funnel_that_repeats_nothing_says_so_where_repeats_are_scored(
    run: Run, tmp_path: Path, words: list[str], says: bool
) -> None:
    rows = [f"u{at % 3},i{at % 13},{1_760_000_000_000 + at},click" for at in range(60)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,ts,type", *rows]))
    said = run("replay", "log.csv", *words)
    assert ("funnel: recall.again.candidates = 0 recommends nothing" in said) == says


def test_a_replay_says_that_a_log_goes_on_after_today(run: Run, tmp_path: Path) -> None:
    rows = [f"u{at % 9},i{at % 10},{4_000_000_000_000 + at},click" for at in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,ts,type", *rows]))
    words = ["--model", "popularity", "--warmup", "0"]
    assert "last event is of 2096-10-02 07:06 UTC, which is still to come" in run(
        "replay", "log.csv", *words
    )
    past = (tmp_path / "log.csv").read_text().replace(",4000", ",1700")
    (tmp_path / "log.csv").write_text(past)
    assert "still to come" not in run("replay", "log.csv", *words)


def test_a_replay_says_that_the_catalogue_is_of_other_items(run: Run, tmp_path: Path) -> None:
    rows = [f"u{at % 9},i{at % 10},{1_760_000_000_000 + at},click" for at in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,ts,type", *rows]))
    (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"I{n},x\n" for n in range(10)))
    words = ["log.csv", "--model", "popularity", "--items", "items.csv", "--report", "out.html"]
    output = " ".join(run("replay", *words, "--json", "out.json").split())
    (said,) = result(tmp_path / "out.json")["log"]["id_faults"]
    assert "0 of 10 items of the events are in the catalogue, and 10 in another" in said
    assert said in output
    assert escape(said) in (tmp_path / "out.html").read_text()
    (tmp_path / "items.csv").write_text("item_id,title\ni3,x\n")
    assert "in the catalogue" not in run("replay", *words)


def test_a_replay_says_what_it_did_not_score_and_which_values_are_clipped(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "jokes.csv"
    rows = [f"u{at % 9},i{at % 10},{1_760_000_000_000 + at},{at}" for at in range(100)]
    path.write_text("\n".join(["user_id,item_id,ts,value", *rows]))
    words = ["--model", "popularity", "--type", "rating", "--warmup", "0", "--json", "out.json"]
    output = run("replay", "jokes.csv", *words, "--report", "out.html")
    (clipped,) = result(tmp_path / "out.json")["log"]["clipped"]
    assert (clipped["n_clipped"], clipped["n_values"], clipped["value_max"]) == (94, 100, 99.0)
    assert "94 of 100 values of type rating (94%) are beyond 0 to 5" in output
    assert "94 of 100 values of type rating" in (tmp_path / "out.html").read_text()
    assert "events not scored: their users had consumed the item before" in output
    # The value itself is the condition then, and no reward matters.
    positives = run("replay", "jokes.csv", *words, "--positives", "value>=50")
    assert "are beyond" not in positives
