"""`import davidnet_keras` is enough to load its models, in either order and without importing Keras itself."""

import subprocess
import sys

import pytest

FIND = "print(keras.saving.get_registered_object('davidnet_keras>DavidNet').__name__)"


@pytest.mark.parametrize("imports", ["import davidnet_keras, keras", "import keras, davidnet_keras"])
def test_keras_knows_the_model_whichever_is_imported_first(imports):
    done = subprocess.run([sys.executable, "-c", f"{imports}; {FIND}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "DavidNet"


def test_importing_the_package_imports_neither_keras_nor_tensorflow():
    program = "import sys, davidnet_keras; print(sorted({'keras', 'tensorflow', 'numpy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "first", ["from davidnet_keras import ConvBN", "from davidnet_keras.models.fastnet import FastNet"]
)
def test_a_module_that_others_need_may_be_the_first_to_import_keras(first):
    done = subprocess.run([sys.executable, "-c", f"{first}; import keras; {FIND}"], capture_output=True, text=True)
    assert done.stdout.strip() == "DavidNet", done.stderr
