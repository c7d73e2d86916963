"""Commands of pages are found, run as a reader would, and held to what is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.consoles import File, Shown, Terminal, differences, reader, sections, shape, steps

TIMEOUT_S = 60.0
PAGE = """# A page
```python
# play.py
print(1)
```
## Ask
```console
$ curl -s \\
    here | top
[1]
[2]
$ true
```
```sh
echo 'a' |
  cat
ls  # what is there
```
```toml
# streamer.toml, besides
[mf]
```
```json
{"no": "command"}
```
"""


def test_files_and_commands_are_found_in_their_order() -> None:
    assert [*sections(PAGE)] == ["", "Ask"]
    assert list(steps(PAGE)) == [
        File("play.py", "# play.py\nprint(1)\n", added=False),
        Shown("curl -s \\\n    here | top", "[1]\n[2]\n"),
        Shown("true", ""),
        Shown("echo 'a' |\n  cat"),
        Shown("ls  # what is there"),
        File("streamer.toml", "# streamer.toml, besides\n[mf]\n", added=True),
    ]
    with pytest.raises(AssertionError, match="what printed 'ok'"):
        list(steps("```console\nok\n```\n"))
    assert Shown("import", "Publish? [y/N]: y\ndone\n").typed == "y\n"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("│ a  │ 0.110 │\n", "│ a │ 0.110 │\n"),
        (
            '{"request_id":"%s","ts":1795917561113}\n' % ("a" * 32),
            '{"request_id":"%s","ts":1600000000000}' % ("b" * 32),
        ),
        ("one\n…\nfour\n", "one\ntwo\nthree\nfour\n"),
        ("│ a │ 1 │\n│ … │   │\n│ d │ 4 │\n", "│ a │ 1 │\n│ b │ 2 │\n│ d │ 4 │\n"),
        ("┃ model ┃ µs/event ┃\n│ isgd │ 44 │\n", "┃ model ┃ µs/event ┃\n│ isgd │ 1,044 │\n"),
        ("ready after 6 s\n", "ready after 57 s\n"),
        ("Publish? [y/N]: y\ndone\n", "Publish? [y/N]: done\n"),
        ("", "\n"),
    ],
)
def test_what_is_volatile_or_left_out_is_no_difference(shown: str, printed: str) -> None:
    assert differences(shown, printed) == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("│ a │ 0.110 │\n", "│ b │ 0.110 │\n"),
        ("│ a │ 0.110 │\n", "│ a │ 0.111 │\n"),
        ("│ a │ 44 │\n", "│ a │ 45 │\n"),
        ("HTTP/1.1 207 Multi-Status\n", "HTTP/1.1 422 Unprocessable Entity\n"),
        ("one\n…\nfour\n", "one\ntwo\nthree\n"),
        ("one\n", "one\ntwo\n"),
        ("", "a warning\n"),
        ("one\n", ""),
    ],
)
def test_anything_else_is_one(shown: str, printed: str) -> None:
    assert differences(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('[["mint","popular"]]\n', '[["pu-erh","similar to Mint"]]\n'),
        (
            '{"item_id":"mint","score":0.11,"reason":"similar to Pu Erh","because":"pu-erh"}\n',
            '{"item_id":"pu-erh","score":0.2,"reason":"popular"}\n',
        ),
        ("Pu Erh: place 5 of 26 candidates\n", "Mint: place 1 of 27 candidates\n"),
        ("┏━┓\n┃ item ┃\n│ mint │\n└─┘\n", "┏━━┓\n┃ item ┃\n│ pu-erh │\n│ mint │\n└──┘\n"),
    ],
)
def test_what_is_recommended_is_no_matter_of_its_shape(shown: str, printed: str) -> None:
    names = {"mint", "pu-erh", "Mint", "Pu Erh"}
    assert differences(shape(shown, names), shape(printed, names)) == ""


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ('["mint","pu-erh"]\n', '["mint"]\n'),
        ('["mint"]\n', '["tea"]\n'),
        ('{"item_id":"mint","rank":0}\n', '{"item_id":"mint","rank":1}\n'),
        ("HTTP/1.1 202 Accepted\n", "HTTP/1.1 207 Multi-Status\n"),
        ("┃ item ┃\n", "┃ item ┃ score ┃\n"),
    ],
)
def test_how_many_there_are_and_of_what_fields_is(shown: str, printed: str) -> None:
    names = {"mint", "pu-erh"}
    assert differences(shape(shown, names), shape(printed, names))


def test_a_terminal_keeps_aliases_variables_and_statuses(tmp_path: Path) -> None:
    with Terminal(tmp_path, reader(), timeout_s=TIMEOUT_S) as terminal:
        terminal.run("alias top='tr a-z A-Z'\nexport WORD=tea")
        assert terminal.run("echo $WORD | top") == ("TEA\n", 0)
        assert terminal.run("echo wrong >&2; false") == ("wrong\n", 1)
        assert terminal.run("read -r answer; echo $answer", "y\n") == ("y\n", 0)
        assert terminal.run("read -r answer || echo nothing") == ("nothing\n", 0)
