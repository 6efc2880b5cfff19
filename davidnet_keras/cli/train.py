"""`python -m davidnet_keras`: train, or resume, one run or several."""

import contextlib
import shlex
import time

from davidnet_keras.cli.options import PROGRAM, Parser, parse_recipe, with_given
from davidnet_keras.errors import UserError
from davidnet_keras.kernels.environment import import_tensorflow

DESCRIPTION = """Train David Page's ResNet-9 on small colour pictures and write a run folder: history.csv,
curves.png, lr.png, log.tsv, recipe.json, result.json and model.keras.

Other commands, each with a --help of its own:
  evaluate   test a run's model, class by class
  predict    name what pictures of yours show
  lr-find    find the learning rate
  plot       draw runs over one another"""
EXAMPLES = f"""examples:
  {PROGRAM} --recipe fast                           train on CIFAR-10, downloaded once
  {PROGRAM} --data-dir ~/cifar --run-dir runs/mine  train on CIFAR-10 files of your own
  {PROGRAM} --resume runs/mine                      continue after a crash or Ctrl-C"""


def parse(argv):
    """(options, Recipe) that the arguments ask for; help or a refusal is printed, and SystemExit raised."""
    parser = Parser("", argv, "[flags]", DESCRIPTION, EXAMPLES)
    new, group = "new or empty folder; None: runs/<recipe>-<dataset>-<time>", "run folder"
    parser.flag("run_dir", None, new, str | None, group, metavar="RUN")
    parser.flag("resume", None, "run folder to continue from its newest checkpoint", str | None, group, metavar="RUN")
    parser.flag("change_recipe", False, "with --resume: allow settings that differ from the run's", bool, group, True)
    parser.flag("runs", 1, "trainings, with the seeds seed, seed + 1, ...; their mean and spread", int, group)
    every = "batches between checkpoints; None: only after each epoch"
    parser.flag("checkpoint_every", None, every, int | None, group, advanced=True)
    return parse_recipe(parser)


def main(argv):
    """Run the command; UserError for bad input."""
    started = time.perf_counter()
    options, recipe = parse(argv)
    resumed = options.resume is not None
    if resumed and options.run_dir is not None:
        raise UserError("--resume continues in the run's own folder; leave out --run-dir.")
    if options.change_recipe and not resumed:
        raise UserError("--change-recipe applies to a resumed run; name that with --resume, or leave it out.")
    from davidnet_keras.runs.series_folder import SeriesFolder

    n = options.runs if "runs" in options.given else None
    several = options.runs != 1 or (resumed and (n is not None or SeriesFolder.exists(options.resume)))
    if several:
        from davidnet_keras.runs import series

        series.check_runs(options.runs)
        if resumed:
            series.check_resume(options.resume, options.change_recipe)
    if resumed:
        recipe = _recipe_to_continue(options, several)
    import_tensorflow()
    from davidnet_keras.runs import resume, train

    common = {"data_dir": options.data_dir, "checkpoint_every": options.checkpoint_every}
    run_dir = options.resume or options.run_dir or train.default_run_dir(recipe, options.dataset)
    with _how_to_resume(run_dir, options, argv):
        if several and resumed:
            result = series.resume_runs(run_dir, n=n, **common)
        elif several:
            result = series.train_runs(recipe, options.runs, options.dataset, run_dir=run_dir, **common)
        elif resumed:
            result = resume.resume(run_dir, recipe=recipe, change_recipe=options.change_recipe, **common)
        else:
            result = train.train(recipe, options.dataset, run_dir=run_dir, **common)
    print(result if several else summary(result, recipe.tested_on, time.perf_counter() - started))


def _recipe_to_continue(options, several):
    """The run's own recipe with the given flags; refused, before TensorFlow is imported, where they may not differ."""
    from davidnet_keras.runs.changes import check_changes
    from davidnet_keras.runs.series_folder import RunFolder, SeriesFolder

    folder = (SeriesFolder if several else RunFolder)(options.resume)
    begun, conditions = folder.read_recipe()
    if "dataset" in options.given and options.dataset != conditions["dataset"]:
        raise UserError(
            f"A resumed run keeps its pictures; leave out --dataset, or start a new run. "
            f"Received: dataset={options.dataset}, started with {conditions['dataset']}"
        )
    recipe = with_given(begun, options)
    # What a finished run refuses is any change, asked for or not: `resume` says so.
    check_changes(begun, recipe, options.change_recipe or folder.model.exists(), several)
    return recipe


@contextlib.contextmanager
def _how_to_resume(run_dir, options, argv):
    """Turn what ends a run early into a sentence with the command that continues it, or what to do instead."""
    from davidnet_keras.kernels.devices import is_out_of_memory
    from davidnet_keras.runs.series_folder import SeriesFolder

    folder, data = SeriesFolder(run_dir), ["--data-dir", options.data_dir] if options.data_dir else []
    command = f"{PROGRAM} {shlex.join(argv if options.resume else ['--resume', str(run_dir), *data])}"

    def begun():  # not before the first write
        return folder.recipe.exists() or folder.runs.exists()

    another = begun() and not options.resume  # another run's folder, which will be refused
    try:
        yield
    except KeyboardInterrupt as interrupt:
        saved = f"Saved after {interrupt.progress}. " if hasattr(interrupt, "progress") else ""
        interrupt.args = (f"{saved}Continue with: {command}" if begun() and not another else "Nothing was written.",)
        raise
    except OSError as error:
        what = f"continue with: {command}" if begun() and not another else "start again."
        raise UserError(f"The run stopped: {error}. Fix that, then {what}") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "There is not enough memory for this network and these batches; start a new run with a lower --batch-size "
            "or --width."
        ) from error


def summary(result, tested_on, seconds):
    """One line: final and best accuracy on the test set, or the held-out pictures, time, run folder and its plot."""
    accuracy = [100 * value for value in result.history["val_accuracy"]]
    best = max(range(len(accuracy)), key=accuracy.__getitem__)
    return (
        f"{tested_on.capitalize()} accuracy {accuracy[-1]:.2f} % (best {accuracy[best]:.2f} % after epoch {best + 1}), "
        f"{seconds // 60:.0f} min {seconds % 60:.0f} s; run folder {result.run_dir}, curves {result.run_dir}/curves.png"
    )
