"""`python -m davidnet_keras evaluate` prints a table of the classes and writes the evaluation's files."""

import functools

import pytest
from run_folders import finished_run, tiny_model

from davidnet_keras import SHAPES_CLASSES, load_shapes
from davidnet_keras.cli.main import BAD_INPUT, DONE, main
from davidnet_keras.data import datasets, shapes
from davidnet_keras.runs import evaluate

FILES = ["classes.csv", "confusion.png", "evaluation.json", "mistakes.png"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The path of a finished run on a few pictures."""
    pictures = load_shapes(train=16, test=48)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "load_shapes", lambda: pictures)
        path = tmp_path_factory.mktemp("evaluate") / "run"
        finished_run(path, tiny_model(), data=datasets.fingerprint(pictures))
        patch.setattr(evaluate, "open_run", functools.cache(evaluate.open_run))  # loaded once
        yield path


def test_the_command_prints_a_table_and_the_accuracy(run, capsys):
    assert main(["evaluate", str(run), "--output", str(run / "other")]) == DONE
    printed = capsys.readouterr()
    lines = printed.out.strip().splitlines()
    assert lines[0].split() == ["class", "precision", "recall", "n"]
    assert [line.split()[0] for line in lines[1:-1]] == list(SHAPES_CLASSES)
    assert lines[-1].startswith("Test accuracy ") and "of 48)" in lines[-1]
    assert sorted(path.name for path in (run / "other").iterdir()) == FILES
    assert "These are not" not in printed.err


def test_what_cannot_be_evaluated_is_refused(run, capsys, tmp_path):
    (tmp_path / "file").write_text("precious")
    for arguments in (["/none"], [str(run), "--output", str(tmp_path / "file")]):
        assert main(["evaluate", *arguments]) == BAD_INPUT
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("davidnet_keras")]
        assert line.endswith(".")
    assert (tmp_path / "file").read_text() == "precious"
