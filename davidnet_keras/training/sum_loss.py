"""The train step: a summed loss, with L2 decay added to its gradient."""

import copy

import keras
import tensorflow as tf

REDUCTIONS = ("sum", "mean", "sum_over_batch_size")


@keras.saving.register_keras_serializable(package="davidnet_keras")
class SumLossModel(keras.Model):
    """A functional model of one output whose step descends the *sum* of the loss over the global batch, plus decay.

        g = d/dw sum_i sample_weight_i * loss_i  +  l2 * w        for every trainable variable w

    The loss shown by `fit` and `evaluate` is that sum per example. All else is `keras.Model`: metrics, sample and class
    weights, mixed precision, `tf.distribute`, `steps_per_execution`, `gradient_accumulation_steps` (Keras averages the
    micro-batches: the mean of summed gradient + decay), saving.

    Args:
        inputs, outputs: `keras.KerasTensor`, as for `keras.Model(inputs, outputs)`.
        l2: float >= 0, the coefficient of w added to the gradient of the summed loss: weight decay x batch size
            (5e-4 x 512 = 0.256 in the reference). `keras.regularizers.L2(c)` adds 2 c w, and adds to the loss
            shown; this does neither. Default 0.
        dtype: the policy by which `compile` decides whether the loss is scaled ("mixed_float16" is); the layers have
            their own. Default: Keras's global one.
        **kwargs: `name`, `trainable`.

    Raises:
        ValueError: negative l2; more than one output.

    Example:
        model = SumLossModel(inputs, outputs, l2=5e-4 * 512)
        model.compile(MomentumSGD(0.4 / 512), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    Source: davidcpage/cifar10-fast, and the notebook that ports it (whose own decay is a no-op; this one is applied).
    """

    def __init__(self, inputs, outputs, l2=0.0, dtype=None, **kwargs):
        if not l2 >= 0:
            raise ValueError(f"The decay must be 0 or more. Received: l2={l2}")
        if len(keras.tree.flatten(outputs)) != 1:
            raise ValueError(f"SumLossModel takes a model with a single output. Received: outputs={outputs}")
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)
        self.l2 = float(l2)

    def train_step(self, data):
        """One step on one (replica's) batch: forward, gradient, decay, update. Returns the metrics so far."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            # The gradient flows as the mean's and is multiplied after: as the sum's it would be a batch size nearer
            # to float16's overflow.
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        examples = batch_size(y_pred)
        self.optimizer.apply_gradients(
            (self._sum_with_decay(gradient, variable, examples), variable)
            for gradient, variable in zip(gradients, self.trainable_variables, strict=True)
        )
        for metric in self.metrics:
            if metric.name == "loss":
                replicas = tf.cast(self.distribute_strategy.num_replicas_in_sync, loss.dtype)
                metric.update_state(loss * replicas, sample_weight=examples)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def _sum_with_decay(self, gradient, variable, examples):
        """This replica's part of the gradient: of its summed loss, and its share of the decay."""
        if gradient is None:  # the loss does not reach this variable: Keras warns and leaves it alone
            return None
        gradient = tf.convert_to_tensor(gradient)  # embeddings give sparse slices
        replicas = self.distribute_strategy.num_replicas_in_sync
        # `loss` is 1/replicas of the replica's mean, as Keras wants it; gradients are summed over the replicas.
        total = gradient * tf.cast(examples * replicas, gradient.dtype)
        if not self.l2:
            return total
        # Under loss scaling the gradients are multiples of the true ones, so the decay has to be too.
        decay = self.optimizer.scale_loss(tf.constant(self.l2 / replicas, gradient.dtype))
        return total + tf.cast(decay, gradient.dtype) * tf.convert_to_tensor(variable, dtype=gradient.dtype)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The mean over the (replica's) batch of the loss summed within each example, divided by the replicas.

        That is the scaling of a Keras mean loss, so `evaluate`, `test_step` and the loss tracker need no change.
        """
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        examples = tf.maximum(batch_size(y_pred), 1)  # a replica's share of a small last batch may be empty
        replicas = self.distribute_strategy.num_replicas_in_sync
        return total / tf.cast(examples * replicas, total.dtype)

    def compile(self, optimizer="rmsprop", loss=None, **kwargs):
        """As `keras.Model.compile`, for one loss with reduction "sum", "mean" or "sum_over_batch_size".

        The three mean the same here: the step sums, the figure shown is per example.

        Raises:
            ValueError: no loss, several losses, a plain function, or another reduction.
        """
        super().compile(optimizer=optimizer, loss=summed(loss), **kwargs)
        if not self.optimizer.built:  # now, so that a model saved before its first step loads without a warning
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        # Keras refuses to recompile a model whose compile() is overridden unless it says how.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def get_config(self):
        # A functional model's config knows its graph and nothing else, and Keras does not write even that for a class
        # whose constructor takes more than (inputs, outputs). So: the graph as a plain model, and the rest beside it.
        graph = keras.Model(self.inputs, self.outputs, name=self.name)
        return {
            "graph": keras.saving.serialize_keras_object(graph),
            "l2": self.l2,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        graph = keras.saving.deserialize_keras_object(copy.deepcopy(config["graph"]), custom_objects=custom_objects)
        arguments = {name: config[name] for name in ("l2", "dtype", "trainable")}
        return cls(graph.inputs, graph.outputs, name=graph.name, **arguments)


def batch_size(y_pred):
    """How many examples a batch of predictions has, as a scalar int32 tensor."""
    return tf.shape(keras.tree.flatten(y_pred)[0])[0]


@keras.saving.register_keras_serializable(package="davidnet_keras")
class NamedLoss(keras.losses.Loss):
    """One of Keras's losses that exist as a function only by that name ("sparse_categorical_crossentropy", "mse")."""

    def __init__(self, name, reduction="sum", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.function = keras.losses.get(name)

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def summed(loss):
    """A copy of a Keras loss, or of the one of that name, with reduction "sum"."""
    if isinstance(loss, str):
        loss = named(loss)
    if not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            "SumLossModel.compile takes one keras.losses.Loss or the name of one; "
            f"wrap a function in a Loss subclass. Received: loss={loss!r}"
        )
    if loss.reduction not in REDUCTIONS:
        raise ValueError(
            f"The loss's reduction must be one of {', '.join(REDUCTIONS)}, so that its sum over the batch is defined. "
            f"Received: reduction={loss.reduction!r}"
        )
    loss = copy.copy(loss)
    loss.reduction = "sum"
    return loss


def named(name):
    """The loss that Keras knows by this name: a Loss already, or a function to wrap."""
    try:
        found = keras.losses.get(name)
    except ValueError:
        raise ValueError(f"Keras has no loss of that name. Received: loss={name!r}") from None
    return found if isinstance(found, keras.losses.Loss) else NamedLoss(name)
