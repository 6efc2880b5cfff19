"""`python -m davidnet_keras plot` draws run folders, without waiting for TensorFlow."""

import dataclasses
import subprocess
import sys

import pytest

from davidnet_callbacks.history_file import write_history
from davidnet_keras import Recipe, UserError
from davidnet_keras.cli.main import BAD_INPUT, DONE, main
from davidnet_keras.cli.plot import labelled, runs_in
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series_folder import SeriesFolder


def run(path, accuracy=0.5, **settings):
    """A run folder as training leaves it; its path."""
    with RunFolder.create(path) as folder:
        conditions = {"dataset": "shapes", "data": {"crc32": "0"}, "precision": "float32", "precision_reason": ""}
        folder.write_recipe(dataclasses.replace(Recipe(), **settings), **conditions)
        write_history(folder.history, {"epoch": [1, 2], "loss": [2.0, 1.0], "val_accuracy": [0.1, accuracy]})
    return str(path)


def test_runs_that_differ_in_the_seed_alone_share_a_label(tmp_path):
    runs = [run(tmp_path / f"{cutout}-{seed}", cutout=cutout, seed=seed) for cutout in (0, 8) for seed in (1, 2)]
    assert labelled(runs) == list(zip(["cutout 0", "cutout 0", "cutout 8", "cutout 8"], runs, strict=True))


def test_seeds_of_one_recipe_are_named_after_it_and_a_single_run_after_its_folder(tmp_path):
    runs = [run(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    assert [label for label, _ in labelled(runs)] == ["davidnet", "davidnet"]
    assert [label for label, _ in labelled(runs[:1])] == ["1"]


def test_a_history_of_another_program_stands_for_itself(tmp_path):
    runs = [run(tmp_path / "ours", seed=1), run(tmp_path / "again", seed=2), str(tmp_path / "theirs.csv")]
    assert [label for label, _ in labelled(runs)] == ["davidnet", "davidnet", "theirs"]


def test_a_folder_of_several_seeds_stands_for_its_runs(tmp_path, capsys):
    with SeriesFolder.create(tmp_path / "five") as series:
        series.write(Recipe(seed=3), {"results": []}, runs=3, dataset="shapes", checkpoint_every=None)
    with pytest.raises(UserError, match=r"No run in .*five has finished an epoch"):
        runs_in(tmp_path / "five")
    runs = [run(tmp_path / "five" / f"seed-{seed}", seed=seed) for seed in (3, 4)]  # the third has not begun
    assert runs_in(tmp_path / "five") == runs
    alone = run(tmp_path / "alone", cutout=8)
    assert main(["plot", str(tmp_path / "five"), alone, "--output", str(tmp_path / "runs.png")]) == DONE
    assert capsys.readouterr().out.startswith("3 runs drawn")


def test_the_picture_is_written_without_importing_keras(tmp_path):
    runs = [run(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    output = tmp_path / "new/runs.svg"
    program = (
        "import sys; from davidnet_keras.cli.main import main\n"
        f"code = main(['plot', *{runs!r}, '--output', {str(output)!r}, '--metric', 'val_accuracy'])\n"
        "assert code == 0, code\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"2 runs drawn in {output}"
    assert "<svg" in output.read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nowhere"], "cannot be drawn"),
        (["RUN", "--metric", "f1"], "metrics=['f1']"),
        (["RUN", "--output", "runs.gif"], "output='runs.gif'"),
        (["RUN", "RUN"], "each once"),
        ([], "Name one run folder"),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(tmp_path, capsys, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    folder = run(tmp_path / "run")
    assert main(["plot", *(folder if word == "RUN" else word for word in flags)]) == BAD_INPUT
    printed = capsys.readouterr().err.strip()
    assert words in printed and "\n" not in printed
    assert not (tmp_path / "runs.png").exists()


def test_a_damaged_recipe_is_refused_and_a_whole_one_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = run(tmp_path / "run")
    assert main(["plot", folder]) == DONE
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "run/recipe.json").write_text("{}")
    assert main(["plot", folder]) == BAD_INPUT
    assert "recipe.json" in capsys.readouterr().err
