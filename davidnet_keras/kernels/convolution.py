"""3x3 convolution for CPUs: the same sums as `keras.layers.Conv2D`, by the fastest of three ways.

oneDNN's convolutions are fast on large maps and slow on DavidNet's small ones, above all in the gradient of the
kernel. `choose` says which way serves which shape; anything else, and any GPU, takes TensorFlow's own convolution.
"""

import keras
import tensorflow as tf

from davidnet_keras.kernels.winograd import cut, winograd_conv2d

SIDE = 3  # of the kernel
STACK = 16  # pictures
WIDE = 512  # channels of the output from which on stacks pay


@keras.saving.register_keras_serializable(package="davidnet_keras")
class Conv3x3(keras.layers.Conv2D):
    """`keras.layers.Conv2D` of 3x3 kernels, stride 1, zero padding and channels last, no bias by default.

    Shapes: (batch, height, width, in) -> (batch, height, width, filters).

    Args:
        filters: int, output channels.
        **kwargs: as `keras.layers.Conv2D`, `kernel_initializer` for example.
    """

    def __init__(self, filters, use_bias=False, **kwargs):
        fixed = {"kernel_size": SIDE, "strides": 1, "padding": "same", "data_format": "channels_last"}
        super().__init__(filters, use_bias=use_bias, **kwargs | fixed)
        self.wanted = None  # a `tf.Variable`, bool, for `plain_conv2d_while`

    def convolution_op(self, inputs, kernel):
        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        convolve = choose(inputs.shape, kernel.shape, inputs.dtype.name)
        if self.wanted is not None and convolve is plain_conv2d:
            wanted = tf.convert_to_tensor(self.wanted)  # a variable read in a gradient only could not be exported
            return plain_conv2d_while(wanted, inputs, kernel)
        return convolve(inputs, kernel)


def choose(shape, kernel_shape, dtype):
    """The function (x, kernel) -> y that is fastest for these shapes on this machine.

    Args:
        shape: (batch, height, width, channels), the batch not looked at.
        kernel_shape: (3, 3, channels, filters).
        dtype: that of the arithmetic, a name.
    """
    _, height, width, channels = shape
    narrow = min(channels, kernel_shape[-1])
    if tf.config.get_visible_devices("GPU") or tf.distribute.has_strategy() or None in (height, width):
        return plain_conv2d
    if dtype == "float32" and narrow >= 64 and cut(height).products * cut(width).products <= 4 * height * width:
        return winograd_conv2d
    if dtype == "bfloat16" and narrow >= 128 and max(height, width) <= 8:
        return small_map_conv2d
    return plain_conv2d


def plain_conv2d(x, kernel):
    """TensorFlow's own: oneDNN on CPU, cuDNN on a GPU."""
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def plain_conv2d_while(wanted, x, kernel):
    """`plain_conv2d`, whose inputs get zeros for a gradient while `wanted`, a tensor of one bool, is False.

    For what stands behind weights that are trained in a part of the run only: that gradient takes 0.29 s of the 3.6
    that a step of the fast recipe takes for 1,000 pictures (median of 4, float32, 2 cores with AVX-512).
    """

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradients(dy):
            dx = tf.cond(wanted, lambda: inputs_gradient(x, kernel, dy), lambda: tf.zeros_like(x))
            dkernel = tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=kernel.shape, out_backprop=dy, strides=[1, 1, 1, 1], padding="SAME"
            )
            return dx, dkernel

        return plain_conv2d(x, kernel), gradients

    return convolve(x, kernel)


def inputs_gradient(x, kernel, dy):
    """The gradient of x in `plain_conv2d`."""
    return tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=kernel, out_backprop=dy, strides=[1, 1, 1, 1], padding="SAME"
    )


@tf.custom_gradient
def small_map_conv2d(x, kernel):
    """TensorFlow's convolution, of stacks of pictures where that is faster, and the kernel's gradient as nine products.

    oneDNN's bfloat16 convolutions reach their speed on large maps only. So sixteen pictures stand on one another with a
    row of zeros between them, where the convolution's padding would be; the gradient of x is such a convolution too.
    Where the outputs have fewer than 512 channels, stacks gain nothing, and are left out. In the gradient of the kernel
    each tap is a product of matrices.

    Forward and both gradients of 512 pictures take 94 ms at 4x4 (512 to 512 channels), 268 by TensorFlow's own; 159 and
    213 at 8x8 (256 to 512), 69 and 87 at 7x7, 17 and 40 at 3x3 (256 to 256); at 16x16 132 and 60 (medians of n = 9, 2
    cores with AMX bfloat16, TensorFlow 2.21, `python benchmarks/convolution.py --dtype bfloat16 --batch-size 512`).
    """
    y = convolve_stacks(x, kernel)

    def gradients(dy):
        turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
        taps = [tf.matmul(in_rows(tap), in_rows(dy), transpose_a=True) for tap in shifts(x)]
        return convolve_stacks(dy, turned), tf.reshape(tf.stack(taps), kernel.shape)

    return y, gradients


def convolve_stacks(x, kernel):
    """`plain_conv2d`, in stacks of pictures where that is faster."""
    batch, (height, width, channels) = tf.shape(x)[0], x.shape[1:]
    if kernel.shape[-1] < WIDE:  # reshaped, for oneDNN gives the map of no pictures the wrong number of channels
        return tf.reshape(plain_conv2d(x, kernel), [batch, height, width, kernel.shape[-1]])
    stacks = tf.maximum(-(-batch // STACK), 1)  # oneDNN fails on none
    x = tf.pad(x, [[0, stacks * STACK - batch], [0, 1], [0, 0], [0, 0]])
    y = plain_conv2d(tf.reshape(x, [-1, STACK * (height + 1), width, channels]), kernel)
    y = tf.reshape(y, [-1, height + 1, width, y.shape[-1]])[:, :height]
    return y[:batch]  # by itself: with the rows, no side would be known beforehand


def shifts(x):
    """The nine maps that a 3x3 kernel multiplies, in the kernel's order, each as large as x."""
    height, width = x.shape[1:3]
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return [padded[:, i : i + height, j : j + width] for i in range(SIDE) for j in range(SIDE)]


def in_rows(x):
    """(batch, height, width, channels) -> (places, channels)."""
    return tf.reshape(x, [tf.size(x) // x.shape[-1], x.shape[-1]])
