"""Take away what a `fit` that an exception ended has left in a model, when its next `fit` begins."""


class _NextFit:
    """Stands in for a model's `make_train_function`, which `fit` and `train_on_batch` call before anything else."""

    def __init__(self, model):
        self._model = model
        self._own = model.make_train_function
        self._before = vars(model).get("make_train_function")  # somebody may have put one on the object already
        self.undo = []

    def __call__(self, force=False):
        if not force:  # with `force` it is a callback that makes the function anew, in the same fit
            self.remove()
            for undo in self.undo:
                undo()
        return self._own(force)

    def remove(self):
        if self._before is None:
            del self._model.make_train_function
        else:
            self._model.make_train_function = self._before


def at_next_fit(model, undo):
    """Have `undo()` called when the next `fit` or `train_on_batch` of a model begins, before any callback.

    Keras calls no callback when an exception ends `fit`. So whoever changes a model registers here how to undo it, and
    calls `withdraw` when `fit` ends as it should.
    """
    if not isinstance(vars(model).get("make_train_function"), _NextFit):
        model.make_train_function = _NextFit(model)
    if undo not in model.make_train_function.undo:
        model.make_train_function.undo.append(undo)


def withdraw(model, undo):
    """Forget what `at_next_fit` registered."""
    stand_in = vars(model).get("make_train_function")
    if isinstance(stand_in, _NextFit) and undo in stand_in.undo:
        stand_in.undo.remove(undo)
        if not stand_in.undo:
            stand_in.remove()
