"""Every command that the documentation shows can be parsed with today's flags. Nothing is run."""

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from davidnet_keras.cli.main import COMMANDS
from davidnet_keras.cli.options import Parser

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"python -m davidnet_keras(?![.\w])")
BLOCK = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"\d?[|<>&;].*")  # a word that ends the command's own


def pages():
    """(name, text) of each page and of each notebook's cells, code as a block."""
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md"), ROOT / "callbacks/README.md"]):
        yield path.relative_to(ROOT), path.read_text()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            text = "".join(cell["source"])
            yield path.relative_to(ROOT), text if cell["cell_type"] == "markdown" else f"```\n{text}\n```"


def commands(text):
    """The arguments of every command in a page's blocks, one a line, and in its inline code."""
    text = text.replace("\\\n", " ")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    for line in [*lines, *re.findall(r"`([^`]+)`", BLOCK.sub("", text))]:
        found = PROGRAM.search(line)
        if found:
            words = shlex.split(re.sub(r"[\[\]]", "", line[found.end() :]), comments=True)
            yield words[: next((i for i, word in enumerate(words) if SHELL.fullmatch(word)), None)]


SHOWN = [pytest.param(argv, id=f"{name}: {shlex.join(argv)}") for name, text in pages() for argv in commands(text)]


def test_a_command_is_found_wherever_it_stands():
    page = """Say `python -m davidnet_keras evaluate RUN
[--output FOLDER]`, or davidnet_keras alone.

```
$ KERAS_HOME=x python -m davidnet_keras --epochs 3 \\
    --run-dir runs/a 2>&1 | tee log  # a note
python -m davidnet_keras.other
```
"""
    assert list(commands(page)) == [["--epochs", "3", "--run-dir", "runs/a"], ["evaluate", "RUN", "--output", "FOLDER"]]


class Parsed(Exception):
    """The arguments of a command were accepted."""


@pytest.mark.parametrize("argv", SHOWN)
def test_every_command_that_is_shown_has_todays_flags(argv, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where the runs that it names do not exist
    command = "train" if not argv or argv[0].startswith("-") else argv[0]
    assert command in ("train", *COMMANDS)
    if "--help" in argv:
        argv = [word for word in argv if word != "--help"]
    module = importlib.import_module(f"davidnet_keras.cli.{command.replace('-', '_')}")
    arguments = argv if command == "train" else argv[1:]
    if hasattr(module, "parse"):  # with the recipe, whose settings are checked too
        module.parse(arguments)
        return
    parse = Parser.parse

    def parse_only(parser):
        raise Parsed(parse(parser))

    monkeypatch.setattr(Parser, "parse", parse_only)
    with pytest.raises(Parsed):
        module.main(arguments)


def test_the_documentation_shows_every_command():
    shown = {param.values[0][0] for param in SHOWN if param.values[0]}
    assert {"--recipe", "--resume", *COMMANDS} <= shown
