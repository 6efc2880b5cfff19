import os

import numpy as np
import pytest
from PIL import Image
from run_folders import RECIPE, finished_run, tiny_model

from davidnet_keras import SHAPES_CLASSES, UserError, load_shapes, predict_pictures, read_picture
from davidnet_keras.data.class_names import CIFAR10_CLASSES, CIFAR100_CLASSES
from davidnet_keras.runs.checkpoint import Progress
from davidnet_keras.runs.predict import open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run's path and its model; two pictures lie beside the run."""
    path = tmp_path_factory.mktemp("predict")
    model = tiny_model()
    finished_run(path / "run", model)
    for i, picture in enumerate(load_shapes(train=2, test=1)[0][0]):
        Image.fromarray(picture).save(path / f"{i}.png")
    return path / "run", model


@pytest.fixture(scope="module")
def model_of_100():
    return tiny_model(100)


def expected(model, path):
    """The three likeliest classes of a picture, worked out here."""
    logits = np.asarray(model(read_picture(path)[None]), np.float64)[0]
    shares = np.exp(logits) / np.exp(logits).sum()
    return [(SHAPES_CLASSES[i], shares[i]) for i in np.argsort(-shares)[:3]]


def test_the_three_likeliest_classes_with_their_probabilities(run):
    folder, model = run
    paths = [folder.parent / "1.png", folder.parent / "0.png"]
    found = predict_pictures(folder, paths)
    assert [each.picture for each in found] == [str(path) for path in paths]
    for each, path in zip(found, paths, strict=True):
        names, shares = zip(*each.top, strict=True)
        true_names, true_shares = zip(*expected(model, path), strict=True)
        assert names == true_names
        np.testing.assert_allclose(shares, true_shares, rtol=1e-4)
    assert len(predict_pictures(folder, paths[:1], top=10)[0].top) == 10
    assert predict_pictures(folder, []) == []


def test_an_unfinished_run_answers_with_its_newest_checkpoint_and_says_so(tmp_path, run):
    _, model = run
    folder = finished_run(tmp_path / "run", model)
    folder.model.unlink()
    with pytest.raises(UserError, match="has no model"):
        open_run(folder.path)
    folder.save_checkpoint(model, Progress(1), {})
    folder.save_checkpoint(model, Progress(1, 7), {})
    assert open_run(folder.path).source.startswith(f"the checkpoint after 1 epoch and 7 batches of {RECIPE.epochs}")
    folder.checkpoint(1, 7).write_bytes(b"torn")
    assert "after 1 epoch of" in open_run(folder.path).source
    folder.checkpoint(1).write_bytes(b"torn")
    with pytest.raises(UserError, match="No checkpoint"):
        open_run(folder.path)


def test_nothing_is_written_and_a_run_at_work_may_be_looked_at(run):
    folder, _ = run
    before = sorted(os.listdir(folder))
    from davidnet_keras.runs.run_folder import RunFolder

    with RunFolder.open(folder):
        predict_pictures(folder, [folder.parent / "0.png"])
    assert sorted({*os.listdir(folder)} - {".lock"}) == sorted({*before} - {".lock"})


@pytest.mark.parametrize(("dataset", "names"), [("cifar10", CIFAR10_CLASSES), ("cifar100", CIFAR100_CLASSES)])
def test_class_names_are_the_data_sets(tmp_path, run, model_of_100, dataset, names):
    finished_run(tmp_path / "run", run[1] if len(names) == 10 else model_of_100, dataset=dataset)
    (found,) = predict_pictures(tmp_path / "run", [run[0].parent / "0.png"], top=len(names))
    assert {name for name, _ in found.top} == set(names)


def test_a_model_of_other_classes_and_one_of_nans_are_refused(tmp_path, run, model_of_100):
    finished_run(tmp_path / "a", model_of_100)
    with pytest.raises(UserError, match="10 classes"):
        predict_pictures(tmp_path / "a", [run[0].parent / "0.png"])
    model = tiny_model()
    model.get_layer("dense").kernel.assign(model.get_layer("dense").kernel * np.nan)
    finished_run(tmp_path / "b", model)
    with pytest.raises(UserError, match="not finite"):
        predict_pictures(tmp_path / "b", [run[0].parent / "0.png"])
