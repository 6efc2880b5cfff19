"""What a type checker sees of the public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import davidnet_callbacks
import davidnet_keras

ROOT = Path(__file__).parents[1]
PROGRAM = """
from davidnet_keras import RECIPES, DavidNet, load_shapes, train

reveal_type(DavidNet(width=2))
reveal_type(RECIPES["fast"].epochs)
reveal_type(train(RECIPES["davidnet"], "shapes").run_dir)
load_shapes(train="many")
"""


@pytest.mark.parametrize(
    ("package", "folder"), [(davidnet_keras, "davidnet_keras"), (davidnet_callbacks, "callbacks")], ids=lambda x: str(x)
)
def test_the_stub_names_what_the_package_exports(package, folder):
    stub = ast.parse((ROOT / folder / "__init__.pyi").read_text())
    imported = {
        alias.asname: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(imported) == package.__all__
    for name, module in imported.items():
        assert hasattr(__import__(f"{package.__name__}.{module}", fromlist=[name]), name)


def test_a_type_checker_knows_the_types_and_finds_a_slip(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent"]
    done = subprocess.run(
        [*command, "--cache-dir", tmp_path / "cache", tmp_path / "program.py"], capture_output=True, text=True, cwd=ROOT
    )
    assert 'Revealed type is "davidnet_keras.models.davidnet.DavidNet"' in done.stdout, done.stdout
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.int", "int")
    assert "Path" in done.stdout
    assert 'Argument "train" to "load_shapes" has incompatible type "str"' in done.stdout
