"""What came of a run, for its result.json."""

import time

from davidnet_keras.data.pipeline import test_dataset
from davidnet_keras.errors import UserError
from davidnet_keras.models.cost import cost_text, inference_flops, training_flops
from davidnet_keras.models.recipe_views import with_views

BATCH_SIZE = 1000


def result_of(model, recipe, history, hours, data, announce=True, changed=False):
    """The figures of a finished run.

    Args:
        model: the trained model.
        recipe: `Recipe`.
        history: dict, the columns of its history.csv.
        hours: of training, as log.tsv has them.
        data: ((x_train, y_train), (x_test, y_test)).
        announce: bool, whether to print the cost and the accuracy with several views.
        changed: bool, whether the weights may be others than in the last validation, as Keras's EarlyStopping leaves
            them; they are then tested once more.

    Returns:
        dict: `epochs` that were trained; `seconds`, as history.csv has them; `training_seconds`, less the validation
        and what else came between epochs; `accuracy` on the test set, 0 to 1; with the recipe's `test_views`, `views`,
        `accuracy_views` and `seconds_views`, what they took; `petaflop`, 1e15 operations of training and of one final
        test (see `training_flops`), None for a model that cannot be counted.
    """
    epochs = len(history["epoch"])
    result = {
        "epochs": epochs,
        "seconds": history["seconds"][-1],
        "training_seconds": 3600 * hours,
        "accuracy": tested(model, data[1]) if changed else history["val_accuracy"][-1],
    }
    looking, views = with_views(model, recipe.test_views)
    if views > 1:
        result |= tested_with_views(looking, views, data[1], announce)
    flops, words = cost(model, epochs, data, views)
    if announce:
        print(words)
    return result | {"petaflop": None if flops is None else flops / 1e15}


def tested_with_views(model, views, test_data, announce):
    """The accuracy with test-time augmentation, and the seconds it took."""
    began = time.perf_counter()
    accuracy = tested(model, test_data)
    if announce:
        print(f"With {views} views of each picture: {100 * accuracy:.2f} %.")
    return {"views": views, "accuracy_views": accuracy, "seconds_views": time.perf_counter() - began}


def tested(model, test_data):
    """The model's accuracy, 0 to 1."""
    return model.evaluate(test_dataset(*test_data, BATCH_SIZE), verbose=0, return_dict=True)["accuracy"]


def cost(model, epochs, data, views):
    """(operations or None, a sentence about them)."""
    (x_train, _), (x_test, _) = data
    try:
        flops = training_flops(model, epochs, len(x_train)) + inference_flops(model, len(x_test), views)
    except UserError as error:  # no reason to lose a run that is done
        return None, str(error)
    return flops, f"{cost_text(flops)} for training and the final test, counted by the plain algorithm."
