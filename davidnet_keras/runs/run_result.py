"""The figures of a finished run, for its result.json."""

import time

from davidnet_keras.data.pipeline import test_dataset
from davidnet_keras.errors import UserError
from davidnet_keras.models.averaged_views import with_views
from davidnet_keras.models.cost import cost_text, inference_flops, training_flops

EVALUATION_BATCH_SIZE = 1000


def result_of(model, recipe, history, hours, data, announce=True, changed=False):
    """Return the figures of a finished run.

    Args:
        model: the trained model.
        recipe: `Recipe`.
        history: dict, the columns of history.csv.
        hours: of training, as in log.tsv.
        data: ((x_train, y_train), (x_test, y_test)).
        announce: bool, whether to print the cost and the accuracy over several views.
        changed: bool, whether a callback may have changed the weights since the last validation, as Keras's
            EarlyStopping does; the model is then tested again.

    Returns:
        dict: `epochs` trained; `seconds`, as in history.csv; `training_seconds`, without validation and other work
        between epochs; `accuracy` on the test set, 0 to 1; with the recipe's `test_views`, `views`, `accuracy_views`
        and `seconds_views`; `petaflop`, 1e15 operations of training and of one final test (see `training_flops`), None
        for a model that cannot be counted.
    """
    (x_train, _), test = data
    result = {
        "epochs": len(history["epoch"]),
        "seconds": history["seconds"][-1],
        "training_seconds": 3600 * hours,
        "accuracy": _accuracy(model, test) if changed else history["val_accuracy"][-1],
    }
    averaged, views = with_views(model, recipe.test_views)
    lines = []
    if views > 1:
        began = time.perf_counter()
        accuracy = _accuracy(averaged, test)
        result |= {"views": views, "accuracy_views": accuracy, "seconds_views": time.perf_counter() - began}
        lines.append(f"With {views} views of each picture: {100 * accuracy:.2f} %.")
    try:
        flops = training_flops(model, result["epochs"], len(x_train)) + inference_flops(model, len(test[0]), views)
        lines.append(f"{cost_text(flops)} for training and the final test, counted by the plain algorithm.")
    except UserError as error:  # no reason to lose a finished run
        flops = None
        lines.append(str(error))
    if announce:
        print(*lines, sep="\n")
    return result | {"petaflop": None if flops is None else flops / 1e15}


def _accuracy(model, test):
    """Return a model's accuracy, 0 to 1."""
    return model.evaluate(test_dataset(*test, EVALUATION_BATCH_SIZE), verbose=0, return_dict=True)["accuracy"]
