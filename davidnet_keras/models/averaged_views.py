"""Test-time augmentation: average a classifier's outputs over views of each picture."""

import weakref
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops


class View(NamedTuple):
    """One look at a picture: how many pixels it is moved down and to the right, whether it is mirrored, its weight."""

    shift: int
    mirrored: bool
    weight: float


@keras.saving.register_keras_serializable(package="davidnet_keras")
class TestTimeAugmentation(keras.Model):
    """A classifier whose outputs are averages of another's over the picture, its mirror image and shifted copies.

    It shares the other's weights, makes predictions and is evaluated; training is left to the other. A view at a time
    goes through the model, so that memory is that of one, and every view in inference mode.

    Half of the weight lies on the picture where it is, half is spread evenly over the shifted ones; the mirror image
    shares its picture's. With `mirror=True, shifts=1` these are 6 views of weights 1/4, 1/4 and four times 1/8.

    `evaluate` needs no `compile`: it takes loss and metrics as the wrapped model is compiled at that moment, and shows
    the loss as that model does (`SumLossModel`: per example). What is averaged is what the model returns, logits or
    probabilities.

    Shapes: as the wrapped model: (batch, height, width, channels), uint8 or float -> its output, float32 or wider.

    Args:
        model: `keras.Model` with one input, pictures with channels last, and one output. Any class, any size.
        mirror: bool, whether to look at the mirror image (left to right) too. Default True.
        shifts: int, 0 or more: for every distance of 1 to `shifts` pixels, look at the picture moved up and to the
            left, and down and to the right, too; what lies outside is its reflection. Default 0.
        **kwargs: `name`.

    Raises:
        ValueError: something else than such a model, or than such arguments; in `evaluate`, neither is compiled.
        NotImplementedError: it is asked to train.

    Example:
        model.fit(...)
        TestTimeAugmentation(model, shifts=1).evaluate(x_test, y_test)

    Source: the weights with `shifts=1` are those of airbench94's second level (Jordan, 2024, arXiv 2404.00498, section
        3.6; KellerJordan/cifar10-airbench).
    """

    __test__ = False  # its name begins like those that pytest collects

    def __init__(self, model, mirror=True, shifts=0, **kwargs):
        check_arguments(model, mirror, shifts)
        # A picture of 0 to 255 must not be rounded to the eight bits of a bfloat16: the model casts as it sees fit.
        kwargs = {"dtype": model.dtype_policy, "autocast": False} | kwargs
        with model.distribute_strategy.scope():
            super().__init__(**kwargs)
        self.model, self.mirror, self.shifts = model, mirror, shifts
        self.views = views(mirror, shifts)
        self._compiled_as = None  # what was taken over from the model; False: compiled by the user
        self.built = model.built

    def build(self, input_shape):
        """Build the wrapped model, if it is not yet."""
        if not self.model.built:
            self.model.build(input_shape)
        self.built = True

    def call(self, images, training=None):
        """The weighted mean of the model's outputs; `training` is accepted and not heeded."""
        total = None
        for view in self.views:
            self.model._clear_losses()  # else `add_loss` counts every view; no public name does it
            # Nothing else would keep TensorFlow from working on several views at once.
            with tf.control_dependencies([] if total is None else [total]):
                output = self.model(look(images, view), training=False)
            output = view.weight * ops.cast(output, wide_dtype(output))
            total = output if total is None else total + output
        return total

    def compute_output_shape(self, input_shape):
        """As the wrapped model's."""
        return self.model.compute_output_shape(input_shape)

    def compile(self, optimizer=None, loss=None, **kwargs):
        """As `keras.Model.compile`, in place of what the wrapped model was compiled with.

        Args:
            optimizer: not used, since nothing is trained.
            loss: as for `keras.Model.compile`. Default: the wrapped model's.
            **kwargs: `metrics`, `weighted_metrics`, `steps_per_execution`, ...
        """
        with self.distribute_strategy.scope():
            super().compile(optimizer=None, loss=loss, **kwargs)
        self._compiled_as = False

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`, with the wrapped model's loss and metrics unless this one is compiled itself."""
        self._take_over()
        return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """As `keras.Model.test_on_batch`; see `evaluate`."""
        self._take_over()
        return super().test_on_batch(*args, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        """The loss that this was compiled with; else the wrapped model's own, scaled as that model scales it."""
        if self.loss is None:
            return self.model.compute_loss(x, y, y_pred, sample_weight, training=False)
        return super().compute_loss(x, y, y_pred, sample_weight, training=False)

    def fit(self, *args, **kwargs):
        """Refused: train the wrapped model."""
        raise NotImplementedError(f"TestTimeAugmentation does not train; fit the model in it. Received: {self.model!r}")

    train_step = train_on_batch = fit

    def get_config(self):
        return {
            "model": keras.saving.serialize_keras_object(self.model),
            "mirror": self.mirror,
            "shifts": self.shifts,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**(config | {"model": model}))

    def get_compile_config(self):
        # What was taken over is saved with the model that it was taken from.
        return super().get_compile_config() if self._compiled_as is False else None

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _take_over(self):
        """Be compiled as the wrapped model is now, unless compiled by the user."""
        if self._compiled_as is False:
            return
        if not self.model.compiled:
            raise ValueError(
                "Neither the wrapped model nor its TestTimeAugmentation is compiled; compile one of them, with a loss. "
                f"Received: model={self.model.name!r}"
            )
        # Keras keeps the arguments of `compile` for saving, under no public name but as a serialised dict, which not
        # every loss and metric can be.
        config = self.model._compile_config
        if self._compiled_as is None or self._compiled_as() is not config:
            names = ("metrics", "weighted_metrics", "run_eagerly", "steps_per_execution", "jit_compile")
            self.compile(**{name: fresh(config.config[name]) for name in names})
            self._compiled_as = weakref.ref(config)  # Keras takes metrics in a plain attribute for this model's own


def views(mirror, shifts):
    """The views, the picture as it is last: what the model remembers of its last call is of that one."""
    shifted = [shift for distance in range(1, shifts + 1) for shift in (-distance, distance)]
    sides = (True, False) if mirror else (False,)
    rest = 0.5 if shifted else 1.0
    weights = [(shift, 0.5 / len(shifted)) for shift in shifted] + [(0, rest)]
    return tuple(View(shift, side, weight / len(sides)) for shift, weight in weights for side in sides)


def look(images, view):
    """A view of a batch of pictures, of the same shape and dtype."""
    distance = abs(view.shift)
    if distance:
        padded = ops.pad(images, [[0, 0], [distance, distance], [distance, distance], [0, 0]], mode="reflect")
        window = slice(2 * distance, None) if view.shift < 0 else slice(None, -2 * distance)
        images = padded[:, window, window]
    return ops.flip(images, axis=2) if view.mirrored else images


def wide_dtype(outputs):
    """The dtype in which outputs are added up: theirs, but float32 for half precision; ValueError for whole numbers."""
    dtype = keras.backend.standardize_dtype(outputs.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ValueError(
            "The outputs of this model are no floating-point numbers, so that their mean means nothing; wrap the model "
            f"that returns logits or probabilities. Received: dtype={dtype}"
        )
    return "float64" if dtype == "float64" else "float32"


def fresh(arguments):
    """The arguments of `compile` with metrics made anew: one that is shared would be reset by either model."""

    def new(value):
        return type(value).from_config(value.get_config()) if isinstance(value, keras.metrics.Metric) else value

    return keras.tree.map_structure(new, arguments)


def check_arguments(model, mirror, shifts):
    """ValueError unless these are arguments for `TestTimeAugmentation`."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"TestTimeAugmentation wraps a keras.Model. Received: model={model!r}")
    if not isinstance(mirror, bool):
        raise ValueError(f"Say True or False. Received: mirror={mirror!r}")
    if isinstance(shifts, bool) or not isinstance(shifts, int) or shifts < 0:
        raise ValueError(f"The shifts must be a whole number of pixels, 0 or more. Received: shifts={shifts!r}")
    # A subclassed model does not say what it takes; a functional or sequential one does once it has inputs.
    inputs, outputs = (keras.tree.flatten(getattr(model, name, None)) for name in ("inputs", "outputs"))
    if len(inputs) > 1 or len(outputs) > 1:
        raise ValueError(
            "TestTimeAugmentation takes a model with one input and one output. "
            f"Received: {len(inputs)} inputs, {len(outputs)} outputs"
        )
    for tensor in inputs:
        if tensor is not None and len(tensor.shape) != 4:
            raise ValueError(
                f"The model must take pictures, (batch, height, width, channels). Received: input shape={tensor.shape}"
            )
        if tensor is not None and any(size is not None and size <= shifts for size in tensor.shape[1:3]):
            raise ValueError(
                f"A picture can be moved by less than its size. Received: shifts={shifts}, input shape={tensor.shape}"
            )
