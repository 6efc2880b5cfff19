"""What a model's arithmetic costs, counted from the graph of its layers."""

import math

import keras

from davidnet_keras.errors import UserError

TRAINING = 3  # one pass forward, one for the gradient of the inputs, one for that of the weights
# They multiply no matrices, although some of their weights have two axes or more.
WITHOUT_PRODUCTS = (
    keras.layers.BatchNormalization,
    keras.layers.Embedding,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.PReLU,
)
# They multiply in ways that no rule is written for, some of them without a weight of their own.
UNKNOWN = (keras.layers.Attention, keras.layers.Dot, keras.layers.EinsumDense, keras.layers.ReversibleEmbedding)


def training_flops(model: keras.Model, steps: int, batch: int) -> int:
    """Count the floating-point operations of training: 2 for each multiply-accumulate, times 3.

    Counted are the products of convolutions and dense layers, by the plain algorithm, however they are computed
    (`Conv3x3` by Winograd's fewer multiplications), so that figures compare with published ones. Elementwise work is
    not counted: normalisation, activation, pooling, dropout, the loss, biases, the optimizer. The forward pass and the
    two gradients count alike for every layer, by the common convention: for the first layer too, which needs no
    gradient of its inputs, and for a frozen one, which needs none of its weights.

    Known are `Dense`, `Conv1D` to `Conv3D`, their transposed, depthwise and separable kin, layers derived from them,
    `TimeDistributed`, and models inside models. Any other layer counts by its method
    `multiply_accumulates(input_shape)`, for the batch of that shape and with the layers inside it; without one it is
    refused if it, or a layer inside it, has a kernel: a weight of two axes or more. Products of functions
    (`keras.ops.matmul`) elsewhere go unseen.

    Args:
        model: functional or sequential `keras.Model` whose inputs have known sizes.
        steps: int, how many steps.
        batch: int, pictures per step. Where the last step of an epoch is smaller, give epochs and pictures per epoch.

    Raises:
        UserError (a ValueError): the model has a layer that cannot be counted, or inputs of unknown size.

    Example:
        training_flops(DavidNet(), steps=24, batch=50_000) / 1e15  # 2.7

    Source: Amodei and Hernandez, "AI and Compute" (OpenAI, 2018), for 2 a multiply-accumulate and the factor 3.
    """
    return TRAINING * inference_flops(model, steps * batch)


def inference_flops(model: keras.Model, pictures: int, views: int = 1) -> int:
    """Count the floating-point operations of predicting: 2 for each multiply-accumulate.

    Args:
        model: as for `training_flops`, which says what is counted.
        pictures: int, how many pictures.
        views: int, how often the model sees each: 6 for a test-time augmentation of 6 views.

    Raises:
        UserError (a ValueError): as `training_flops`.
    """
    return 2 * multiply_accumulates(model) * pictures * views


def multiply_accumulates(model: keras.Model) -> int:
    """The multiply-accumulates of one pass forward over one picture. Raises: as `training_flops`."""
    inputs = getattr(model, "inputs", None)
    if not inputs or any(None in tensor.shape[1:] for tensor in inputs):
        raise UserError(
            "The cost can be counted once the sizes of the model's inputs are known; give keras.Input a whole shape. "
            f"Received: model={model.name}"
        )
    return _of_graph(model, [(1, *tensor.shape[1:]) for tensor in inputs])


def _of_graph(model, shapes):
    """The cost of a model with inputs of these shapes: of every layer each time that it is called."""
    graph = keras.Function(model.inputs, model.outputs)
    total = 0

    def call(operation, *args, **kwargs):
        nonlocal total
        if isinstance(operation, keras.Layer):
            total += _of_layer(operation, [x.shape for x in keras.tree.flatten(args) if hasattr(x, "shape")])
        return operation.compute_output_spec(*args, **kwargs)

    inputs = [keras.KerasTensor(shape, x.dtype) for shape, x in zip(shapes, graph.inputs, strict=True)]
    graph._run_through_graph(inputs, call_fn=call)  # Keras has no public way to visit the calls in their order
    return total


def _of_layer(layer, shapes):
    """The cost of one call of a layer with inputs of these shapes."""
    if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
        return _of_graph(layer, shapes)
    if isinstance(layer, keras.layers.TimeDistributed):
        batch, times, *rest = shapes[0]
        return _of_layer(layer.layer, [(batch * times, *rest)])
    rule = _rule_of(layer)
    if rule is not None:
        if None in shapes[0]:
            raise _cannot_count(layer, f"it is called with inputs of unknown size, {shapes[0]}")
        return int(rule(shapes[0]))
    for part in layer._flatten_layers():  # Keras has no public name for the layers inside a layer
        if isinstance(part, UNKNOWN):
            raise _cannot_count(part, "how it multiplies is not known here")
        kernel = next((weight.name for weight in part.weights if len(weight.shape) >= 2), None)
        if kernel and not isinstance(part, WITHOUT_PRODUCTS):
            raise _cannot_count(layer, f"what it does with its weight {kernel} is not known")
    return 0


def _rule_of(layer):
    """The function of the input's shape that gives a layer's multiply-accumulates; None if none is known."""
    if hasattr(layer, "multiply_accumulates"):
        return layer.multiply_accumulates
    for kind in type(layer).__mro__:  # a layer of yours may be derived from Conv2D and the like
        if kind.__module__.startswith("keras.") and kind.__name__ in KINDS:
            return lambda shape: KINDS[kind.__name__](layer, shape, kind.compute_output_shape(layer, shape))
    return None


def _convolution(layer, inputs, outputs):
    """Every output sums over its group's channels in the window."""
    return math.prod(outputs) * math.prod(layer.kernel_size) * _channels(layer, inputs) // layer.groups


def _transposed(layer, inputs, outputs):
    """Every input goes to all filters of the window."""
    return math.prod(inputs) * math.prod(layer.kernel_size) * layer.filters


def _depthwise(layer, inputs, outputs):
    """Every output sums over one channel of the window."""
    return math.prod(outputs) * math.prod(layer.kernel_size)


def _separable(layer, inputs, outputs):
    """A depthwise convolution, then a product of all its channels with each filter, at every position."""
    inner = layer.depth_multiplier * _channels(layer, inputs)
    return math.prod(outputs) // layer.filters * inner * (math.prod(layer.kernel_size) + layer.filters)


def _dense(layer, inputs, outputs):
    """Every output sums over the last axis."""
    return math.prod(inputs) * layer.units


def _channels(layer, shape):
    return shape[-1 if layer.data_format == "channels_last" else 1]


KINDS = {
    **{f"Conv{rank}D": _convolution for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": _transposed for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": _depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": _separable for rank in (1, 2)},
    "Dense": _dense,
}


def _cannot_count(layer, reason):
    """The UserError for a layer whose arithmetic is not known."""
    return UserError(
        f"The cost of the layer {layer.name} ({type(layer).__name__}) cannot be counted: {reason}. Give it a method "
        f"multiply_accumulates(input_shape), or count without it. Received: layer={layer.path}"
    )


def cost_text(flops: float) -> str:
    """A number of operations with its unit: "0.29 PFLOP"."""
    unit, size = ("PFLOP", 1e15) if flops >= 1e13 else ("TFLOP", 1e12) if flops >= 1e10 else ("GFLOP", 1e9)
    return f"{flops / size:.2f} {unit}"
