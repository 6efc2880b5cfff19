"""Test-time augmentation: average a classifier's outputs over views of each picture."""

import itertools
from typing import Any

import keras
from keras import ops

from davidnet_keras.errors import refuse_unknown, whole_number
from davidnet_keras.kernels.devices import after

# A recipe's test_views -> (arguments of TestTimeAugmentation, or None for the model as it is, number of views).
RECIPE_VIEWS = {"one": (None, 1), "mirror": ({"mirror": True}, 2), "mirror_and_shifts": ({"shifts": 1}, 6)}


def with_views(model: keras.Model, test_views: str) -> tuple[keras.Model, int]:
    """(the model that averages the views that a recipe's `test_views` names, their number)."""
    arguments, number = RECIPE_VIEWS[test_views]
    return (model if arguments is None else TestTimeAugmentation(model, **arguments)), number


class View(keras.layers.Layer):
    """A model's outputs for pictures moved down and to the right by `shift` pixels, perhaps mirrored.

    It begins once the tensor `previous` is computed, so that the memory is that of one view.
    """

    def __init__(self, model: keras.Model, shift: int, mirrored: bool) -> None:
        super().__init__(autocast=False)  # bfloat16 would round pictures of 0 to 255 to eight bits
        self.model, self.shift, self.mirrored = model, shift, mirrored

    def call(self, images, previous=None):
        self.model._clear_losses()  # else `add_loss` counts for every view; there is no public name
        far = abs(self.shift)
        window = slice(2 * far, None) if self.shift < 0 else slice(None, -2 * far)
        with after(previous):
            if far:
                images = ops.pad(images, [[0, 0], [far, far], [far, far], [0, 0]], mode="reflect")[:, window, window]
            return self.model(ops.flip(images, axis=2) if self.mirrored else images, training=False)

    def compute_output_spec(self, images, previous=None):
        return self.model.compute_output_spec(images)  # without tracing `call`

    def get_config(self):
        raise ValueError("clone_model would lose TestTimeAugmentation; clone the model in it and wrap the clone.")


@keras.saving.register_keras_serializable(package="davidnet_keras")
class TestTimeAugmentation(keras.Model):
    """A functional model that averages a classifier's outputs over the picture, its mirror image and shifted copies.

    It shares the classifier's weights and leaves training to it. Half of the weight is on the picture in its place,
    half is spread evenly over the shifted ones; the mirror image shares its picture's: `shifts=1` makes 6 views of
    weights 1/4, 1/4 and four times 1/8. One view is in memory at a time.

    `evaluate` needs no `compile`: it takes loss and metrics from the classifier, as that is compiled at the moment.

    Shapes: as the classifier: (batch, height, width, channels), uint8 or float -> its output, float32 or float64.

    Args:
        model: a built `keras.Model` with one input, pictures with channels last, and one output.
        mirror: bool, whether to add the mirror image (left to right). Default True.
        shifts: int: for every distance of 1 to `shifts` pixels, add the picture moved up and to the left, and down and
            to the right; what lies outside is its reflection. Default 0.
        **kwargs: `name`.

    Raises:
        ValueError: an unsuitable model or argument; in `evaluate`, neither model is compiled.

    Example:
        TestTimeAugmentation(model, shifts=1).evaluate(x_test, y_test)

    Source: airbench94's second level (Jordan, 2024, arXiv 2404.00498, section 3.6; KellerJordan/cifar10-airbench).
    """

    __test__ = False  # pytest collects classes with such a name

    def __init__(self, model: keras.Model, mirror: bool = True, shifts: int = 0, **kwargs: Any) -> None:
        refuse_unknown("TestTimeAugmentation", kwargs, ("model", "mirror", "shifts", "name"))
        if not isinstance(mirror, bool):
            raise ValueError(f"`mirror` must be True or False. Received: mirror={mirror!r}")
        shifts = whole_number("shifts", shifts, 0)
        shape, dtype = _pictures_of(model, shifts)
        moves = [sign * distance for distance in range(1, shifts + 1) for sign in (-1, 1)]
        weights = dict.fromkeys(moves, 0.5 / max(len(moves), 1)) | {0: 0.5 if moves else 1.0}
        sides = (True, False) if mirror else (False,)
        with model.distribute_strategy.scope():
            images, total = keras.Input(batch_shape=shape, dtype=dtype), None
            # The picture itself comes last, because the classifier keeps the state of its last call.
            for shift, mirrored in itertools.product(weights, sides):
                output = View(model, shift, mirrored)(images, total)
                if not keras.backend.is_float_dtype(output.dtype):
                    raise ValueError(
                        "The model's outputs are no floating-point numbers and have no useful mean; wrap the model "
                        f"that returns logits or probabilities. Received: dtype={output.dtype}"
                    )
                wide = keras.backend.result_type(output.dtype, "float32")
                output = keras.layers.Rescaling(weights[shift] / len(sides), dtype=wide)(output)
                total = output if total is None else total + output
            super().__init__(images, total, **kwargs)
        if getattr(model, "output_names", None):
            self.output_names = model.output_names  # by which metrics may be given
        self.model, self.mirror, self.shifts = model, mirror, shifts
        self._followed: Any = None  # the classifier's compilation that was taken over; False: compiled by the user

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Only the classifier, so that saved weights keep its names."""
        return [operation.model for operation in self.operations if isinstance(operation, View)][:1]

    def compile(self, optimizer: Any = None, loss: Any = None, **kwargs: Any) -> None:
        """Compile with a loss and metrics of its own; the optimizer is ignored. Default loss: the classifier's."""
        with self.distribute_strategy.scope():
            super().compile(optimizer=None, loss=loss, **kwargs)
        self._followed = False

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`, with the classifier's loss and metrics unless this one is compiled itself."""
        self._follow()
        return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.test_on_batch`; see `evaluate`."""
        self._follow()
        return super().test_on_batch(*args, **kwargs)

    def _follow(self):
        if self._followed is False:
            return
        if not self.model.compiled:
            raise ValueError(
                "Neither the wrapped model nor its TestTimeAugmentation is compiled; compile one of them, with a loss. "
                f"Received: model={self.model.name!r}"
            )
        compilation = self.model._compile_config  # the public `get_compile_config` fails for a plain function
        if self._followed is not compilation:
            names = ("metrics", "weighted_metrics", "run_eagerly", "steps_per_execution", "jit_compile")
            # Metrics are made anew: shared ones would be reset by either model.
            self.compile(**keras.tree.map_structure(_new_metric, {name: compilation.config[name] for name in names}))
            self._followed = compilation

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = False
    ) -> Any:
        """The loss that this was compiled with; else the classifier's own, at its scale."""
        compute = self.model.compute_loss if self.loss is None else super().compute_loss
        return compute(x, y, y_pred, sample_weight, training=False)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: train the classifier."""
        raise NotImplementedError(f"TestTimeAugmentation does not train; fit the model in it. Received: {self.model!r}")

    train_step = train_on_batch = fit

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        return {"model": model, "mirror": self.mirror, "shifts": self.shifts, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TestTimeAugmentation":
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**(config | {"model": model}))

    def get_compile_config(self) -> dict[str, Any] | None:
        """What the user compiled this with; what was taken over is saved with the classifier."""
        return super().get_compile_config() if self._followed is False else None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def _new_metric(value):
    return type(value).from_config(value.get_config()) if isinstance(value, keras.metrics.Metric) else value


def _pictures_of(model, shifts):
    """(shape, dtype) of the pictures that a model takes; ValueError unless its views can be averaged."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"TestTimeAugmentation wraps a keras.Model. Received: model={model!r}")
    inputs, outputs = (keras.tree.flatten(getattr(model, name, None)) for name in ("inputs", "outputs"))
    if len(inputs) > 1 or len(outputs) > 1:
        received = f"Received: {len(inputs)} inputs, {len(outputs)} outputs"
        raise ValueError(f"TestTimeAugmentation takes a model with one input and one output. {received}")
    shape = getattr(inputs[0], "shape", None) or (model.get_build_config() or {}).get("input_shape")
    if not shape:
        raise ValueError(f"Build the model first: call it on a batch of pictures. Received: model={model.name!r}")
    if len(shape) != 4:
        raise ValueError(f"The model must take pictures, (batch, height, width, channels). Received: shape={shape}")
    if any(size is not None and size <= shifts for size in shape[1:3]):
        raise ValueError(f"A picture can be moved by less than its size. Received: shifts={shifts}, shape={shape}")
    return (None, *shape[1:]), getattr(inputs[0], "dtype", None)
