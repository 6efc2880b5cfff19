"""Kill a run at random moments, resume it, and compare the result with that of a run that was never killed.

    python benchmarks/kill_and_resume.py --kills 30

A short run on the embedded data set (width 2, a few pictures, `--deterministic`, everything else as usual) is killed by
SIGKILL. The kills cycle through training, validation, writing a checkpoint and plotting, at a random occurrence and a
random time into it; every fifth kill comes at an arbitrary time. Then `resume` finishes the run. Equal means the same
bits in every weight and optimizer variable, and the same history.csv and log.tsv except for their time columns.

Processes are forked from one that has imported TensorFlow but not used it yet, which saves ten seconds each.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from davidnet_keras import Recipe, tune_tensorflow
from davidnet_keras.data import shapes
from davidnet_keras.data.shapes import load_shapes

tune_tensorflow()

from davidnet_keras import DavidNet  # noqa: E402
from davidnet_keras.runs import resume as resuming  # noqa: E402
from davidnet_keras.runs import train as training  # noqa: E402

RECIPE = Recipe(epochs=3, batch_size=16, width=2, cutout=4, precision="float32", deterministic=True, seed=3)
CHECKPOINT_EVERY = 2
PHASES = {"T": "training", "V": "validation", "C": "checkpoint", "P": "plotting"}


def few_pictures():
    """A small data set: 6 steps per epoch, 2 for validation."""
    return load_shapes(train=90, test=30)


def in_child(function, log, events=None):
    """Start `function()` in a forked process; its exit code is what the function returns. Returns the process's id.

    Args:
        log: file that gets what it prints.
        events: file descriptor that gets a letter when a phase begins, and the small letter when it ends; or None.
    """
    child = os.fork()
    if child:
        return child
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        shapes.load_shapes = few_pictures
        training.EVALUATION_BATCH_SIZE = 15
        if events is not None:
            report_phases(events)
        code = function()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def report_phases(events):
    """Wrap the functions of each phase so that they report when they begin and end."""

    def telling(letter, function):
        def wrapped(*args, **kwargs):
            os.write(events, letter.encode())
            result = function(*args, **kwargs)
            os.write(events, letter.lower().encode())
            return result

        return wrapped

    training.RunFolder.save_checkpoint = telling("C", training.RunFolder.save_checkpoint)
    training.PlotCurves.on_epoch_end = telling("P", training.PlotCurves.on_epoch_end)
    make_train, make_test = DavidNet.make_train_function, DavidNet.make_test_function

    def make_train_function(model, force=False):
        make_train(model, force)
        model.train_function = telling("T", model.train_function)

    def make_test_function(model, force=False):
        # `fit` asks for it every epoch; once is enough.
        fresh = model.test_function is None
        make_test(model, force)
        if fresh:
            model.test_function = telling("V", model.test_function)

    DavidNet.make_train_function, DavidNet.make_test_function = (
        make_train_function,
        make_test_function,
    )


def begin(run):
    """Start a new run."""
    return training.train(RECIPE, "shapes", run_dir=run, progress=False, checkpoint_every=CHECKPOINT_EVERY)


def go_on(run):
    """Finish a run, or start it if it was killed before it had begun."""
    return resuming.resume(run, progress=False) if (run / "recipe.json").exists() else begin(run)


def result_of(train, run):
    """Train, and write what is compared between runs next to the run folder."""
    done = train(run)
    digest = hashlib.sha256()
    for variable in (*done.model.weights, *done.model.optimizer.variables):
        digest.update(variable.numpy().tobytes())
    log = [line.split("\t")[::2] for line in (run / "log.tsv").read_text().splitlines()]
    history = {name: column for name, column in done.history.items() if name != "seconds"}
    run.with_suffix(".json").write_text(json.dumps({"sha256": digest.hexdigest(), "history": history, "log": log}))


def wait(child):
    """The exit code of a child process: 128 plus the signal's number if a signal killed it."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def reference(folder):
    """Run once without a kill. Returns ({letter: seconds of each event}, total seconds, the result)."""
    reader, writer = os.pipe()
    run = folder / "reference"
    began = time.perf_counter()
    child = in_child(lambda: result_of(begin, run), folder / "reference.log", writer)
    os.close(writer)
    durations, since = {letter: [] for letter in PHASES}, {}
    while letter := os.read(reader, 1).decode():
        if letter.isupper():
            since[letter] = time.perf_counter()
        else:
            durations[letter.upper()].append(time.perf_counter() - since[letter.upper()])
    os.close(reader)
    if wait(child):
        raise SystemExit(f"The reference run failed: see {folder / 'reference.log'}")
    return durations, time.perf_counter() - began, json.loads(run.with_suffix(".json").read_text())


def kill_once(folder, number, durations, whole, draw):
    """Start a run, kill it, resume it. Returns (where it was killed, its remaining checkpoints, its result)."""
    letter = None if number % 5 == 4 else list(PHASES)[number % 5]
    event = draw.randrange(len(durations[letter])) if letter else 0
    delay = draw.uniform(0, durations[letter][event] if letter else whole)
    run, log = folder / f"run{number}", folder / f"run{number}.log"
    while (last := run_and_kill(run, log, letter, event, delay)) is None:  # it finished before the kill
        shutil.rmtree(run)
        delay /= 2
    left = sorted(entry.name for entry in (run / "checkpoints").glob("epoch-*"))
    where = f"{1000 * delay:.0f} ms into {PHASES[letter]} {event + 1}" if letter else f"after {delay:.1f} s"
    where += f", {'in' if last.isupper() else 'after'} {PHASES[last.upper()]}" if last else ", before any phase"
    code = wait(in_child(lambda: result_of(go_on, run), log))
    return where, left, None if code else json.loads(run.with_suffix(".json").read_text())


def run_and_kill(run, log, letter, event, delay):
    """Begin a run and kill it some seconds after it has begun this phase for the (event + 1)th time, or has begun.

    Returns the last letter that it told, "" if none; None if it came to its end first.
    """
    reader, writer = os.pipe()
    child = in_child(lambda: result_of(begin, run), log, writer)
    os.close(writer)
    told = ""
    while letter and told.count(letter) <= event:
        told += os.read(reader, 1).decode()
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    killed = wait(child) == 128 + signal.SIGKILL
    told += os.read(reader, 100_000).decode()
    os.close(reader)
    return told[-1:] if killed else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="runs to kill (default: 30)")
    parser.add_argument("--first", type=int, default=0, help="number of the first run, to split the job (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    durations, whole, expected = reference(folder)
    counts = ", ".join(f"{len(durations[letter])} x {name}" for letter, name in PHASES.items())
    print(f"Reference: {whole:.1f} s, {counts}; sha256 {expected['sha256'][:16]}", flush=True)
    equal = 0
    for number in range(options.first, options.first + options.kills):
        draw = random.Random(f"{options.seed} {number}")
        where, left, result = kill_once(folder, number, durations, whole, draw)
        equal += result == expected
        verdict = "equal" if result == expected else f"DIFFERENT: see {folder}/run{number}.log"
        print(f"{number:3d} killed {where}; left {', '.join(left) or 'no checkpoint'}: {verdict}", flush=True)
    print(f"{equal} of {options.kills} equal")
    if equal == options.kills:
        shutil.rmtree(folder)
    return 0 if equal == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
