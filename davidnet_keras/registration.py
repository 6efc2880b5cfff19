"""Make the package's classes known to Keras without importing Keras for a program that needs none of it."""

import importlib
import importlib.util
import sys

# The modules whose classes `keras.saving.load_model` has to find: it looks among those imported so far.
MODULES = (
    "activations",
    "alternating_flip",
    "augment",
    "conv_pool_block",
    "dirac",
    "dropout",
    "fastnet",
    "layers",
    "losses",
    "model",
    "muon",
    "normalization",
    "optimizer",
    "sum_loss",
    "test_time",
    "whitening",
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

    `wrapt.when_imported` does this too, but importing wrapt takes a quarter of the time that `--help` may take.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_register(module):
                load(module)
                import_modules()

            spec.loader.exec_module = load_and_register
        return spec
