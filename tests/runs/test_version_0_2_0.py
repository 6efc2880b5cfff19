"""Runs that version 0.2.0 wrote: finished ones of both recipes, and one that was interrupted inside epoch 1."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from davidnet_keras import DavidNet, FastNet, evaluate_run, load_model, load_shapes, predict_pictures, resume
from davidnet_keras.data.datasets import SHAPES_CLASSES
from davidnet_keras.runs.run_folder import RunFolder

SLOW = pytest.mark.slow
RUNS = Path(__file__).parents[1] / "fixtures" / "0.2.0"
FINISHED = {  # run: network, accuracy and loss that version 0.2.0's `evaluate` found
    "davidnet": (DavidNet, 0.104, 2.3079759389069614),
    "fast": (FastNet, 0.152, 2.291212939838646),  # over six views of each picture
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures of the data set's test set, enlarged."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(3)]
    for path, pixels in zip(paths, load_shapes()[1][0], strict=False):
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(path)
    return paths


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_run_is_evaluated_with_the_figures_of_then(name, tmp_path):
    kind, accuracy, loss = FINISHED[name]
    result = evaluate_run(RUNS / name, output=tmp_path)
    assert (result.accuracy, result.loss) == (pytest.approx(accuracy, abs=1e-4), pytest.approx(loss, abs=1e-4))
    assert isinstance(load_model(RUNS / name / "model.keras"), kind)


@pytest.mark.parametrize("name", [*FINISHED, "davidnet-interrupted"])
def test_a_run_names_what_it_sees(name, pictures):
    found = predict_pictures(RUNS / name, pictures, top=10)
    assert len(found) == 3
    for _, top in found:
        assert {word for word, _ in top} == set(SHAPES_CLASSES)
        assert sum(share for _, share in top) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:The run continues, but not to the bits")  # of other versions or another machine
def test_an_interrupted_run_goes_on_to_the_end_of_the_undisturbed_one(tmp_path):
    shutil.copytree(RUNS / "davidnet-interrupted", tmp_path / "run")
    assert RunFolder(tmp_path / "run").saved() == [(0, 4)]
    history = resume(tmp_path / "run", progress=False).history
    undisturbed = {
        "loss": [2.318474769592285, 2.3001484870910645],
        "val_loss": [2.3089523315429688, 2.3036186695098877],
    }
    for name, values in undisturbed.items():
        assert history[name] == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize(
    ("statement", "runs"),
    [
        ("from davidnet_keras import load_model", ["davidnet", "fast"]),
        pytest.param(
            "from davidnet_keras import DavidNet; from keras.saving import load_model", ["davidnet"], marks=SLOW
        ),
        pytest.param("from davidnet_keras import FastNet; from keras.saving import load_model", ["fast"], marks=SLOW),
    ],
)
def test_a_new_process_loads_the_model_with_its_optimizer(statement, runs):
    paths = [str(RUNS / name / "model.keras") for name in runs]
    program = f"{statement}\nfor path in {paths}: print(type(load_model(path).optimizer).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    expected = {"davidnet": "MomentumSGD", "fast": "Muon"}
    assert done.stdout.split() == [expected[name] for name in runs], done.stderr
