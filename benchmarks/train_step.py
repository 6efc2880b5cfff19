"""Time a recipe's train step in `model.fit`, or its inference in `model.evaluate`, without an input pipeline.

    python benchmarks/train_step.py                                    # as the command line trains
    TF_ENABLE_ONEDNN_OPTS=0 python benchmarks/train_step.py            # without oneDNN
    python benchmarks/train_step.py --stock                            # DavidNet from Keras's own layers
    python benchmarks/train_step.py --recipe fast --batch-size 1000    # FastNet; compare torch_airbench.py --steps 5
    python benchmarks/train_step.py --precision mixed_bfloat16
    python benchmarks/train_step.py --inference                        # inference, as in validation

Prints pictures per second (median, minimum and maximum of the steps), peak memory, hardware and versions.
"""

import argparse
import dataclasses
import os
import platform
import time

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from figures import Figure, peak_memory, show  # noqa: E402

from davidnet_keras import RECIPES, choose_precision, training_flops  # noqa: E402
from davidnet_keras.models.build import build_model  # noqa: E402
from davidnet_keras.models.cost import inference_flops  # noqa: E402


class StepTimes(keras.callbacks.Callback):
    """Record the seconds of each step."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.begin = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # wait for the step
        self.seconds.append(time.perf_counter() - self.begin)

    on_test_batch_begin, on_test_batch_end = on_train_batch_begin, on_train_batch_end


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=256, help="pictures per step (default: 256)")
    parser.add_argument("--steps", type=int, default=5, help="timed steps, after two warm-up steps (default: 5)")
    parser.add_argument("--recipe", choices=RECIPES, default="davidnet", help="whose step (default: davidnet)")
    parser.add_argument("--dropout", type=float, help="dropout rate (default: the recipe's)")
    parser.add_argument("--activation", help="activation of FastNet (default: the recipe's)")
    parser.add_argument("--precision", default="auto", help="Keras dtype policy (default: auto)")
    parser.add_argument("--stock", action="store_true", help="time the network of Keras's own layers instead")
    parser.add_argument("--inference", action="store_true", help="time inference instead of training")
    parser.add_argument("--json", action="store_true", help="print JSON objects")
    arguments = parser.parse_args()
    precision, reason = choose_precision(arguments.precision)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (arguments.batch_size, 32, 32, 3), np.uint8)
    y = rng.integers(0, 10, arguments.batch_size)
    given = {name: getattr(arguments, name) for name in ("batch_size", "dropout", "activation")}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = dataclasses.replace(RECIPES[arguments.recipe], **given)
    model = (
        stock_davidnet(recipe.dropout, precision) if arguments.stock else build_model(recipe, x, precision=precision)
    )
    model.optimizer.learning_rate = 1e-6  # the data is noise
    times = StepTimes()
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    if arguments.inference:
        model.evaluate(data, steps=arguments.steps + 2, verbose=0, callbacks=[times])
    else:
        model.fit(data, steps_per_epoch=arguments.steps + 2, shuffle=False, verbose=0, callbacks=[times])
    rates = [arguments.batch_size / seconds for seconds in times.seconds[2:]]
    kind = f"activation {recipe.activation}" if recipe.network == "fastnet" else f"dropout {recipe.dropout}"
    name = f"{'stock Keras' if arguments.stock else 'ours'}, {'inference' if arguments.inference else kind}"
    figure = Figure(name, "images/s", rates)
    show(figure)
    show(Figure(f"{name}: peak memory", "MB", [peak_memory()]))
    if not arguments.json:
        flops = inference_flops(model, 1) if arguments.inference else training_flops(model, 1, 1)
        print(
            f"{figure.median * flops / 1e9:.0f} GFLOP/s: batch {arguments.batch_size}, "
            f"{precision} ({reason}), oneDNN {os.environ['TF_ENABLE_ONEDNN_OPTS']}, {os.cpu_count()} cores, "
            f"{platform.machine()}, tensorflow {tf.__version__}, keras {keras.__version__}"
        )


def stock_davidnet(dropout, dtype):
    """The same network from Keras's own layers, trained by Keras's own step."""
    layers, dtype = keras.layers, keras.dtype_policies.get(dtype)

    def conv(x, filters):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, dtype=dtype)(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype)(layers.Dropout(dropout, dtype=dtype)(x))
        return layers.ReLU(dtype=dtype)(x)

    def residual(x, filters):
        return layers.Add(dtype=dtype)([x, conv(conv(x, filters), filters)])

    def pool(x):
        return layers.MaxPooling2D(2, dtype=dtype)(x)

    images = keras.Input((32, 32, 3))
    x = conv(layers.Rescaling(1 / 64, -2, dtype=dtype)(images), 64)
    x = residual(pool(conv(x, 128)), 128)
    x = residual(pool(conv(pool(conv(x, 256)), 512)), 512)
    x = layers.Dense(10, use_bias=False, dtype=dtype)(layers.GlobalMaxPooling2D(dtype=dtype)(x))
    model = keras.Model(images, layers.Rescaling(0.125, dtype="float32")(x))
    model.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


if __name__ == "__main__":
    main()
