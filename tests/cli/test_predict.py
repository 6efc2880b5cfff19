"""`python -m davidnet_keras predict` prints a line for every picture, and one for each that it cannot read."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from davidnet_keras import SHAPES_CLASSES, load_shapes, predict_pictures
from davidnet_keras.cli.main import BAD_INPUT, DONE, main
from davidnet_keras.runs import predict

FINISHED = Path(__file__).parents[1] / "fixtures/0.2.0/davidnet"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The path of a finished run, whose model is loaded once; a picture lies beside it."""
    path = tmp_path_factory.mktemp("predict")
    shutil.copytree(FINISHED, path / "run")
    Image.fromarray(load_shapes(train=1, test=1)[0][0][0]).save(path / "0.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "open_run", functools.cache(predict.open_run))
        yield path / "run"


def test_a_line_a_picture(run, capsys):
    folder = run
    path = str(folder.parent / "0.png")
    assert main(["predict", str(folder), path, path]) == DONE
    printed = capsys.readouterr()
    best, share = predict_pictures(str(folder), [path])[0].top[0]
    line, again = printed.out.strip().splitlines()
    assert line == again and line.startswith(f"{path}  {best} {100 * share:.1f} %")
    assert printed.err.strip() == f"{folder}: the finished model"


def test_json_lines(run, capsys):
    folder = run
    assert main(["predict", str(folder), str(folder.parent / "0.png"), "--json", "--fit", "squash"]) == DONE
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["picture"].endswith("0.png") and len(found["top"]) == 3
    assert {each["class"] for each in found["top"]} <= set(SHAPES_CLASSES)


def test_good_pictures_are_answered_beside_bad_ones_and_the_code_is_2(run, capsys, tmp_path):
    folder = run
    (tmp_path / "bad.png").write_text("hello")
    good = str(folder.parent / "0.png")
    assert main(["predict", str(folder), str(tmp_path / "bad.png"), good, str(tmp_path)]) == BAD_INPUT
    printed = capsys.readouterr()
    assert printed.out.startswith(good) and len(printed.out.splitlines()) == 1
    refusals = [line for line in printed.err.splitlines() if line.startswith("davidnet_keras: ")]
    assert len(refusals) == 2 and "bad.png" in refusals[0] and "is a folder" in refusals[1]


@pytest.mark.parametrize("arguments", [["x"], ["x", "none.png"], ["/none", "{good}"]])
def test_nothing_to_do_is_one_sentence(run, capsys, arguments):
    good = str(run.parent / "0.png")
    assert main(["predict", *(word.format(good=good) for word in arguments)]) == BAD_INPUT
    printed = capsys.readouterr()
    assert not printed.out and len(printed.err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_help_does_not_import_tensorflow(command):
    program = (
        f"import sys; sys.argv = ['davidnet', '{command}', '--help']\n"
        "from davidnet_keras.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "assert code == 0, code\n"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'numpy', 'PIL'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "RUN" in done.stdout


def test_the_scale_that_was_taken_for_floats_is_said(run, capsys, tmp_path):
    Image.fromarray(np.full((40, 40), 0.5, np.float32)).save(tmp_path / "x.tif")
    assert main(["predict", str(run), str(tmp_path / "x.tif")]) == DONE
    assert "x.tif does not say which grey is white; 1 was taken." in capsys.readouterr().err
