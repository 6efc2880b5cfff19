"""The folder that a run writes: which files, in which order, and how a run is found again."""

import json
import re
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import filelock

from davidnet_callbacks import atomic_write
from davidnet_callbacks.atomic import TEMPORARY, remove_leftovers
from davidnet_keras.data import datasets
from davidnet_keras.errors import FolderInUse, UserError
from davidnet_keras.recipe import Precision, Recipe

CONDITIONS = ("dataset", "data", "precision", "precision_reason")  # what a resumed run needs beside the recipe
MAX_RECIPE = 1 << 20  # bytes of recipe.json; a run's has about 700
CHECKPOINT = re.compile(r"epoch-(\d+)(?:-batch-(\d+))?\.keras")


class RunFolder:
    """One run's files. Each is written whole or not at all; only one process at a time may hold the folder.

    Args:
        path: the folder; `create` makes it, `open` takes up one that holds a run.

    Files: recipe.json, history.csv, curves.png, lr.png, log.tsv, result.json and model.keras (once finished), and while
    it runs checkpoints/epoch-NNNN.keras or epoch-NNNN-batch-NNNNNN.keras, the newest two.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.recipe, self.history = self.path / "recipe.json", self.path / "history.csv"
        self.curves, self.rates, self.log = self.path / "curves.png", self.path / "lr.png", self.path / "log.tsv"
        self.model, self.checkpoints = self.path / "model.keras", self.path / "checkpoints"
        self.result = self.path / "result.json"
        self._lock = filelock.FileLock(self.path / ".lock", blocking=False)
        self._run_id = None

    @classmethod
    def create(cls, path):
        """Make the folder, or take an empty one; UserError if it holds anything or cannot be made."""
        folder = cls(path)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The run folder {path} cannot be made ({error.strerror}); name another.") from None
        folder._acquire()
        names = (entry.name for entry in folder.path.iterdir())
        # A process killed while it wrote recipe.json has left its lock and a temporary file, and no run.
        used = [name for name in names if name != ".lock" and not TEMPORARY.fullmatch(name)]
        if used:
            folder.close()
            run = {"recipe.json", "runs.json"} & set(used)
            how = f", or continue that run with --resume {path}" if run else ""
            raise UserError(f"The run folder {path} is in use already (it holds {sorted(used)[0]}); name another{how}.")
        folder._remove_leftovers()
        return folder

    @classmethod
    def open(cls, path):
        """Take up a folder that `create` made; UserError if there is no run in it."""
        folder = cls(path)
        folder._check_there()
        folder._acquire()
        folder._remove_leftovers()
        return folder

    def _remove_leftovers(self):
        """Remove the temporary files of a process that was killed while it wrote; the lock says that it is gone."""
        remove_leftovers(self.path)
        if self.checkpoints.is_dir():
            remove_leftovers(self.checkpoints)
            for unnamed in self.checkpoints.glob("tmp????????"):  # Keras's own, where memory is short
                unnamed.unlink()

    def _check_there(self):
        if not self.recipe.is_file():
            raise UserError(f"There is no run in {self.path} (no recipe.json); name a run folder.")

    def _acquire(self):
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise FolderInUse(
                f"Another process is running in {self.path}; wait for it, or name another folder."
            ) from None
        except OSError as error:
            raise UserError(f"The run folder {self.path} cannot be written ({error.strerror}); name another.") from None

    def close(self):
        """Let other processes have the folder."""
        self._lock.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write_recipe(self, recipe, **conditions):
        """recipe.json: the recipe, and what else fixes or explains the result (data, precision, versions, changes)."""
        text = json.dumps({"recipe": asdict(recipe), **conditions}, indent=2)
        with atomic_write(self.recipe) as temporary:
            temporary.write_text(text + "\n")

    def read_recipe(self):
        """(Recipe, conditions) of the run; UserError for a file that does not hold them."""
        self._check_there()
        try:
            if self.recipe.stat().st_size > MAX_RECIPE:
                raise ValueError(f"it is larger than {MAX_RECIPE:,} bytes")
            content = json.loads(self.recipe.read_text())
            settings = content.pop("recipe")
            unknown = set(settings) - {field.name for field in fields(Recipe)}
            if unknown:
                raise ValueError(f"unknown setting {min(unknown)}")
            missing = set(CONDITIONS) - content.keys()
            if missing:
                raise ValueError(f"it lacks {min(missing)}")
            check_conditions(content)
            return Recipe(**settings), content
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:300]  # the file's own words may be long
            raise UserError(
                f"{self.recipe} is not a recipe that this version wrote ({reason}); start a new run."
            ) from None

    def checkpoint(self, epochs, batches=0):
        """Where the checkpoint stands that was written after so many epochs, and batches of the next."""
        inside = f"-batch-{batches:06d}" if batches else ""
        return self.checkpoints / f"epoch-{epochs:04d}{inside}.keras"

    def saved(self):
        """[(epochs, batches)] of the checkpoints there are, ascending."""
        if not self.checkpoints.is_dir():
            return []
        found = (CHECKPOINT.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted((int(match[1]), int(match[2] or 0)) for match in found if match)

    def save_checkpoint(self, model, progress, state):
        """Save the run whole, then drop all but the newest two checkpoints.

        Args: as `write_checkpoint`.
        """
        from davidnet_keras.runs.checkpoint import write_checkpoint

        self.checkpoints.mkdir(exist_ok=True)
        with atomic_write(self.checkpoint(*progress)) as temporary:
            write_checkpoint(temporary, model, self.run_id(), progress, state)
        for old in self.saved()[:-2]:
            self.checkpoint(*old).unlink()

    def newest_checkpoint(self, drawn_by=None):
        """(path, progress, state) of the newest checkpoint that is whole and this run's; None if there is none at all.

        A newer one that is refused is renamed, so that it does not count as one of the newest two any more. With
        `drawn_by`, of `SaveCheckpoint`, one inside an epoch of other batches is refused too: the recipe was changed
        after it, and a later one lost.
        """
        from davidnet_keras.runs.checkpoint import DamagedCheckpoint, read_checkpoint

        refused = []
        for saved in reversed(self.saved()):
            path = self.checkpoint(*saved)
            try:
                progress, state = read_checkpoint(path, self.run_id())
                if progress != saved:
                    raise DamagedCheckpoint(f"it was written after {progress}, not when its name says")
                if drawn_by and progress.batches and state.get("drawn_by") not in (None, drawn_by):
                    raise DamagedCheckpoint("the batches of its epoch were others than the recipe's now")
            except DamagedCheckpoint as error:
                print(f"{path} cannot be used: {error}.")
                refused.append(path)
                continue
            for newer in refused:
                newer.rename(newer.with_name(newer.name + ".refused"))
            return path, progress, state
        if refused:
            raise UserError(f"No checkpoint in {self.checkpoints} can be used; start a new run.")
        return None

    def run_id(self):
        """The name that this run alone has; every checkpoint bears it."""
        if self._run_id is None:
            self._run_id = self.read_recipe()[1].get("run", "")
        return self._run_id

    def finish(self, model, result):
        """Write result.json and save the trained model as model.keras; then the checkpoints go.

        The model comes last: a run that has one is finished, with all its files.

        Args:
            model: `keras.Model`.
            result: dict of what came of the run: epochs, seconds, accuracy (0 to 1), petaflop, ...
        """
        with atomic_write(self.result) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
        with atomic_write(self.model) as temporary:
            model.save(temporary)
        self.drop_checkpoints()

    def read_result(self):
        """What `finish` wrote into result.json; UserError where there is none."""
        try:
            result = json.loads(self.result.read_text())
            if not isinstance(result, dict):
                raise ValueError("it holds no settings and values")
            return result
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"{self.result} is not a result that a run wrote ({reason}); train again.") from None

    def drop_checkpoints(self):
        """Remove the checkpoints of a run that is over; a kill may have come between its model and this."""
        if self.checkpoints.exists():
            shutil.rmtree(self.checkpoints)


def check_conditions(content):
    """ValueError unless a run can be taken up under these conditions."""
    known = {"dataset": datasets.names(), "precision": Precision.__args__[1:]}  # "auto" is decided when a run begins
    for name, choices in known.items():
        if content[name] not in choices:
            raise ValueError(f"its {name} is none of {', '.join(choices)}")
    for name, kind in (("data", dict), ("precision_reason", str)):
        if not isinstance(content[name], kind):
            raise ValueError(f"its {name} is malformed")
    check_every(content.get("checkpoint_every"))
    if not isinstance(content.get("changes", []), list):
        raise ValueError("its changes are malformed")


def check_every(batches):
    """ValueError unless it is a number of batches between two checkpoints, or None."""
    if not may_be_every(batches):
        raise ValueError(f"its checkpoint_every is {str(batches)[:40]}")


def may_be_every(batches):
    """Whether it is a number of batches between two checkpoints, or None."""
    return batches is None or (isinstance(batches, int) and not isinstance(batches, bool) and batches >= 1)
