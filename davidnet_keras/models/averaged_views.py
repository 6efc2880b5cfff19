"""Test-time augmentation: average a classifier's outputs over views of each picture."""

import weakref
from typing import Any, NamedTuple

import keras
from keras import ops

from davidnet_keras.errors import refuse_unknown, whole_number
from davidnet_keras.kernels.devices import after

# A recipe's test_views -> (arguments of TestTimeAugmentation, or None for the model as it is, number of views).
RECIPE_VIEWS = {"one": (None, 1), "mirror": ({"mirror": True}, 2), "mirror_and_shifts": ({"shifts": 1}, 6)}
FOLLOWED = ("metrics", "weighted_metrics", "run_eagerly", "steps_per_execution", "jit_compile")


def with_views(model: keras.Model, test_views: str) -> tuple[keras.Model, int]:
    """(the model that averages the views that a recipe's `test_views` names, their number)."""
    arguments, number = RECIPE_VIEWS[test_views]
    return (model if arguments is None else TestTimeAugmentation(model, **arguments)), number


class View(NamedTuple):
    """A picture moved down and to the right by `shift` pixels, perhaps mirrored, and its weight in the average."""

    shift: int
    mirrored: bool
    weight: float


@keras.saving.register_keras_serializable(package="davidnet_keras")
class TestTimeAugmentation(keras.Model):
    """A classifier whose outputs are another's, averaged over the picture, its mirror image and shifted copies.

    It shares the other's weights, predicts and is evaluated; training is left to the other. The views go through the
    model one after another, in inference mode, so that the memory is that of one view.

    Half of the weight is on the picture in its place, half is spread evenly over the shifted ones; the mirror image
    shares its picture's. `mirror=True, shifts=1` makes 6 views of weights 1/4, 1/4 and four times 1/8.

    `evaluate` needs no `compile`: it takes loss and metrics as the wrapped model is compiled at that moment, and shows
    the loss as that model does (`SumLossModel`: per example). The outputs are averaged as they are, logits or
    probabilities.

    Shapes: as the wrapped model: (batch, height, width, channels), uint8 or float -> its output, float32 or float64.

    Args:
        model: `keras.Model` with one input, pictures with channels last, and one output.
        mirror: bool, whether to add the mirror image (left to right). Default True.
        shifts: int: for every distance of 1 to `shifts` pixels, add the picture moved up and to the left, and down and
            to the right; what lies outside is its reflection. Default 0.
        name: str.

    Raises:
        ValueError: an unsuitable model or argument; in `evaluate`, neither model is compiled.
        NotImplementedError: in `fit` and `train_on_batch`.

    Example:
        model.fit(...)
        TestTimeAugmentation(model, shifts=1).evaluate(x_test, y_test)

    Source: the weights with `shifts=1` are those of airbench94's second level (Jordan, 2024, arXiv 2404.00498, section
        3.6; KellerJordan/cifar10-airbench).
    """

    __test__ = False  # pytest collects classes with such a name

    def __init__(
        self, model: keras.Model, mirror: bool = True, shifts: int = 0, name: str | None = None, **unknown: Any
    ) -> None:
        refuse_unknown("TestTimeAugmentation", unknown, ("model", "mirror", "shifts", "name"))
        shifts = _checked(model, mirror, shifts)
        # The wrapped model casts as it sees fit: bfloat16 would round pictures of 0 to 255 to eight bits.
        with model.distribute_strategy.scope():
            super().__init__(name=name, dtype=model.dtype_policy, autocast=False)
        self.model, self.mirror, self.shifts = model, mirror, shifts
        self.views = _views(mirror, shifts)
        self._followed = None  # the wrapped model's compilation that was taken over; False: compiled by the user
        self.built = model.built

    def build(self, input_shape: Any) -> None:
        """Build the wrapped model, if it is not built yet."""
        if not self.model.built:
            self.model.build(input_shape)
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        """The weighted mean of the model's outputs; `training` is ignored."""
        total = None
        for view in self.views:
            self.model._clear_losses()  # else `add_loss` counts for every view; there is no public name
            with after(total):
                output = self.model(_seen(images, view), training=False)
            output = view.weight * ops.cast(output, _sum_dtype(output))
            total = output if total is None else total + output
        return total

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the wrapped model's."""
        return self.model.compute_output_shape(input_shape)

    def compile(self, optimizer: Any = None, loss: Any = None, **kwargs: Any) -> None:
        """Compile with a loss and metrics of its own, instead of the wrapped model's.

        Args:
            optimizer: ignored, since nothing is trained.
            loss: as for `keras.Model.compile`. Default: the wrapped model's.
            **kwargs: `metrics`, `weighted_metrics`, `steps_per_execution`, ...
        """
        with self.distribute_strategy.scope():
            super().compile(optimizer=None, loss=loss, **kwargs)
        self._followed = False

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.evaluate`, with the wrapped model's loss and metrics unless this one is compiled itself."""
        self._follow()
        return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.test_on_batch`; see `evaluate`."""
        self._follow()
        return super().test_on_batch(*args, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = False
    ) -> Any:
        """The loss that this was compiled with; else the wrapped model's own, at its scale."""
        compute = self.model.compute_loss if self.loss is None else super().compute_loss
        return compute(x, y, y_pred, sample_weight, training=False)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: train the wrapped model."""
        raise NotImplementedError(f"TestTimeAugmentation does not train; fit the model in it. Received: {self.model!r}")

    train_step = train_on_batch = fit

    def get_config(self) -> dict[str, Any]:
        """The wrapped model's config and the arguments."""
        model = keras.saving.serialize_keras_object(self.model)
        return {"model": model, "mirror": self.mirror, "shifts": self.shifts, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TestTimeAugmentation":
        """The model of this config, with new weights."""
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**(config | {"model": model}))

    def get_compile_config(self) -> dict[str, Any] | None:
        """What the user compiled this with; what was taken over is saved with the wrapped model."""
        return super().get_compile_config() if self._followed is False else None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the model with this `get_compile_config()` was."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _follow(self):
        """Be compiled as the wrapped model is now, unless compiled by the user."""
        if self._followed is False:
            return
        if not self.model.compiled:
            raise ValueError(
                "Neither the wrapped model nor its TestTimeAugmentation is compiled; compile one of them, with a loss. "
                f"Received: model={self.model.name!r}"
            )
        # The public `get_compile_config` serialises, which not every loss and metric allows.
        config = self.model._compile_config
        if self._followed is None or self._followed() is not config:
            # Metrics are made anew: shared ones would be reset by either model.
            self.compile(**keras.tree.map_structure(_new_metric, {name: config.config[name] for name in FOLLOWED}))
            self._followed = weakref.ref(config)  # Keras would take an attribute with metrics for this model's own


def _new_metric(value):
    return type(value).from_config(value.get_config()) if isinstance(value, keras.metrics.Metric) else value


def _views(mirror, shifts):
    """The views; the picture itself comes last, because the wrapped model keeps the state of its last call."""
    shifted = [shift for distance in range(1, shifts + 1) for shift in (-distance, distance)]
    sides = (True, False) if mirror else (False,)
    weights = [(shift, 0.5 / len(shifted)) for shift in shifted] + [(0, 0.5 if shifted else 1.0)]
    return tuple(View(shift, side, weight / len(sides)) for shift, weight in weights for side in sides)


def _seen(images, view):
    """A view of a batch of pictures, with the same shape and dtype."""
    distance = abs(view.shift)
    if distance:
        padded = ops.pad(images, [[0, 0], [distance, distance], [distance, distance], [0, 0]], mode="reflect")
        window = slice(2 * distance, None) if view.shift < 0 else slice(None, -2 * distance)
        images = padded[:, window, window]
    return ops.flip(images, axis=2) if view.mirrored else images


def _sum_dtype(outputs):
    """float64 for outputs of that type, float32 for other floats; ValueError for whole numbers."""
    dtype = keras.backend.standardize_dtype(outputs.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            "The model's outputs are no floating-point numbers and have no useful mean; wrap the model that returns "
            f"logits or probabilities. Received: dtype={dtype}"
        )
    return "float64" if dtype == "float64" else "float32"


def _checked(model, mirror, shifts):
    """`shifts` as an int; ValueError unless these are arguments for `TestTimeAugmentation`."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"TestTimeAugmentation wraps a keras.Model. Received: model={model!r}")
    if not isinstance(mirror, bool):
        raise ValueError(f"`mirror` must be True or False. Received: mirror={mirror!r}")
    shifts = whole_number("shifts", shifts, 0)
    # Known once a functional or sequential model is built, and never of a subclassed one.
    inputs, outputs = (keras.tree.flatten(getattr(model, name, None)) for name in ("inputs", "outputs"))
    if len(inputs) > 1 or len(outputs) > 1:
        raise ValueError(
            "TestTimeAugmentation takes a model with one input and one output. "
            f"Received: {len(inputs)} inputs, {len(outputs)} outputs"
        )
    shape = inputs[0].shape if inputs and inputs[0] is not None else None
    if shape and len(shape) != 4:
        raise ValueError(f"The model must take pictures, (batch, height, width, channels). Received: shape={shape}")
    if shape and any(size is not None and size <= shifts for size in shape[1:3]):
        raise ValueError(
            f"A picture can be moved by less than its size. Received: shifts={shifts}, input shape={shape}"
        )
    return shifts
