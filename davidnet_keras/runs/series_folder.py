"""The folder of a series: runs of one recipe that differ in the seed."""

import os
from dataclasses import asdict
from pathlib import Path

from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError, whole_number
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.run_folder import RunFolder, check_checkpoint_every, read_json, write_json

_MAX_BYTES = 1 << 24  # of runs.json; a run adds about 150
_MAX_RUNS = 10_000
_SAME = {"data": "the pictures' checksum", "precision": "precision"}  # conditions that all runs share


class SeriesFolder(RunFolder):
    """A series' files, with the guarantees of a run's.

    Args:
        path: the folder; `create` makes it, `open` takes one that holds a series.

    Files: runs.json, runs.png (once a run is finished), and seed-0, seed-1, ...: each the folder of a run.
    """

    def __init__(self, path):
        super().__init__(path)
        self.runs, self.picture = self.path / "runs.json", self.path / "runs.png"

    @classmethod
    def exists(cls, path):
        """Return whether the folder holds a series."""
        return (Path(os.path.expanduser(path)) / "runs.json").is_file()

    def _check_exists(self):
        if not self.exists(self.path):
            raise UserError(f"There are no runs in {self.path} (no runs.json); name the folder of a series.")

    def run(self, seed):
        """Return the `RunFolder` of a seed."""
        return RunFolder(self.path / f"seed-{seed}")

    def write(self, recipe, results, **plan):
        """Write runs.json: the first run's recipe, the results so far, and the plan (see `read_recipe`)."""
        write_json(self.runs, {"recipe": asdict(recipe), **plan, **results})

    def read_recipe(self):
        """Return `(Recipe of the first run, {"runs", "dataset", "checkpoint_every"})`. UserError: there are none."""
        self._check_exists()
        return read_json(self.runs, "series", _recipe_and_plan, "start anew", _MAX_BYTES)


def _recipe_and_plan(content):
    plan = {name: content[name] for name in ("runs", "dataset", "checkpoint_every")}
    check_runs(plan["runs"])
    check_checkpoint_every(plan["checkpoint_every"])
    datasets.check_name(plan["dataset"])
    return Recipe(**content["recipe"]), plan


def check_runs(n):
    """Return the number of runs in a series. UserError: it is none."""
    return whole_number("runs", n, 1, _MAX_RUNS)


def check_repetitions(runs, recipe, dataset):
    """Raise UserError for a run that does not repeat the others, which would make their mean meaningless."""
    free = ("seed", "precision") if recipe.precision == "auto" else ("seed",)
    expected = {name: value for name, value in asdict(recipe).items() if name not in free}
    expected["dataset"] = dataset
    first = None
    for run in runs:
        begun, conditions = run.read_recipe()
        found = asdict(begun) | {name: conditions[name] for name in ("dataset", "precision")}
        other = [name for name in expected if found[name] != expected[name]]
        if other:
            raise UserError(
                f"{run.path} was trained with another {' and '.join(other)} than its series; move it away, and "
                "--resume trains that seed again."
            )
        first = first or conditions
        other = [words for name, words in _SAME.items() if conditions[name] != first[name]]
        if other:
            raise UserError(
                f"{runs[0].path} and {run.path} differ in {' and '.join(other)}, so their mean is meaningless; move "
                "one of them away, and --resume trains that seed again."
            )
