"""What a model's arithmetic costs, counted from its layers and the shapes that they are called with."""

import contextlib
import functools
import math

import keras
import tensorflow as tf

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


def training_flops(model, steps, batch):
    """Count the floating-point operations of training: 2 for each multiply-accumulate, times 3.

    Counted are the products of convolutions and dense layers, by the plain algorithm: a convolution that is executed
    otherwise (`Conv3x3`, by Winograd's fewer multiplications) costs what it would cost plainly, so that figures compare
    with published ones. Elementwise work is not counted: normalisation, activation, pooling, dropout, the loss,
    biases, the optimizer. Forward, gradient of the inputs and gradient of the weights count as one pass each, by the
    common convention for every layer alike: for the first layer too, which needs no gradient of its inputs, and for a
    frozen one, which needs none of its weights.

    The model is called once, on a symbolic picture, and each layer inside it, however deep, is watched: a layer that
    is called twice counts twice. `Conv1D` to `Conv3D`, their transposed, depthwise and separable kin, `Dense`, and
    layers derived from them are known. A layer of yours counts its own products, not those of layers inside it, by a
    method `multiply_accumulates(input_shape)`, for the batch of that shape. Any other layer with a kernel, which is
    a weight of two axes or more, is refused, as is one that is never called or called inside a loop. Products made by
    functions (`keras.ops.matmul`) in a layer without a kernel go unseen.

    Args:
        model: `keras.Model`, built, whose inputs have known sizes.
        steps: int, how many steps.
        batch: int, pictures a step. Where the last step of an epoch is smaller, give epochs and pictures an epoch.

    Returns:
        int.

    Raises:
        UserError (a ValueError): the model has a layer that cannot be counted, or inputs of unknown size.

    Example:
        training_flops(DavidNet(), steps=24, batch=50_000) / 1e15  # 2.7

    Source: Amodei and Hernandez, "AI and Compute" (OpenAI, 2018), for 2 a multiply-accumulate and the factor 3.
    """
    return TRAINING * inference_flops(model, steps * batch)


def inference_flops(model, pictures, views=1):
    """Count the floating-point operations of predicting: 2 for each multiply-accumulate.

    Args:
        model: as `training_flops`, as for what is counted.
        pictures: int, how many pictures.
        views: int, how often the model looks at each: 6 for a test-time augmentation of 6 views.

    Returns:
        int.

    Raises:
        UserError (a ValueError): as `training_flops`.
    """
    return 2 * multiply_accumulates(model) * pictures * views


def multiply_accumulates(model):
    """The multiply-accumulates of one pass forward over one picture: int. Raises: as `training_flops`."""
    structure = inputs_of(model)
    rules, counted = counted_layers(model), {}

    def forward(*inputs):
        graph = tf.compat.v1.get_default_graph()
        with contextlib.ExitStack() as watches:
            for layer, rule in rules:
                watches.enter_context(watched(layer, rule, counted, graph))
            model(keras.tree.pack_sequence_as(structure, list(inputs)), training=False)

    # Traced, which shows the shapes, and not run: nothing is compiled and no weight changes.
    tf.function(forward, autograph=False).get_concrete_function(*keras.tree.flatten(structure))
    for layer, _ in rules:
        if id(layer) not in counted:
            raise cannot_count(layer, "the model never calls it")
    return sum(counted.values())


def inputs_of(model):
    """A `tf.TensorSpec` for one example of each of the model's inputs, nested as the model takes them."""
    inputs = getattr(model, "inputs", None)
    if not inputs or any(None in tensor.shape[1:] for tensor in inputs):
        raise UserError(
            "The cost can be counted once the sizes of the model's inputs are known; give keras.Input a whole shape. "
            f"Received: model={model.name}"
        )
    # A Sequential model has no `input` of its own.
    structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda tensor: tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype), structure)


def counted_layers(model):
    """[(layer, rule)] of the layers, at any depth, that multiply; UserError for one that is not known."""
    found = []
    for layer in model._flatten_layers():  # Keras has no public name for the layers inside composite ones
        rule, kernels = rule_of(layer), kernels_of(layer)
        if rule is not None:
            found.append((layer, rule))
        elif isinstance(layer, UNKNOWN):
            raise cannot_count(layer, "how it multiplies is not known here")
        elif kernels and not isinstance(layer, WITHOUT_PRODUCTS):
            raise cannot_count(layer, f"what it does with its weight {kernels[0]} is not known")
    return found


def rule_of(layer):
    """The function of the input's shape that gives a layer's multiply-accumulates; None if none is known."""
    if hasattr(layer, "multiply_accumulates"):
        return layer.multiply_accumulates
    for kind in type(layer).__mro__:  # Conv2D and the like, of which a layer of yours may be derived
        if kind.__module__.startswith("keras.") and kind.__name__ in KINDS:
            return functools.partial(KINDS[kind.__name__], kind, layer)
    return None


def convolution(kind, layer, shape):
    """Every output sums over its group's channels in the window."""
    outputs = math.prod(kind.compute_output_shape(layer, shape))
    return outputs * math.prod(layer.kernel_size) * channels(layer, shape) // layer.groups


def transposed(kind, layer, shape):
    """Every input goes to all filters of the window."""
    return math.prod(shape) * math.prod(layer.kernel_size) * layer.filters


def depthwise(kind, layer, shape):
    """Every output sums over one channel of the window."""
    return math.prod(kind.compute_output_shape(layer, shape)) * math.prod(layer.kernel_size)


def separable(kind, layer, shape):
    """A depthwise convolution, then a product of all its channels with each filter, at every place."""
    inner = layer.depth_multiplier * channels(layer, shape)
    places = math.prod(kind.compute_output_shape(layer, shape)) // layer.filters
    return places * inner * (math.prod(layer.kernel_size) + layer.filters)


def dense(kind, layer, shape):
    """Every output sums over the last axis."""
    return math.prod(shape) * layer.units


def channels(layer, shape):
    """How many channels pictures of this shape have."""
    return shape[-1 if layer.data_format == "channels_last" else 1]


KINDS = {
    **{f"Conv{rank}D": convolution for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": transposed for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": separable for rank in (1, 2)},
    "Dense": dense,
}


def kernels_of(layer):
    """The names of a layer's own weights of two axes or more."""
    inner = {id(weight) for each in layer._flatten_layers(include_self=False) for weight in each.weights}
    return [weight.name for weight in layer.weights if id(weight) not in inner and len(weight.shape) >= 2]


@contextlib.contextmanager
def watched(layer, rule, counted, graph):
    """While this lasts, each call of the layer adds its multiply-accumulates to `counted[id(layer)]`."""
    before = vars(layer).get("call")
    original = layer.call

    def watching(x, *args, **kwargs):
        shape = tuple(x.shape)
        if x.graph is not graph:
            raise cannot_count(layer, "it is called inside a loop or a function of its own, who knows how often")
        if None in shape:
            raise cannot_count(layer, f"it is called with inputs of unknown size, {shape}")
        counted[id(layer)] = counted.get(id(layer), 0) + int(rule(shape))
        if type(layer).call.__module__.startswith("keras."):  # the work itself can be left out, Winograd's above all
            return tf.zeros(layer.compute_output_shape(shape), layer.compute_dtype)
        return original(x, *args, **kwargs)

    # Keras looks the method up at each call, and has no hook for calls.
    vars(layer)["call"] = watching
    try:
        yield
    finally:
        del vars(layer)["call"]
        if before is not None:
            vars(layer)["call"] = before


def cannot_count(layer, reason):
    """The UserError for a layer whose arithmetic is not known."""
    return UserError(
        f"The cost of the layer {layer.name} ({type(layer).__name__}) cannot be counted: {reason}. Give it a method "
        f"multiply_accumulates(input_shape), or count without it. Received: layer={layer.path}"
    )


def cost_text(flops):
    """A number of operations with its unit: "0.29 PFLOP"."""
    unit, size = ("PFLOP", 1e15) if flops >= 1e13 else ("TFLOP", 1e12) if flops >= 1e10 else ("GFLOP", 1e9)
    return f"{flops / size:.2f} {unit}"
