"""`python -m davidnet_keras evaluate RUN`: how good a run's model is, class by class, and where it goes wrong."""

import csv
import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from davidnet_keras.errors import UserError

MISTAKES = 32  # pictures drawn
MISTAKE = ("index", "true", "predicted", "probability")


class ClassScore(NamedTuple):
    """One class: the share of pictures said to be it that are, the share of its n pictures found. None for 0 of 0."""

    name: str
    precision: float | None
    recall: float | None
    n: int


class Evaluation(NamedTuple):
    """A model's result on its test pictures."""

    accuracy: float
    loss: float  # mean cross-entropy
    per_class: list  # of ClassScore
    confusion: object  # int array (true class, predicted class)
    mistakes: list  # of (index, true name, predicted name, probability of the latter), the surest first
    output: Path  # the folder of the files


@dataclasses.dataclass(frozen=True)
class Options:
    """Test a run's model: accuracy, a table of the classes, pictures of the confusion matrix and the worst mistakes."""

    run: tyro.conf.Positional[Annotated[str, tyro.conf.arg(help="run folder, finished or not", metavar="RUN")]]
    data_dir: Annotated[
        str | None, tyro.conf.arg(help="folder or .tar.gz with CIFAR; None: Keras's cache, filled by a download")
    ] = None
    output: Annotated[str | None, tyro.conf.arg(help="folder to write; None: RUN/evaluation")] = None


def main(argv):
    """Print the result and the names of the files."""
    from davidnet_keras.cli.options import PROGRAM
    from davidnet_keras.kernels.environment import import_training
    from davidnet_keras.runs.run_folder import RunFolder

    options = tyro.cli(Options, prog=f"{PROGRAM} evaluate", args=argv)
    RunFolder(options.run).read_recipe()  # a folder without a run is refused before the seconds that TensorFlow takes
    import_training()
    print(table(evaluate_run(options.run, options.data_dir, options.output)))


def evaluate_run(run_dir, data_dir=None, output=None):
    """Evaluate the model of a run on the test pictures of its data set, and write what was found.

    The folder gets `evaluation.json` (every figure), `classes.csv`, `confusion.png` and `mistakes.png`, each written
    whole or not at all.

    Args:
        run_dir: run folder; an unfinished run's newest checkpoint is taken.
        data_dir: folder or archive with CIFAR, as for `train`. Not used by "shapes".
        output: folder to write. Default: `evaluation` in the run folder.

    Returns:
        `Evaluation`.

    Raises:
        UserError (a ValueError): the run or the data cannot be read, or the folder cannot be written.
    """
    import numpy as np

    from davidnet_keras.data import datasets
    from davidnet_keras.runs.trained_run import open_run

    run = open_run(run_dir)
    dataset = run.conditions["dataset"]
    data = datasets.load(dataset, data_dir)
    pictures, labels = data[1]
    shares = run.probabilities(pictures)
    result = score(shares, labels, run.class_names, Path(output or run.folder.path / "evaluation"))
    loss = -np.log(np.maximum(shares[np.arange(len(labels)), labels], np.finfo(float).tiny))
    result = result._replace(loss=float(loss.mean()))
    print(f"{run.folder.path}: {run.source}", file=sys.stderr)
    if datasets.fingerprint(data) != run.conditions["data"]:
        print(f"These are not the pictures of {dataset} that the run was trained and tested on.", file=sys.stderr)
    try:
        write(result, run, pictures)
    except OSError as error:
        raise UserError(f"The evaluation cannot be written to {result.output} ({error.strerror or error}).") from error
    return result


def score(shares, labels, names, output):
    """The `Evaluation` of class probabilities (n, classes) against labels (n,)."""
    import numpy as np

    predicted = shares.argmax(axis=1)
    confusion = np.zeros((len(names), len(names)), int)
    np.add.at(confusion, (labels, predicted), 1)
    right, said, there = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)

    def share(part, whole):
        return float(part / whole) if whole else None

    per_class = [
        ClassScore(name, share(right[i], said[i]), share(right[i], there[i]), int(there[i]))
        for i, name in enumerate(names)
    ]
    sure = shares.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    mistakes = [(int(i), names[labels[i]], names[predicted[i]], float(sure[i])) for i in wrong]
    return Evaluation(float(right.sum() / len(labels)), 0.0, per_class, confusion, mistakes, output)


def write(result, run, pictures):
    """The four files, each whole or not at all."""
    from davidnet_callbacks import atomic_write
    from davidnet_keras.runs.evaluation_figures import confusion_figure, mistakes_figure

    result.output.mkdir(parents=True, exist_ok=True)
    counted = f"{int(result.confusion.sum()):,} test pictures of {run.conditions['dataset']}"
    with atomic_write(result.output / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(as_json(result, run), indent=1) + "\n")
    with atomic_write(result.output / "classes.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([ClassScore._fields, *result.per_class])
    with atomic_write(result.output / "confusion.png") as temporary:
        title = f"{100 * result.accuracy:.2f} % of {counted} are right"
        confusion_figure(result.confusion, run.class_names, title).savefig(temporary)
    with atomic_write(result.output / "mistakes.png") as temporary:
        drawn = [(pictures[index], *rest) for index, *rest in result.mistakes[:MISTAKES]]
        mistakes_figure(drawn, len(result.mistakes), counted).savefig(temporary)


def as_json(result, run):
    """What evaluation.json holds."""
    return {
        "accuracy": result.accuracy,
        "loss": result.loss,
        "n": int(result.confusion.sum()),
        "dataset": run.conditions["dataset"],
        "model": run.source,
        "per_class": [scored._asdict() for scored in result.per_class],
        "confusion": result.confusion.tolist(),
        "mistakes": [dict(zip(MISTAKE, each, strict=True)) for each in result.mistakes],
    }


def table(result):
    """The result in words and columns."""
    n = int(result.confusion.sum())
    width = max(len("class"), *(len(scored.name) for scored in result.per_class))
    lines = [f"{'class':{width}}  precision  recall       n"]
    for name, precision, recall, count in result.per_class:
        lines.append(f"{name:{width}}  {percent(precision):>9}  {percent(recall):>6}  {count:6,}")
    right = n - len(result.mistakes)
    return "\n".join(
        [
            *lines,
            f"Test accuracy {100 * result.accuracy:.2f} % ({right:,} of {n:,}), loss {result.loss:.4f}; "
            f"pictures in {result.output}: confusion.png, mistakes.png",
        ]
    )


def percent(share):
    return "-" if share is None else f"{100 * share:.1f} %"
