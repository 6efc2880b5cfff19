"""Ctrl-C at a chosen batch."""

import keras


class Interrupt(keras.callbacks.Callback):
    """Raises KeyboardInterrupt after a batch of an epoch, both from 0."""

    def __init__(self, epoch, batch=1):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise KeyboardInterrupt
