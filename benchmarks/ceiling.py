"""Time a large matrix product in TensorFlow, an upper bound for the processor's speed.

python benchmarks/ceiling.py
"""

import time

from davidnet_keras import tune_tensorflow

tune_tensorflow()

import tensorflow as tf  # noqa: E402
from figures import Figure, show  # noqa: E402

from davidnet_keras.precision import BFLOAT16_FLAGS, cpu_flags  # noqa: E402

SIZE, TIMES = 4096, 10


def main():
    for dtype in ("float32", *(["bfloat16"] if BFLOAT16_FLAGS & cpu_flags() else [])):
        a = tf.cast(tf.random.normal((SIZE, SIZE)), dtype)
        product = tf.function(tf.linalg.matmul)
        product(a, a)
        values = []
        for _ in range(TIMES):
            begin = time.perf_counter()
            product(a, a).numpy()
            values.append(2 * SIZE**3 / (time.perf_counter() - begin) / 1e9)
        show(Figure(f"matrix product, {dtype}", "GFLOP/s", values))


if __name__ == "__main__":
    main()
