"""The train step: a summed loss, with L2 decay added to its gradient."""

import copy
from typing import Any

import keras

from davidnet_keras.errors import number, refuse_unknown
from davidnet_keras.kernels.backend import tf
from davidnet_keras.training.losses import summed


@keras.saving.register_keras_serializable(package="davidnet_keras")
class SumLossModel(keras.Model):
    """A functional model with one output whose step descends the *sum* of the loss over the global batch, plus decay.

        g = d/dw sum_i sample_weight_i * loss_i  +  l2 * w        for every trainable variable w

    `fit` and `evaluate` show that sum per example. All else is `keras.Model`: metrics, sample and class weights, mixed
    precision, `tf.distribute`, `steps_per_execution`, saving, `gradient_accumulation_steps` (the mean of the
    micro-batches' g). `copy.deepcopy` copies it; `keras.models.clone_model`, which would lose the step, is refused.
    A model that only holds it, such as `keras.Sequential([DavidNet()])`, trains by its own step, not by this one.

    Args:
        inputs, outputs, name, trainable: as for `keras.Model(inputs, outputs)`, with a single output.
        l2: float >= 0, weight decay x batch size (5e-4 x 512 = 0.256 in the reference). `keras.regularizers.L2(c)`
            adds 2 c w, and its penalty to the loss shown; this does neither.
        dtype: policy that decides whether `compile` scales the loss ("mixed_float16" does); the layers have their own.
            Default: Keras's global one.

    Example:
        model = SumLossModel(inputs, outputs, l2=5e-4 * 512)
        model.compile(MomentumSGD(0.4 / 512), keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    Source: davidcpage/cifar10-fast, and the notebook that ports it (whose own decay is a no-op; this one is applied).
    """

    def __init__(
        self, inputs: Any, outputs: Any, l2: float = 0.0, dtype: Any = None, name: str | None = None, **kwargs: Any
    ) -> None:
        refuse_unknown(type(self).__name__, kwargs, ("inputs", "outputs", "l2", "dtype", "name", "trainable"))
        if len(keras.tree.flatten(outputs)) != 1:
            raise ValueError(f"SumLossModel takes a model with a single output. Received: outputs={outputs}")
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        if dtype is not None:
            self.dtype_policy = keras.dtype_policies.get(dtype)
        self.l2 = number("l2", l2)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step on one replica's batch; returns the metrics so far."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            scaled_loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled_loss, variables)
        examples, replicas = self._batch(y_pred)
        gradients = [
            self._sum_with_decay(gradient, variable, examples * replicas, self.l2 / replicas)
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        shown = next(metric for metric in self.metrics if metric.name == "loss")  # by `fit`, per example
        shown.update_state(loss * tf.cast(replicas, loss.dtype), sample_weight=examples)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The replica's summed loss per example, divided by the number of replicas: Keras's scale for a mean loss.

        The gradient flows at this scale too, and is multiplied afterwards: the sum's own is nearer to float16's
        overflow by the batch size.
        """
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        examples, replicas = self._batch(y_pred)
        examples = tf.maximum(examples, 1)  # a replica's share of a small last batch may be empty
        return total / tf.cast(examples * replicas, total.dtype)

    def _sum_with_decay(self, gradient, variable, examples, l2):
        """From the gradient of the loss per example, that of the sum, plus l2 * w; Keras adds up the replicas'."""
        if gradient is None:  # the loss does not depend on this variable: Keras warns and leaves it alone
            return None
        gradient = tf.convert_to_tensor(gradient)  # embeddings give sparse slices
        gradient *= tf.cast(examples, gradient.dtype)
        if not l2:
            return gradient
        decay = self.optimizer.scale_loss(tf.constant(l2, gradient.dtype))  # as the gradient is scaled
        return gradient + tf.cast(decay, gradient.dtype) * tf.convert_to_tensor(variable, dtype=gradient.dtype)

    def _batch(self, y_pred):
        """How many examples this replica has, and how many replicas there are."""
        return tf.shape(keras.tree.flatten(y_pred)[0])[0], self.distribute_strategy.num_replicas_in_sync

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, **kwargs: Any) -> None:
        """As `keras.Model.compile`, for one loss; "sum", "mean" and "sum_over_batch_size" all mean the sum."""
        super().compile(optimizer=optimizer, loss=summed(loss), **kwargs)
        if not self.optimizer.built:  # now, so that a model saved before its first step loads without a warning
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as the model of this `get_compile_config()` was; Keras asks it of models with their own `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def get_config(self) -> dict[str, Any]:
        """The arguments and the graph, which Keras writes only for classes that take nothing but inputs and outputs."""
        graph = keras.Model(self.input, self.output, name=self.name)
        dtype = keras.dtype_policies.serialize(self.dtype_policy)
        graph = keras.saving.serialize_keras_object(graph)
        return {"graph": graph, "l2": self.l2, "dtype": dtype, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SumLossModel":
        """The model of this config, with new weights."""
        arguments = copy.deepcopy(config)
        graph = keras.saving.deserialize_keras_object(arguments.pop("graph"), custom_objects=custom_objects)
        return cls(graph.input, graph.output, name=graph.name, **arguments)

    def _run_through_graph(self, inputs, operation_fn=lambda op: op, call_fn=None):
        # `clone_model` asks nothing public of a model before it makes a plain one from the graph.
        if getattr(operation_fn, "__module__", "") == keras.models.clone_model.__module__:
            raise ValueError(
                f"clone_model would lose {type(self).__name__}'s train step; use copy.deepcopy(model), or "
                f"type(model).from_config(model.get_config()) for new weights. Received: model={self.name!r}"
            )
        return super()._run_through_graph(inputs, operation_fn, call_fn)
