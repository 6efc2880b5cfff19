"""The command line: what it does with the flags."""

import contextlib
import dataclasses
import importlib
import shlex
import signal
import sys
import time
from pathlib import Path

from davidnet_keras.cli.options import PROGRAM, given_flags, parse
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import import_training
from davidnet_keras.recipe import Recipe

# A program that a signal ends gives 128 more than the signal's number: 130 for Ctrl-C, 143 for SIGTERM.
DONE, BAD_INPUT, SIGNALLED, INTERRUPTED = 0, 2, 128, 130
# Subcommand -> the module whose main(argv) does it and prints; imported only when asked for.
COMMANDS = {
    "evaluate": "davidnet_keras.runs.evaluate",
    "lr-find": "davidnet_keras.cli.lr_find",
    "plot": "davidnet_keras.cli.plot",
    "predict": "davidnet_keras.runs.predict",
}


def main(argv=None):
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what the terminal's encoding does not
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if argv and argv[0] in COMMANDS:
            importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])
        else:
            train_or_resume(argv)
        return DONE
    except UserError as error:
        print(f"davidnet_keras: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        print(f"davidnet_keras: A file cannot be used: {error}. Mend that, or name another.", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as interrupt:
        print(f"\nInterrupted. {interrupt}", file=sys.stderr)
        return SIGNALLED + getattr(interrupt, "signal_number", signal.SIGINT)


def train_or_resume(argv):
    """What the program does without a subcommand."""
    place, recipe = parse(argv)
    given = given_flags(argv)
    if place.resume is not None and place.run_dir is not None:
        raise UserError("--resume continues in its own folder; leave out --run-dir.")
    if place.resume is None and place.change_recipe:
        raise UserError("--change-recipe is for a run that goes on; name it with --resume, or leave it out.")
    if place.runs != 1 or (place.resume is not None and ("runs" in given or is_series(place.resume))):
        print(train_or_resume_runs(place, recipe, argv))
        return
    started = time.perf_counter()
    result = resume(place, recipe, argv) if place.resume is not None else train(place, recipe)
    print(summary(result, time.perf_counter() - started))


def is_series(run_dir):
    """Whether a folder holds several runs."""
    return (Path(run_dir) / "runs.json").exists()


def train_or_resume_runs(place, recipe, argv):
    """Several runs, new or the rest of earlier ones."""
    given = given_flags(argv)
    from davidnet_keras.runs import repeated

    repeated.check_runs(place.runs)
    if place.resume is not None:
        repeated.check_resume(place.resume, place.change_recipe)
        settings_to_go_on_with(place, recipe, given, repeated.SeriesFolder(place.resume))
    training = import_training()
    run_dir = place.resume or place.run_dir or training.default_run_dir(recipe, place.dataset)
    common = {"data_dir": place.data_dir, "checkpoint_every": place.checkpoint_every}
    with saying_how_to_resume(run_dir, place, argv):
        if place.resume is not None:
            return repeated.resume_runs(run_dir, n=place.runs if "runs" in given else None, **common)
        return repeated.train_runs(recipe, place.runs, place.dataset, run_dir=run_dir, **common)


def train(place, recipe):
    """A new run."""
    training = import_training()
    run_dir = place.run_dir or training.default_run_dir(recipe, place.dataset)
    with saying_how_to_resume(run_dir, place):
        return training.train(recipe, place.dataset, place.data_dir, run_dir, checkpoint_every=place.checkpoint_every)


def resume(place, recipe, argv):
    """The rest of an earlier run."""
    wanted = settings_to_go_on_with(place, recipe, given_flags(argv))
    import_training()
    from davidnet_keras.runs import resume as resuming

    with saying_how_to_resume(place.resume, place, argv):
        return resuming.resume(
            place.resume,
            place.data_dir,
            recipe=wanted,
            change_recipe=place.change_recipe,
            checkpoint_every=place.checkpoint_every,
        )


@contextlib.contextmanager
def saying_how_to_resume(run_dir, place, argv=()):
    """Turn what ends a run early into a sentence with the command that continues, or what to do instead.

    `argv` is that of a resumption, which is to be given again with all that it asks for.
    """
    resumed, data = place.resume is not None, ["--data-dir", place.data_dir] if place.data_dir else []
    command = f"{PROGRAM} {shlex.join(argv if resumed else ['--resume', str(run_dir), *data])}"
    theirs = not resumed and has_begun(run_dir)  # a folder in use, which is going to be refused
    try:
        yield
    except KeyboardInterrupt as interrupt:
        saved = f"Saved after {interrupt.progress}. " if hasattr(interrupt, "progress") else ""
        begun = has_begun(run_dir) and not theirs
        interrupt.args = (f"{saved}Continue with: {command}" if begun else "Nothing was written.",)
        raise
    except OSError as error:
        how = f"continue with: {command}" if has_begun(run_dir) and not theirs else "start again."
        raise UserError(f"The run stopped: {error}. Mend that, then {how}") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "There is not enough memory for this network and these batches; start a new run with a lower --batch-size "
            "or --width."
        ) from error


def is_out_of_memory(error):
    """Whether it is Python's or TensorFlow's."""
    tensorflow = sys.modules.get("tensorflow")
    return isinstance(
        error, MemoryError if tensorflow is None else (MemoryError, tensorflow.errors.ResourceExhaustedError)
    )


def has_begun(run_dir):
    """Whether there is a run to continue: not before the first write."""
    return (Path(run_dir) / "recipe.json").exists() or is_series(run_dir)


def settings_to_go_on_with(place, recipe, given, folder=None):
    """The run's own recipe with the given flags; refused, before TensorFlow is imported, where they may not differ.

    `folder` is the `RunFolder`, or `SeriesFolder`, to continue; None: the run's.
    """
    from davidnet_keras.runs.changes import check_changes
    from davidnet_keras.runs.run_folder import RunFolder

    series, folder = folder is not None, folder or RunFolder(place.resume)
    begun, conditions = folder.read_recipe()
    if "dataset" in given and place.dataset != conditions["dataset"]:
        raise UserError(
            f"A run goes on with the pictures it was begun with; leave out --dataset, or start a new run. "
            f"Received: dataset={place.dataset}, begun with {conditions['dataset']}"
        )
    named = {name: getattr(recipe, name) for name in given & {item.name for item in dataclasses.fields(Recipe)}}
    wanted = dataclasses.replace(begun, **named, name=recipe.name if "recipe" in given else begun.name)
    check_changes(begun, wanted, place.change_recipe, series)
    return wanted


def summary(result, seconds):
    """One line: final and best accuracy on the test set, or what was held out, time, run folder and its plot."""
    from davidnet_keras.runs.run_folder import RunFolder

    tested = RunFolder(result.run_dir).read_recipe()[0].tested_on.capitalize()
    accuracy = [100 * value for value in result.history["val_accuracy"]]
    best = max(range(len(accuracy)), key=accuracy.__getitem__)
    return (
        f"{tested} accuracy {accuracy[-1]:.2f} % (best {accuracy[best]:.2f} % after epoch {best + 1}), "
        f"{seconds // 60:.0f} min {seconds % 60:.0f} s; run folder {result.run_dir}, curves {result.run_dir}/curves.png"
    )
