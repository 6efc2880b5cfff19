"""The folder that a run writes: which files, in which order, and how a run is found again."""

import json
import re
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import filelock

from davidnet_callbacks import atomic_write
from davidnet_keras.errors import UserError
from davidnet_keras.recipe import Precision, Recipe

CONDITIONS = ("dataset", "data", "precision", "precision_reason")  # what a resumed run needs beside the recipe
MAX_RECIPE = 1 << 20  # bytes of recipe.json; a run's has about 700
CHECKPOINT = re.compile(r"epoch-(\d+)\.keras")


class RunFolder:
    """One run's files. Each is written whole or not at all; only one process at a time may hold the folder.

    Args:
        path: the folder; `create` makes it, `open` takes up one that holds a run.

    Files: recipe.json, history.csv, curves.png, lr.png, log.tsv, model.keras (once finished), and while it runs
    checkpoints/epoch-NNNN.keras, the newest two.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.recipe, self.history = self.path / "recipe.json", self.path / "history.csv"
        self.curves, self.rates, self.log = self.path / "curves.png", self.path / "lr.png", self.path / "log.tsv"
        self.model, self.checkpoints = self.path / "model.keras", self.path / "checkpoints"
        self._lock = filelock.FileLock(self.path / ".lock", blocking=False)

    @classmethod
    def create(cls, path):
        """Make the folder, or take an empty one; UserError if it holds anything or cannot be made."""
        folder = cls(path)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The run folder {path} cannot be made ({error.strerror}); name another.") from None
        folder._acquire()
        used = [entry.name for entry in folder.path.iterdir() if entry.name != ".lock"]
        if used:
            folder.close()
            raise UserError(
                f"The run folder {path} is in use already (it holds {sorted(used)[0]}); "
                f"name another, or continue that run with --resume {path}."
            )
        return folder

    @classmethod
    def open(cls, path):
        """Take up a folder that `create` made; UserError if there is no run in it."""
        folder = cls(path)
        folder._check_there()
        folder._acquire()
        return folder

    def _check_there(self):
        if not self.recipe.is_file():
            raise UserError(f"There is no run in {self.path} (no recipe.json); name a run folder.")

    def _acquire(self):
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise UserError(
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
        """recipe.json: the recipe, and what else fixes or explains the result (data, precision, versions)."""
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

    def checkpoint(self, epochs):
        """Where the checkpoint after so many epochs stands."""
        return self.checkpoints / f"epoch-{epochs:04d}.keras"

    def saved_epochs(self):
        """The finished epochs of each checkpoint there is, ascending."""
        if not self.checkpoints.is_dir():
            return []
        found = (CHECKPOINT.fullmatch(entry.name) for entry in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def save_checkpoint(self, model, epochs):
        """Save the model whole (weights, optimizer, dropout counters), then drop all but the newest two."""
        self.checkpoints.mkdir(exist_ok=True)
        with atomic_write(self.checkpoint(epochs)) as temporary:
            model.save(temporary)
        for old in self.saved_epochs()[:-2]:
            self.checkpoint(old).unlink()

    def load_checkpoint(self):
        """(model, finished epochs) from the newest checkpoint that can be read; (None, 0) if there is none."""
        from davidnet_keras.model_file import load_model

        saved = self.saved_epochs()
        for epochs in reversed(saved):
            try:
                return load_model(self.checkpoint(epochs)), epochs
            except Exception as error:  # a damaged file shows itself as almost anything: zip, HDF5, JSON, missing keys
                print(f"{self.checkpoint(epochs)} cannot be read ({type(error).__name__}); trying the one before.")
        if saved:
            raise UserError(f"No checkpoint in {self.checkpoints} can be read; start a new run.")
        return None, 0

    def finish(self, epochs):
        """The last checkpoint becomes model.keras; the others go."""
        self.checkpoint(epochs).replace(self.model)
        shutil.rmtree(self.checkpoints)


def check_conditions(content):
    """ValueError unless a run can be taken up under these conditions."""
    from davidnet_keras.datasets import CLASS_NAMES  # here: it imports numpy

    known = {"dataset": tuple(CLASS_NAMES), "precision": Precision.__args__[1:]}  # "auto" is decided when a run begins
    for name, choices in known.items():
        if content[name] not in choices:
            raise ValueError(f"its {name} is none of {', '.join(choices)}")
    for name, kind in (("data", dict), ("precision_reason", str)):
        if not isinstance(content[name], kind):
            raise ValueError(f"its {name} is malformed")
