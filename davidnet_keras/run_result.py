"""What came of a run, for its result.json."""

from davidnet_keras.cost import cost_text, inference_flops, training_flops
from davidnet_keras.errors import UserError


def result_of(model, history, data, announce=True):
    """The figures of a finished run.

    Args:
        model: the trained model.
        history: dict, the columns of its history.csv.
        data: ((x_train, y_train), (x_test, y_test)).
        announce: bool, whether to print the cost.

    Returns:
        dict: `epochs` that were trained; `seconds`, as history.csv has them; `accuracy` on the test set after the last
        epoch, 0 to 1; `petaflop`, 1e15 operations of training and of one final test (see `training_flops`), None for a
        model that cannot be counted.
    """
    epochs = len(history["epoch"])
    result = {"epochs": epochs, "seconds": history["seconds"][-1], "accuracy": history["val_accuracy"][-1]}
    (x_train, _), (x_test, _) = data
    try:
        flops = training_flops(model, epochs, len(x_train)) + inference_flops(model, len(x_test))
        words = f"{cost_text(flops)} for training and the final test, counted by the plain algorithm."
    except UserError as error:  # no reason to lose a run that is done
        flops, words = None, str(error)
    if announce:
        print(words)
    return result | {"petaflop": None if flops is None else flops / 1e15}
