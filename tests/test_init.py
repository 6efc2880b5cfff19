"""What `import davidnet_keras` imports, and that its names are found lazily."""

import subprocess
import sys

import pytest

import davidnet_keras


def test_importing_the_package_imports_neither_keras_nor_tensorflow():
    program = "import sys, davidnet_keras; print(sorted({'keras', 'tensorflow', 'numpy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_leaves_pythons_import_system_alone():
    program = "import sys; before = list(sys.meta_path); import davidnet_keras; print(sys.meta_path == before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_every_public_name_is_found():
    assert dir(davidnet_keras) == davidnet_keras.__all__
    for name in davidnet_keras.__all__:
        assert getattr(davidnet_keras, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Davidnet'"):
        _ = davidnet_keras.Davidnet
