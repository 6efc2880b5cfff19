"""Make the package's classes known to Keras without importing Keras for a program that needs none of it."""

import functools
import importlib
import importlib.util
import sys

# The modules whose classes `keras.saving.load_model` has to find: it looks among those imported so far.
MODULES = (
    "layers.activations",
    "data.alternating_flip",
    "data.augmentation",
    "layers.conv_pool_block",
    "layers.initializers",
    "layers.dropout",
    "models.fastnet",
    "layers.conv_bn",
    "training.losses",
    "models.davidnet",
    "training.muon",
    "layers.normalization",
    "training.momentum_sgd",
    "training.sum_loss",
    "models.averaged_views",
    "layers.whitening",
)


def register_with_keras():
    """Import the modules that register classes: now if Keras is imported already, else right after it is."""
    if "keras" in sys.modules:
        import_modules()
    else:
        sys.meta_path.insert(0, AfterKeras())


def import_modules():
    for module in MODULES:
        importlib.import_module(f"davidnet_keras.{module}")


class AfterKeras:
    """An import hook that lets Keras be found and loaded as ever, and then imports our modules. It acts once.

    Where one of our own modules is the first to import Keras, it waits for that module's end: the others need it whole.

    `wrapt.when_imported` does this too, but importing wrapt takes a quarter of the time that `--help` may take.
    """

    def __init__(self):
        self.loading = 0  # modules of Keras's or ours that are being loaded, one inside another

    def find_spec(self, name, path=None, target=None):
        if name != "keras" and not name.startswith("davidnet_keras."):
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(self.load, spec.loader.exec_module)
        return spec

    def load(self, load, module):
        """Load a module, and if it is the outermost and Keras is there by now, do what is to be done."""
        self.loading += 1
        try:
            load(module)
        finally:
            self.loading -= 1
        if not self.loading and "keras" in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            import_modules()
