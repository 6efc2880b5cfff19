"""The folder of a series: runs of one recipe that differ in the seed."""

import json
from dataclasses import asdict
from pathlib import Path

from davidnet_callbacks import atomic_write
from davidnet_keras.data import datasets
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import Recipe
from davidnet_keras.runs.run_folder import RunFolder, check_every

MAX_SERIES = 1 << 24  # bytes of runs.json; a run adds about 150
MAX_RUNS = 10_000


class SeriesFolder(RunFolder):
    """A series' files, with the guarantees of a run's.

    Args:
        path: the folder; `create` makes it, `open` takes up one that holds a series.

    Files: runs.json, runs.png (once a run is finished), and seed-0, seed-1, ...: each the folder of a run.
    """

    def __init__(self, path):
        super().__init__(path)
        self.runs, self.picture = self.path / "runs.json", self.path / "runs.png"

    @classmethod
    def is_there(cls, path):
        """Whether the folder holds a series."""
        return (Path(path) / "runs.json").is_file()

    def _check_there(self):
        if not self.is_there(self.path):
            raise UserError(f"There are no runs in {self.path} (no runs.json); name the folder of a series.")

    def run(self, seed):
        """The folder of a seed's run."""
        return RunFolder(self.path / f"seed-{seed}")

    def write(self, recipe, results, **plan):
        """runs.json: the recipe of the first run, what else was asked for, and what came of the runs so far."""
        text = json.dumps({"recipe": asdict(recipe), **plan, **results}, indent=2)
        with atomic_write(self.runs) as temporary:
            temporary.write_text(text + "\n")

    def read_recipe(self):
        """(Recipe of the first run, {"runs", "dataset", "checkpoint_every"}); UserError for a file without them."""
        self._check_there()
        try:
            if self.runs.stat().st_size > MAX_SERIES:
                raise ValueError(f"it is larger than {MAX_SERIES:,} bytes")
            content = json.loads(self.runs.read_text())
            recipe = Recipe(**content["recipe"])
            plan = {name: content[name] for name in ("runs", "dataset", "checkpoint_every")}
            check_runs(plan["runs"])
            check_every(plan["checkpoint_every"])
            if plan["dataset"] not in datasets.names():
                raise ValueError(f"its dataset is none of {', '.join(datasets.names())}")
            return recipe, plan
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.runs} is not a series that this version wrote ({reason}); start anew.") from None


def check_runs(n):
    """UserError unless it is a number of runs."""
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_RUNS:
        raise UserError(f"A series has 1 run or more, {MAX_RUNS:,} at most. Received: runs={n!r}")
