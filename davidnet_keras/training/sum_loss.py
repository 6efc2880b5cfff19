"""The train step: a summed loss, with L2 decay added to its gradient."""

import copy
from typing import Any

import keras

from davidnet_keras.errors import refuse_unknown
from davidnet_keras.kernels.backend import tf
from davidnet_keras.training.losses import summed


@keras.saving.register_keras_serializable(package="davidnet_keras")
class SumLossModel(keras.Model):
    """A functional model with one output whose step descends the *sum* of the loss over the global batch, plus decay.

        g = d/dw sum_i sample_weight_i * loss_i  +  l2 * w        for every trainable variable w

    `fit` and `evaluate` show that sum per example. All else is `keras.Model`: metrics, sample and class weights, mixed
    precision, `tf.distribute`, `steps_per_execution`, `gradient_accumulation_steps` (Keras averages the micro-batches:
    the mean of summed gradient + decay), saving. `keras.models.clone_model`, which would make a plain model of it, is
    refused; `copy.deepcopy` copies it whole.

    Args:
        inputs, outputs: `keras.KerasTensor`, as for `keras.Model(inputs, outputs)`.
        l2: float >= 0, the coefficient of w added to the gradient of the summed loss: weight decay x batch size
            (5e-4 x 512 = 0.256 in the reference). `keras.regularizers.L2(c)` adds 2 c w, and its penalty to the loss
            shown; this does neither. Default 0.
        dtype: policy that decides whether `compile` scales the loss ("mixed_float16" does); the layers have their own.
            Default: Keras's global one.
        name, trainable: as for `keras.Model`.

    Raises:
        ValueError: negative l2; more than one output.
        TypeError: an unknown argument.

    Example:
        model = SumLossModel(inputs, outputs, l2=5e-4 * 512)
        model.compile(MomentumSGD(0.4 / 512), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    Source: davidcpage/cifar10-fast, and the notebook that ports it (whose own decay is a no-op; this one is applied).
    """

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        l2: float = 0.0,
        dtype: Any = None,
        name: str | None = None,
        trainable: bool = True,
        **unknown: Any,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown, ("inputs", "outputs", "l2", "dtype", "name", "trainable"))
        if not l2 >= 0:
            raise ValueError(f"The decay must be 0 or more. Received: l2={l2}")
        if len(keras.tree.flatten(outputs)) != 1:
            raise ValueError(f"SumLossModel takes a model with a single output. Received: outputs={outputs}")
        super().__init__(inputs=inputs, outputs=outputs, name=name, trainable=trainable)
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)
        self.l2 = float(l2)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on one replica's batch: forward, gradient, sum and decay, update. Returns the metrics so far."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled_loss, self.trainable_variables)
        examples = _batch_size(y_pred)
        self.optimizer.apply_gradients(
            (self._sum_with_decay(gradient, variable, examples), variable)
            for gradient, variable in zip(gradients, self.trainable_variables, strict=True)
        )
        self._show(loss, examples)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The replica's summed loss per example, divided by the number of replicas.

        That is how Keras scales a mean loss, so `evaluate`, `test_step` and the loss tracker need no change. The
        gradient flows at this scale too and is multiplied afterwards: the sum's own would be nearer to float16's
        overflow by the batch size.
        """
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        examples = tf.maximum(_batch_size(y_pred), 1)  # a replica's share of a small last batch may be empty
        return total / tf.cast(examples * self._replicas(), total.dtype)

    def _sum_with_decay(self, gradient, variable, examples):
        """This replica's gradient of its summed loss, and its share of the decay: replicas' gradients are added up."""
        if gradient is None:  # the loss does not depend on this variable: Keras warns and leaves it alone
            return None
        gradient = tf.convert_to_tensor(gradient)  # embeddings give sparse slices
        total = gradient * tf.cast(examples * self._replicas(), gradient.dtype)
        if not self.l2:
            return total
        # Loss scaling multiplies the gradients, and so the decay too.
        decay = self.optimizer.scale_loss(tf.constant(self.l2 / self._replicas(), gradient.dtype))
        return total + tf.cast(decay, gradient.dtype) * tf.convert_to_tensor(variable, dtype=gradient.dtype)

    def _show(self, loss, examples):
        """Add the batch to the loss that `fit` shows, each example with the same weight."""
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss * tf.cast(self._replicas(), loss.dtype), sample_weight=examples)

    def _replicas(self):
        return self.distribute_strategy.num_replicas_in_sync

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """As `keras.Model.compile`, for one loss with reduction "sum", "mean" or "sum_over_batch_size".

        The three mean the same here: the step descends the sum, the figure shown is per example.

        Raises:
            ValueError: no loss, several losses, a plain function, or another reduction.
        """
        super().compile(optimizer=optimizer, loss=summed(loss), **kwargs)
        if not self.optimizer.built:  # now, so that a model saved before its first step loads without a warning
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the model with this `get_compile_config()` was."""
        # Keras does not recompile a model with a `compile` of its own, unless the model says how.
        self.compile(**keras.saving.deserialize_keras_object(config))

    def get_config(self) -> dict[str, Any]:
        """The graph as a plain model's config, and the arguments beside it."""
        # Keras writes no graph for a class whose constructor takes more than (inputs, outputs).
        graph = keras.Model(self.input, self.output, name=self.name)
        return {
            "graph": keras.saving.serialize_keras_object(graph),
            "l2": self.l2,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SumLossModel":
        """The model of this config, with new weights."""
        graph = keras.saving.deserialize_keras_object(copy.deepcopy(config["graph"]), custom_objects=custom_objects)
        arguments = {name: config[name] for name in ("l2", "dtype", "trainable")}
        return cls(graph.input, graph.output, name=graph.name, **arguments)

    def _run_through_graph(self, *args, **kwargs):
        # `clone_model` asks nothing public of a model before it makes a plain one from the graph.
        if getattr(kwargs.get("operation_fn"), "__module__", "") == keras.models.clone_model.__module__:
            kind = type(self).__name__
            raise ValueError(
                f"clone_model would lose {kind}'s train step; use copy.deepcopy(model), or "
                f"{kind}.from_config(model.get_config()) for new weights. Received: model={self.name!r}"
            )
        return super()._run_through_graph(*args, **kwargs)


def _batch_size(y_pred):
    """How many examples a batch of predictions has, as a scalar int32 tensor."""
    return tf.shape(keras.tree.flatten(y_pred)[0])[0]
