"""Every way of installing, in environments that hold nothing of ours."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "davidnet_keras", "callbacks")
WHERE = "import davidnet_keras, davidnet_callbacks as c; print(davidnet_keras.__file__); print(c.__file__)"
TYPED = {"davidnet_keras/py.typed", "davidnet_callbacks/py.typed"}
USE = "from davidnet_callbacks import PiecewiseLinear; from davidnet_keras import Recipe; print(Recipe().epochs)"


def run(*command, cwd):
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, env=around)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


@pytest.fixture
def checkout(tmp_path):
    """A copy of the sources: installing writes beside them."""
    (tmp_path / "checkout").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"


@pytest.fixture
def environment(tmp_path):
    """The Python of a new environment that sees this one's packages, but none that was installed here as editable."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site, found = run(
        python, "-c", "import sysconfig, sys; print(sysconfig.get_path('purelib'), sys.prefix)", cwd=tmp_path
    )
    assert found == str(tmp_path / "venv")
    # By a .pth file: its folder's own .pth files, an editable install's among them, are not followed.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def install(environment, *what, cwd):
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "--python", environment, "install", *options, *what, cwd=cwd)


def modules(root):
    """The path that every module of ours is imported by, of all rooms."""
    found = {path.relative_to(root).as_posix() for path in (root / "davidnet_keras").rglob("*.py")}
    return found | {f"davidnet_{path.relative_to(root).as_posix()}" for path in (root / "callbacks").rglob("*.py")}


def test_every_folder_of_modules_is_a_listed_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    assert listed == {str(Path(module).parent).replace("/", ".") for module in modules(ROOT)}


@pytest.mark.parametrize("way", ["plain", "editable", "wheel"])
def test_an_installation_works_from_the_checkout_and_from_elsewhere(way, checkout, environment, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if way == "wheel":
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "dist")
        run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=checkout)
        shutil.rmtree(checkout)
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            assert modules(ROOT) | TYPED <= set(archive.namelist())
        install(environment, wheel, cwd=elsewhere)
        places = [elsewhere]
    else:
        install(environment, *(["--editable", "."] if way == "editable" else ["."]), cwd=checkout)
        places = [elsewhere, checkout]
    for place in places:
        files = run(environment, "-c", WHERE, cwd=place)
        assert all(str(tmp_path) in file for file in files), files
        assert run(environment, "-c", USE, cwd=place) == ["24"]
        assert "--epochs" in run(environment, "-m", "davidnet_keras", "--help", cwd=place)
        assert "--epochs" in run(environment.parent / "davidnet", "--help", cwd=place)


def declared():
    """The import names of what setup.cfg requires, and of the extra that reads HEIC."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["heif"]
    names = {re.match(r"[\w-]+", line)[0] for line in lines.split("\n") if line.strip()}
    return {{"pillow": "PIL"}.get(name, name.replace("-", "_")) for name in names}


@pytest.mark.parametrize("folder", ["davidnet_keras", "callbacks"])
def test_every_import_is_declared(folder):
    allowed = declared() | set(sys.stdlib_module_names) | {"davidnet_keras", "davidnet_callbacks", "IPython"}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            assert {name.split(".")[0] for name in names} <= allowed, path


def test_every_dependency_has_a_lower_bound_with_a_reason_in_the_docs():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    page = (ROOT / "docs" / "command-line.md").read_text()
    for line in filter(None, config["options"]["install_requires"].split("\n")):
        name, bound = (part.strip() for part in line.split(">="))
        assert re.search(rf"^\| `?{name}`? \| {re.escape(bound)} \| \w+", page, re.MULTILINE), line
