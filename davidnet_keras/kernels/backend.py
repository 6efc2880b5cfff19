"""TensorFlow, for the modules that need it: on another backend of Keras, importing them is one sentence."""

from davidnet_keras.kernels.environment import check_backend

check_backend()

import tensorflow as tf  # noqa: E402, F401
