"""How good a run's model is on its test pictures, class by class, and where it goes wrong."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from davidnet_callbacks import atomic_write, plot_confusion, plot_mistakes
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.runs.conditions import load_data
from davidnet_keras.runs.predict import open_run

MISTAKES = 32  # pictures drawn
MISTAKE = ("index", "true", "predicted", "probability")


class ClassScore(NamedTuple):
    """Precision and recall of one class with n test pictures; None for 0 of 0."""

    name: str
    precision: float | None
    recall: float | None
    n: int


class Evaluation(NamedTuple):
    """A model's result on its test pictures."""

    accuracy: float
    loss: float  # mean cross-entropy
    per_class: list[ClassScore]
    confusion: np.ndarray  # int (true class, predicted class)
    mistakes: list[tuple[int, str, str, float]]  # `MISTAKE`, the probability that of the prediction; highest first
    output: Path  # the folder of the files


def evaluate_run(
    run_dir: str | os.PathLike, data_dir: str | os.PathLike | None = None, output: str | os.PathLike | None = None
) -> Evaluation:
    """Evaluate the model of a run on the test pictures of its data set, and write the result.

    The folder gets `evaluation.json` (every figure), `classes.csv`, `confusion.png` and `mistakes.png`, each written
    whole or not at all.

    Args:
        run_dir: run folder; of an unfinished run, the newest checkpoint is used.
        data_dir: folder or archive with CIFAR, as for `train`.
        output: folder to write. Default: `evaluation` in the run folder.

    Raises:
        UserError (a ValueError): the run or the data cannot be read, or the folder cannot be written.
    """
    run = open_run(run_dir)
    data = load_data(run_dir, run.conditions, data_dir)
    pictures, labels = data[1]
    folder = Path(os.path.expanduser(output or run.folder.path / "evaluation"))
    result = score(run.probabilities(pictures), labels, run.class_names, folder)
    print(f"{run.folder.path}: {run.source}", file=sys.stderr)
    if datasets.fingerprint(data) != run.conditions["data"]:
        dataset = run.conditions["dataset"]
        print(f"These are not the pictures of {dataset} that the run was trained and tested on.", file=sys.stderr)
    try:
        _write(result, run, pictures)
    except OSError as error:
        raise UserError(f"The evaluation cannot be written to {result.output} ({error.strerror or error}).") from error
    return result


def score(probabilities, labels, names, output):
    """The `Evaluation` of class probabilities (n, classes) against labels (n,)."""
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, predicted), 1)

    def share(part, whole):
        return float(part / whole) if whole else None

    totals = zip(names, confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1), strict=True)
    per_class = [ClassScore(name, share(right, called), share(right, n), int(n)) for name, right, called, n in totals]
    certainty = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-certainty[wrong], kind="stable")]
    mistakes = [(int(i), names[labels[i]], names[predicted[i]], float(certainty[i])) for i in wrong]
    loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], np.finfo(float).tiny)).mean()
    return Evaluation(float(confusion.trace() / len(labels)), float(loss), per_class, confusion, mistakes, output)


def _write(result, run, pictures):
    """Write the four files, each whole or not at all."""
    result.output.mkdir(parents=True, exist_ok=True)
    n, dataset = int(result.confusion.sum()), run.conditions["dataset"]
    counted = f"{n:,} test pictures of {dataset}"
    content = {"accuracy": result.accuracy, "loss": result.loss, "n": n, "dataset": dataset, "model": run.source}
    content["per_class"] = [scored._asdict() for scored in result.per_class]
    content["confusion"] = result.confusion.tolist()
    content["mistakes"] = [dict(zip(MISTAKE, each, strict=True)) for each in result.mistakes]
    with atomic_write(result.output / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    with atomic_write(result.output / "classes.csv") as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([ClassScore._fields, *result.per_class])
    with atomic_write(result.output / "confusion.png") as temporary:
        title = f"Accuracy {100 * result.accuracy:.2f} % on {counted}"
        plot_confusion(result.confusion, run.class_names, title).savefig(temporary)
    with atomic_write(result.output / "mistakes.png") as temporary:
        drawn = [(pictures[index], *rest) for index, *rest in result.mistakes[:MISTAKES]]
        plot_mistakes(drawn, len(result.mistakes), counted).savefig(temporary)
