"""On another backend than TensorFlow every command that needs it says so in a sentence, before anything is written."""

import os
import subprocess
import sys

PROGRAM = """
import os, sys
from davidnet_keras.cli.main import BAD_INPUT, main
before = sorted(os.listdir())
shapes = ["--dataset", "shapes", "--epochs", "1", "--width", "4"]
for command in (shapes, [*shapes, "--runs", "2"], ["lr-find", *shapes[:2]], ["evaluate", "run"],
                ["predict", "run", "a.png"], ["--resume", "run"]):
    assert main(command) == BAD_INPUT, command
assert sorted(os.listdir()) == before
assert main(["plot", "run/history.csv"]) == 0  # by davidnet_callbacks
import davidnet_keras
davidnet_keras.Recipe, davidnet_keras.load_shapes
for name in ("DavidNet", "MomentumSGD", "train", "load_model", "Augmentation", "choose_precision"):
    try: getattr(davidnet_keras, name)
    except ValueError as error: assert "KERAS_BACKEND=tensorflow" in str(error)
    else: raise AssertionError(name)
assert not {"keras", "tensorflow"} & sys.modules.keys()
"""


def test_another_backend_is_one_sentence_and_code_2(tmp_path):
    from PIL import Image
    from run_folders import CONDITIONS, RECIPE

    from davidnet_callbacks.history_file import write_history
    from davidnet_keras.runs.run_folder import RunFolder

    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_recipe(RECIPE, **CONDITIONS)
        write_history(folder.history, {"epoch": [1, 2], "loss": [2.0, 1.0]})
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    sentences = done.stderr.strip().splitlines()
    assert len(sentences) == 6
    assert all("KERAS_BACKEND says jax; set KERAS_BACKEND=tensorflow" in sentence for sentence in sentences)
