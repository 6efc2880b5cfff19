"""The folder that a run writes: its files, their order, and the lock on it."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import cached_property
from pathlib import Path

import filelock

from davidnet_callbacks import atomic_write
from davidnet_callbacks.atomic import TEMPORARY, remove_leftovers
from davidnet_keras.data import datasets
from davidnet_keras.errors import FolderInUse, UserError, whole_number
from davidnet_keras.recipe import Precision, Recipe

_CONDITIONS = {"dataset": str, "data": dict, "precision": str, "precision_reason": str}  # what a resumed run needs
_CHECKPOINT = re.compile(r"epoch-(\d+)(?:-batch-(\d+))?\.keras")


class RunFolder:
    """One run's files. Each is written whole or not at all; only one process at a time may hold the folder.

    Files: recipe.json, history.csv, curves.png, lr.png, log.tsv; during the run the newest two checkpoints,
    checkpoints/epoch-NNNN.keras or epoch-NNNN-batch-NNNNNN.keras; at its end result.json and model.keras.
    """

    def __init__(self, path):
        self.path = Path(os.path.expanduser(path))
        self.recipe, self.history = self.path / "recipe.json", self.path / "history.csv"
        self.curves, self.rates, self.log = self.path / "curves.png", self.path / "lr.png", self.path / "log.tsv"
        self.model, self.checkpoints = self.path / "model.keras", self.path / "checkpoints"
        self.result = self.path / "result.json"
        self._lock = filelock.FileLock(self.path / ".lock", blocking=False)

    @classmethod
    def create(cls, path):
        """Make the folder, or take an empty one. UserError: it holds anything, or cannot be made."""
        folder = cls(path)
        folder._acquire(make=True)
        names = (entry.name for entry in folder.path.iterdir())
        # A process that was killed while it wrote recipe.json leaves its lock and a temporary file, but no run.
        used = sorted(name for name in names if name != ".lock" and not TEMPORARY.fullmatch(name))
        if used:
            folder.close()
            how = f", or continue that run with --resume {path}" if {"recipe.json", "runs.json"} & set(used) else ""
            raise UserError(f"The run folder {path} is in use already (it holds {used[0]}); name another{how}.")
        folder._remove_leftovers()
        return folder

    @classmethod
    def open(cls, path):
        """Take a folder that `create` made. UserError: there is no run in it."""
        folder = cls(path)
        folder._check_exists()
        folder._acquire()
        folder._remove_leftovers()
        return folder

    def close(self):
        """Release the folder for other processes."""
        self._lock.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _acquire(self, make=False):
        try:
            if make:
                self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout:
            how = "wait for it, or name another folder"
            raise FolderInUse(f"Another process is running in {self.path}; {how}.") from None
        except OSError as error:
            reason = f"cannot be made or written ({error.strerror})"
            raise UserError(f"The run folder {self.path} {reason}; name another.") from None

    def _remove_leftovers(self):
        """Remove temporary files of a process that was killed while writing; holding the lock proves that it ended."""
        remove_leftovers(self.path)
        if self.checkpoints.is_dir():
            remove_leftovers(self.checkpoints)
            for unnamed in self.checkpoints.glob("tmp????????"):  # Keras makes these where memory is short
                unnamed.unlink()

    def _check_exists(self):
        if not self.recipe.is_file():
            if (self.path / "runs.json").is_file():
                raise UserError(f"{self.path} holds several runs; name the folder of one, such as its seed-0.")
            raise UserError(f"There is no run in {self.path} (no recipe.json); name a run folder.")

    def write_recipe(self, recipe, **conditions):
        """Write recipe.json: the recipe, and what else fixes or explains the result (data, precision, versions)."""
        write_json(self.recipe, {"recipe": asdict(recipe), **conditions})

    def read_recipe(self):
        """Return `(Recipe, conditions)` of the run. UserError: recipe.json does not hold them."""
        self._check_exists()
        return read_json(self.recipe, "recipe", _recipe_and_conditions, "start a new run")

    @cached_property
    def _run(self):
        """The run's unique name, which each of its checkpoints carries."""
        return self.read_recipe()[1].get("run", "")

    def checkpoint(self, epochs, batches=0):
        """Return the path of the checkpoint after so many epochs, and batches of the next."""
        inside = f"-batch-{batches:06d}" if batches else ""
        return self.checkpoints / f"epoch-{epochs:04d}{inside}.keras"

    def saved(self):
        """Return `[(epochs, batches)]` of the checkpoints in the folder, in ascending order."""
        names = [entry.name for entry in self.checkpoints.iterdir()] if self.checkpoints.is_dir() else []
        found = filter(None, map(_CHECKPOINT.fullmatch, names))
        return sorted((int(match[1]), int(match[2] or 0)) for match in found)

    def save_checkpoint(self, model, progress, state):
        """Write a checkpoint (arguments as `write_checkpoint`), then remove all but the newest two."""
        from davidnet_keras.runs.checkpoint import write_checkpoint

        self.checkpoints.mkdir(exist_ok=True)
        with atomic_write(self.checkpoint(*progress)) as temporary:
            write_checkpoint(temporary, model, self._run, progress, state)
        for old in self.saved()[:-2]:
            self.checkpoint(*old).unlink()

    def newest_checkpoint(self, drawn_by=None, load=None):
        """Return `(path, progress, state)` of the newest checkpoint that is whole and this run's; None without any.

        One inside an epoch is refused if its batches were not `drawn_by` these values, as when the recipe was changed
        after it. Refused ones are renamed, so that they no longer count among the newest two. With `load`, a function
        of a path, its result stands in place of the state, and nothing is renamed or printed to standard output.
        """
        from davidnet_keras.runs.checkpoint import DamagedCheckpoint, read_checkpoint

        refused = []
        for saved in reversed(self.saved()):
            path = self.checkpoint(*saved)
            try:
                progress, state = read_checkpoint(path, self._run)
                if progress != saved:
                    raise DamagedCheckpoint(f"it was written after {progress}, not when its name says")
                if drawn_by and progress.batches and state.get("drawn_by") not in (None, drawn_by):
                    raise DamagedCheckpoint("the batches of its epoch were others than the recipe's now")
                state = load(path) if load else state
            except (DamagedCheckpoint, UserError) as error:
                print(f"{path} cannot be used: {error}.", file=sys.stderr if load else sys.stdout)
                refused.append(path)
                continue
            for newer in [] if load else refused:
                newer.rename(newer.with_name(newer.name + ".refused"))
            return path, progress, state
        if refused:
            raise UserError(f"No checkpoint in {self.checkpoints} can be used; start a new run.")
        return None

    def finish(self, model, result):
        """Write result.json, then model.keras, then remove the checkpoints: a run with a model has all its files."""
        write_json(self.result, result)
        with atomic_write(self.model) as temporary:
            model.save(temporary)
        self.drop_checkpoints()

    def read_result(self):
        """Return the dict in result.json. UserError: there is none."""
        return read_json(self.result, "result", dict, "train again")

    def drop_checkpoints(self):
        """Remove the checkpoints of a finished run."""
        if self.checkpoints.exists():
            shutil.rmtree(self.checkpoints)


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path, kind: str, parse: Callable[[dict], object], advice: str, limit: int = 1 << 20):
    """Return `parse(content)` of a JSON file that this program wrote. UserError: it is missing, damaged or foreign.

    `kind` says in the message what the file should be, `advice` what to do about one that cannot be used; `limit` is
    its largest size in bytes, by default a thousand times what a run writes.
    """
    try:
        if path.stat().st_size > limit:
            raise ValueError(f"it is larger than {limit:,} bytes")
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return parse(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]  # the file's own words may be long
        raise UserError(f"{path} is not a {kind} that this version wrote ({reason}); {advice}.") from None


def _recipe_and_conditions(content):
    settings, precisions = content.pop("recipe"), Precision.__args__[1:]  # "auto" is decided when a run begins
    unknown = set(settings) - {field.name for field in fields(Recipe)}
    if unknown:
        raise ValueError(f"unknown setting {min(unknown)}")
    for name, kind in _CONDITIONS.items():
        if not isinstance(content.get(name), kind):
            raise ValueError(f"its {name} is missing or malformed")
    datasets.check_name(content["dataset"])
    if content["precision"] not in precisions:
        raise ValueError(f"its precision is none of {', '.join(precisions)}")
    check_checkpoint_every(content.get("checkpoint_every"))
    if not isinstance(content.get("changes", []), list):
        raise ValueError("its changes are malformed")
    return Recipe(**settings), content


def check_checkpoint_every(batches):
    """Return the number of batches between two checkpoints inside an epoch, or None. UserError: it is neither."""
    return None if batches is None else whole_number("checkpoint_every", batches, 1)
