"""3x3 convolution for CPUs: the same sums as `keras.layers.Conv2D`, by the fastest of three ways."""

from davidnet_keras.kernels import devices
from davidnet_keras.kernels.backend import tf
from davidnet_keras.kernels.winograd import cut, winograd_conv2d

STACK = 16  # pictures
WIDE = 512  # output channels from which stacks are faster
_SAME = {"strides": [1, 1, 1, 1], "padding": "SAME"}


def convolve(x, kernel, inputs_gradient_needed=None):
    """The 3x3 convolution with zero padding and stride 1, by the way that `choose` names.

    Shapes: x (batch, height, width, channels), kernel (3, 3, channels, filters) -> (batch, height, width, filters).

    While `inputs_gradient_needed`, a `gradient_switch`, is off, the plain convolution gives x a gradient of zeros.
    """
    kernel = tf.convert_to_tensor(kernel)
    x = tf.cast(x, kernel.dtype)
    way = choose(x.shape, kernel.shape, x.dtype.name)
    if inputs_gradient_needed is not None and way is plain_conv2d:
        # Read here: a variable that is read in a gradient only could not be exported.
        return _plain_conv2d_while(tf.convert_to_tensor(inputs_gradient_needed), x, kernel)
    return way(x, kernel)


def gradient_switch():
    """A bool that a compiled step reads anew each time, True at first: `assign` it, read it by `numpy`."""
    return tf.Variable(True, trainable=False)


def choose(shape, kernel_shape, dtype):
    """The function (x, kernel) -> y that is fastest for these shapes and the type of that name on this machine.

    oneDNN's convolutions are fast on large maps and slow on DavidNet's small ones, above all in the gradient of the
    kernel; a GPU's are fast everywhere. The times are in docs/results/kernels.
    """
    _, height, width, channels = shape
    narrow = min(channels, kernel_shape[-1])
    if devices.visible_gpus() or tf.distribute.has_strategy() or None in (height, width):
        return plain_conv2d
    if dtype == "float32" and narrow >= 64 and cut(height).products * cut(width).products <= 4 * height * width:
        return winograd_conv2d
    if dtype == "bfloat16" and narrow >= 128 and max(height, width) <= 8:
        return small_map_conv2d
    return plain_conv2d


def plain_conv2d(x, kernel):
    """TensorFlow's own: oneDNN on CPU, cuDNN on a GPU."""
    return tf.nn.conv2d(x, kernel, **_SAME)


def _plain_conv2d_while(needed, x, kernel):
    """`plain_conv2d`, whose gradient of x is zeros while `needed`, a tensor of one bool, is False."""

    @tf.custom_gradient
    def with_gradient(x, kernel):
        def gradients(dy):
            options = {"out_backprop": dy, **_SAME}
            dx = tf.cond(
                needed,
                lambda: tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, **options),
                lambda: tf.zeros_like(x),
            )
            return dx, tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **options)

        return plain_conv2d(x, kernel), gradients

    return with_gradient(x, kernel)


@tf.custom_gradient
def small_map_conv2d(x, kernel):
    """The convolution in bfloat16 on small maps: stacks of pictures, and the kernel's gradient as nine products.

    oneDNN's bfloat16 convolutions reach their speed on large maps only. So sixteen pictures stand on one another with a
    row of zeros between them, where the convolution's padding would be; the gradient of x is such a convolution too. In
    the gradient of the kernel each tap is a product of matrices. At 4x4 with 512 channels that takes 94 ms, oneDNN 268.
    """

    def gradients(dy):
        height, width = x.shape[1:3]
        padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        shifted = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        taps = [tf.matmul(_in_rows(part), _in_rows(dy), transpose_a=True) for part in shifted]
        flipped = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
        return convolve_stacks(dy, flipped), tf.reshape(tf.stack(taps), kernel.shape)

    return convolve_stacks(x, kernel), gradients


def convolve_stacks(x, kernel):
    """`plain_conv2d`, in stacks of pictures where that is faster."""
    batch, (height, width, channels) = tf.shape(x)[0], x.shape[1:]
    if kernel.shape[-1] < WIDE:  # reshaped, as oneDNN gives an empty batch the wrong number of channels
        return tf.reshape(plain_conv2d(x, kernel), [batch, height, width, kernel.shape[-1]])
    stacks = tf.maximum(-(-batch // STACK), 1)  # oneDNN fails on none
    x = tf.pad(x, [[0, stacks * STACK - batch], [0, 1], [0, 0], [0, 0]])
    y = plain_conv2d(tf.reshape(x, [-1, STACK * (height + 1), width, channels]), kernel)
    y = tf.reshape(y, [-1, height + 1, width, y.shape[-1]])[:, :height]
    return y[:batch]  # a slice of its own: together with the rows it would lose the static sides


def _in_rows(x):
    """(batch, height, width, channels) -> (pixels, channels)."""
    return tf.reshape(x, [tf.size(x) // x.shape[-1], x.shape[-1]])
