"""Whether the runs in a series' folder are repetitions of one another, so that their mean says something."""

import dataclasses

from davidnet_keras.errors import UserError

CONDITIONS = {"data": "the pictures' checksum", "precision": "precision"}


def check_same_settings(runs, recipe, dataset):
    """UserError for a run of other settings, which would be averaged with the others as if it were a repetition."""
    wanted = dataclasses.asdict(recipe) | {"dataset": dataset}
    free = ("seed", "precision") if recipe.precision == "auto" else ("seed",)
    for run in runs:
        begun, conditions = run.read_recipe()
        found = dataclasses.asdict(begun) | {name: conditions[name] for name in ("dataset", "precision")}
        other = [name for name in wanted if found[name] != wanted[name] and name not in free]
        if other:
            raise UserError(
                f"{run.path} was trained with another {' and '.join(other)} than its series; move it away, and "
                "--resume trains that seed again."
            )


def check_same_conditions(runs):
    """UserError for two runs on other pictures, or of which "auto" meant another precision."""
    for run in runs[1:]:
        here, there = run.read_recipe()[1], runs[0].read_recipe()[1]
        other = [word for name, word in CONDITIONS.items() if here[name] != there[name]]
        if other:
            raise UserError(
                f"{runs[0].path} and {run.path} differ in {' and '.join(other)}, so that their mean says nothing; move "
                "one of them away, and --resume trains that seed again."
            )


def precision_begun(begun, recipe, plan, data_dir):
    """The precision that "auto" took for the runs there are; UserError for other pictures than theirs.

    Else runs on another machine, or on other files, would be averaged with them as if they were repetitions.
    """
    from davidnet_keras.runs.resume import same_data

    if not begun or len(begun) == plan["runs"]:  # nothing to compare with, or `resume` does
        return recipe.precision
    conditions = begun[0].read_recipe()[1]
    same_data(begun[0].path, conditions, data_dir)
    return conditions["precision"]
