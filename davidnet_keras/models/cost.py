"""What a model's arithmetic costs, counted from the graph of its layers."""

import math

import keras
from keras import layers

from davidnet_keras.errors import UserError

TRAINING = 3  # one pass forward, one for the gradient of the inputs, one for that of the weights
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
# Layers that multiply their whole kernel once for each place of the output, or of the input.
PER_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
BY_CHANNEL = (layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D)
PER_OUTPUT = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, *BY_CHANNEL)
# Layers without matrix products, although some of their weights have two axes or more.
NORMS = (layers.BatchNormalization, layers.GroupNormalization, layers.LayerNormalization)
WITHOUT_PRODUCTS = (*NORMS, layers.Embedding, layers.PReLU)
# Layers with products that are not counted here, some of them without a weight of their own.
UNKNOWN = (layers.Attention, layers.Dot, layers.EinsumDense, layers.ReversibleEmbedding)


def training_flops(model: keras.Model, steps: int, batch: int) -> int:
    """Count the floating-point operations of training: 2 for each multiply-accumulate, times 3.

    Only the products of convolutions and dense layers count, by the plain algorithm (not Winograd's), and the forward
    pass and both gradients alike for every layer, so that figures compare with published ones.

    Known are `Dense`, Keras's convolutions, layers derived from them, `TimeDistributed`, and models inside models. Any
    other layer counts by its method `multiply_accumulates(input_shape)`, for the batch of that shape and with the
    layers inside it; without one it is refused if it, or a layer inside it, has a kernel: a weight of two axes or more.
    Products of functions (`keras.ops.matmul`) elsewhere go unseen.

    Args:
        model: functional or sequential `keras.Model` whose inputs have known sizes.
        steps, batch: how many steps, and pictures per step; or epochs and pictures per epoch.

    Raises:
        UserError (a ValueError): the model has a layer that cannot be counted, or inputs of unknown size.

    Example:
        training_flops(DavidNet(), steps=24, batch=50_000) / 1e15  # 2.7

    Source: Amodei and Hernandez, "AI and Compute" (OpenAI, 2018), for 2 a multiply-accumulate and the factor 3.
    """
    return TRAINING * inference_flops(model, steps * batch)


def inference_flops(model: keras.Model, pictures: int, views: int = 1) -> int:
    """Count the floating-point operations of predicting, as `training_flops` does; the model sees `views` of each."""
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
    if isinstance(layer, layers.TimeDistributed):
        batch, times, *rest = shapes[0]
        return _of_layer(layer.layer, [(batch * times, *rest)])
    says = getattr(layer, "multiply_accumulates", None)
    kind = next((kind for kind in type(layer).__mro__ if kind in PER_INPUT + PER_OUTPUT), None)
    if (says or kind) and None in shapes[0]:
        raise _cannot_count(layer, f"it is called with inputs of unknown size, {shapes[0]}")
    if says:
        return int(says(shapes[0]))
    if kind:
        places = shapes[0] if kind in PER_INPUT else kind.compute_output_shape(layer, shapes[0])
        channels = places[1 if getattr(layer, "data_format", None) == "channels_first" else -1]
        sizes = [math.prod(getattr(layer, name).shape) for name in KERNELS if hasattr(layer, name)]
        return math.prod(places) // channels * sum(sizes)
    for part in layer._flatten_layers():  # Keras has no public name for the layers inside a layer
        if isinstance(part, UNKNOWN):
            raise _cannot_count(part, "how it multiplies is not known here")
        kernel = next((weight.name for weight in part.weights if len(weight.shape) >= 2), None)
        if kernel and not isinstance(part, WITHOUT_PRODUCTS):
            raise _cannot_count(layer, f"what it does with its weight {kernel} is not known")
    return 0


def _cannot_count(layer, reason):
    return UserError(
        f"The cost of the layer {layer.name} ({type(layer).__name__}) cannot be counted: {reason}. Give it a method "
        f"multiply_accumulates(input_shape), or count without it. Received: layer={layer.path}"
    )


def cost_text(flops: float) -> str:
    """A number of operations with its unit: "0.29 PFLOP"."""
    unit, size = ("PFLOP", 1e15) if flops >= 1e13 else ("TFLOP", 1e12) if flops >= 1e10 else ("GFLOP", 1e9)
    return f"{flops / size:.2f} {unit}"
