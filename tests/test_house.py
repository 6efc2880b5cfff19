"""The rooms import downwards only, backends stay in their places, and the house stays small."""

import ast
import inspect
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import davidnet_callbacks
import davidnet_keras

ROOT = Path(__file__).parents[1]
PACKAGE, CALLBACKS = ROOT / "davidnet_keras", ROOT / "callbacks"
KERNELS = {"kernels"}
BELOW = {
    "cli": {"runs", "models", "training", "data", "layers", *KERNELS},
    "runs": {"models", "training", "data", "layers", *KERNELS},
    "models": {"training", "data", "layers", *KERNELS},
    "training": {"layers", *KERNELS},
    "data": {"layers", *KERNELS},
    "layers": KERNELS,
    "kernels": set(),
    # Modules beside the rooms, which any room may import unless it stands below them.
    "precision": KERNELS,
    "recipe": set(),
    "errors": set(),
    "__init__": set(),  # imports lazily, by name
    "__main__": {"cli"},
}
EVERYWHERE = {"recipe", "errors"}
BACKENDS = {"tensorflow", "jax", "torch"}
TENSORFLOW = {"kernels", "training/sum_loss.py", "data/pipeline.py"}
CALLBACKS_IMPORT = {"keras", "numpy", "matplotlib", "tqdm", "IPython"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(source, module=""):
    """The absolute names that a module's source imports, anywhere in it; relative ones are resolved from `module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            name = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def room_of(name):
    """The room, or module beside the rooms, of an absolute name below davidnet_keras; None for another package."""
    package, _, rest = name.partition(".")
    return (rest.split(".")[0] or "__init__") if package == "davidnet_keras" else None


def wrong_imports(source, path):
    """What a module at `path`, relative to the package, imports against the rules: a list of sentences."""
    room = Path(path).parts[0].removesuffix(".py")
    wrong = []
    for name in imported(source):
        target, top = room_of(name), name.split(".")[0]
        if target in BELOW and target not in {room, *BELOW[room], *EVERYWHERE, "precision"}:
            wrong.append(f"{path} may not import {name}: it does not stand below {room}")
        if target == "precision" and room in ("kernels", "layers"):
            wrong.append(f"{path} may not import {name}: {room} stands below it")
        top = "tensorflow" if name.startswith("davidnet_keras.kernels.backend") else top  # which hands it on
        if top in BACKENDS and not (top == "tensorflow" and (room in TENSORFLOW or path in TENSORFLOW)):
            wrong.append(f"{path} may not import {top}: it is no place of a backend")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(path):
    assert wrong_imports(path.read_text(), path.relative_to(PACKAGE).as_posix()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("layers/dropout.py", "from davidnet_keras.models.davidnet import DavidNet"),
        ("training/muon.py", "from davidnet_keras.data import pipeline"),
        ("data/cifar.py", "def late():\n    import davidnet_keras.runs.train"),
        ("kernels/winograd.py", "from davidnet_keras import precision"),
        ("models/davidnet.py", "import tensorflow as tf"),
        ("models/davidnet.py", "from davidnet_keras.kernels.backend import tf"),
        ("data/pipeline.py", "import jax"),
    ],
)
def test_a_wrong_import_is_seen(path, source):
    assert len(wrong_imports(source, path)) == 1


def module_name(path, folder, package):
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join([package, *(part for part in parts if part != "__init__")])


@pytest.mark.parametrize(
    ("folder", "package"), [(PACKAGE, "davidnet_keras"), (CALLBACKS, "davidnet_callbacks")], ids=["rooms", "callbacks"]
)
def test_no_module_imports_itself_in_a_circle(folder, package):
    names = {module_name(path, folder, package): path for path in folder.rglob("*.py")}
    graph = {}
    for name, path in names.items():
        inside = f"{name}.__init__" if path.name == "__init__.py" else name
        found = {each if each in names else each.rpartition(".")[0] for each in imported(path.read_text(), inside)}
        graph[name] = (found & names.keys()) - {name}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", sorted(CALLBACKS.rglob("*.py")), ids=lambda path: str(path.relative_to(CALLBACKS)))
def test_the_callbacks_import_five_packages_and_nothing_of_davidnet_keras(path):
    name = module_name(path, CALLBACKS, "davidnet_callbacks")
    inside = f"{name}.__init__" if path.name == "__init__.py" else name
    tops = {each.split(".")[0] for each in imported(path.read_text(), inside)}
    assert tops <= CALLBACKS_IMPORT | {"davidnet_callbacks"} | sys.stdlib_module_names
    assert "import davidnet_callbacks" not in path.read_text(), "a copy of the folder has another name"


@pytest.mark.parametrize("room", [room for room in BELOW if (PACKAGE / room).is_dir()])
def test_a_room_says_what_lives_there_and_what_it_may_import(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))
    assert "import" in text
    assert all(other in text for other in BELOW[room])


def lines(folder):
    return {str(path): len(path.read_text().splitlines()) for path in folder.rglob("*.py")}


def test_the_house_stays_small():
    counted = lines(PACKAGE)
    assert sum(counted.values()) <= 6560
    assert {path: n for path, n in (counted | lines(CALLBACKS)).items() if n > 250} == {}


def public_functions():
    """(name, function) of every public function, and public method of a public class, of both packages."""
    for package in (davidnet_keras, davidnet_callbacks):
        for name in package.__all__:
            item = getattr(package, name)
            if inspect.isclass(item):
                for attribute, value in vars(item).items():
                    function = inspect.unwrap(getattr(value, "__func__", value))
                    own = inspect.isfunction(function) and function.__module__.startswith(package.__name__)
                    if own and (attribute == "__init__" or not attribute.startswith("_")):
                        yield f"{name}.{attribute}", function
            elif inspect.isfunction(item):
                yield name, item


def test_public_functions_and_methods_are_annotated():
    missing = []
    for name, function in public_functions():
        signature = inspect.signature(function)
        parameters = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
        bare = [each.name for each in parameters if each.annotation is each.empty]
        if signature.return_annotation is signature.empty and not name.endswith("__init__"):
            bare.append("return")
        if bare:
            missing.append(f"{name}: {', '.join(bare)}")
    assert missing == []
