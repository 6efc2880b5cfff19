"""Plot where the time of a recipe's train step goes, from TensorFlow's profiler.

    python benchmarks/profile_step.py --output profile.png
    python benchmarks/profile_step.py --recipe fast --batch-size 1000 --output profile.png

The profiler records how long each operation ran. Operations of the same kind are added up. Operations that run at the
same time all count in full, so the shares are of the total operation time, not of elapsed time.
"""

import argparse
import collections
import dataclasses
import tempfile
from pathlib import Path

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from figures import Figure, show  # noqa: E402
from matplotlib.figure import Figure as Picture  # noqa: E402

from davidnet_callbacks import atomic_write  # noqa: E402
from davidnet_callbacks.figures.style import BLUE  # noqa: E402
from davidnet_keras import RECIPES, choose_precision  # noqa: E402
from davidnet_keras.models.build import build_model  # noqa: E402

BARS = 14
XLA = "CpuExecutable::ExecuteAsyncOnStream"  # the name of a loop that XLA compiled, in the profiler's trace
WORDS = {
    XLA: "XLA's loops: transforms, dropout, activation",
    "BatchMatMulV2": "products of Winograd's tiles",
    "MatMul": "other products of matrices",
    "Conv2D": "convolution, TensorFlow's own",
    "FusedConv2D": "convolution and bias",
    "Conv2DBackpropInput": "convolution, gradient of the inputs",
    "Conv2DBackpropFilter": "convolution, gradient of the kernel",
    "FusedBatchNormV3": "batch norm",
    "FusedBatchNormEx": "batch norm and ReLU",
    "FusedBatchNormGradV3": "batch norm's gradient",
    "MaxPoolGrad": "max pool's gradient",
    "ReluGrad": "ReLU's gradient",
    "Transpose": "turning of Winograd's tiles",
    "Pad": "padding before Winograd's tiles",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="davidnet", help="whose step (default: davidnet)")
    parser.add_argument("--batch-size", type=int, default=512, help="pictures per step (default: 512)")
    parser.add_argument("--steps", type=int, default=2, help="profiled steps, after two warm-up steps (default: 2)")
    parser.add_argument("--output", default="profile.png", help="file for the plot (default: profile.png)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    arguments = parser.parse_args()
    precision, _ = choose_precision()
    recipe = dataclasses.replace(RECIPES[arguments.recipe], batch_size=arguments.batch_size)
    seconds = operation_seconds(recipe, precision, arguments.steps)
    total = sum(seconds.values())
    for kind, spent in seconds.most_common(BARS):
        show(Figure(f"profile of {recipe.name}, {kind}", "% of the time of operations", [100 * spent / total]))
    title = f"{recipe.name}: one step of {recipe.batch_size} pictures, {precision}"
    with atomic_write(arguments.output) as temporary:
        picture(seconds, arguments.steps, title).savefig(temporary, dpi=150)


def operation_seconds(recipe, precision, steps):
    """Profile some train steps. Returns the seconds of each type of operation, a Counter."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (recipe.batch_size, 32, 32, 3), np.uint8)
    y = rng.integers(0, 10, recipe.batch_size)
    model = build_model(recipe, x, precision=precision)
    model.optimizer.learning_rate = 1e-6
    data = tf.data.Dataset.from_tensors((x, y)).repeat()
    model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0)
    with tempfile.TemporaryDirectory() as place:
        with tf.profiler.experimental.Profile(place):
            model.fit(data, steps_per_epoch=steps, shuffle=False, verbose=0)
        return read_trace(next(Path(place).rglob("*.xplane.pb")))


def read_trace(path):
    """The seconds of each type of operation in a profiler's trace, a Counter."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2  # where recent versions of TensorFlow keep it

    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    found = collections.Counter()
    for plane in (plane for plane in space.planes if plane.name == "/host:CPU"):
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for event in (event for line in plane.lines for event in line.events):
            whole = names[event.metadata_id]
            name, _, kind = whole.rpartition(":")
            if whole == XLA:
                found[WORDS[XLA]] += event.duration_ps / 1e12
            elif name and not name.endswith(":") and kind.isidentifier():  # "layer1/conv/Conv2D:_MklNativeConv2D"
                kind = kind.removeprefix("_Mkl").removeprefix("Native")
                found[WORDS.get(kind, kind)] += event.duration_ps / 1e12
    return found


def picture(seconds, steps, title):
    """Plot the types of operation as bars, the longest at the top, the remaining ones together at the bottom."""
    bars = [(kind, spent / steps) for kind, spent in seconds.most_common(BARS)]
    others = sum(seconds.values()) / steps - sum(spent for _, spent in bars)
    bars.append(("all others", others))
    total = sum(spent for _, spent in bars)
    figure = Picture(figsize=(8.6, 0.9 + 0.32 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh([kind for kind, _ in bars], [spent for _, spent in bars], color=BLUE)
    axes.bar_label(drawn, [f"{spent:.2f} s, {100 * spent / total:.0f} %" for _, spent in bars], padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_xlabel("seconds of operations")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


if __name__ == "__main__":
    main()
