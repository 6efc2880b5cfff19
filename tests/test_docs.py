"""What README.md and the pages of docs/ show, runs; and their links lead somewhere."""

import dataclasses
import functools
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import davidnet_keras

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = ROOT / "tests" / "fixtures" / "0.2.0" / "davidnet"
README = PAGES[0].read_text()


def python_blocks():
    """(page, code) of every python block; the code has its line numbers in the file."""
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield page, "\n" * text[: block.start(1)].count("\n") + block[1]


BLOCKS = [pytest.param(*block, id=f"{block[0].name}-{number}") for number, block in enumerate(python_blocks())]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The names that a page takes for granted, and small data, networks and recipes in place of the real ones."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "shapes", "small", "long"):
        shutil.copytree(RUN, f"runs/{name}")
    data = davidnet_keras.load_shapes(train=32, test=16)
    monkeypatch.setattr(davidnet_keras, "load_cifar10", lambda: data, raising=False)
    small_network = functools.partial(davidnet_keras.DavidNet, width=2)
    monkeypatch.setattr(davidnet_keras, "DavidNet", small_network, raising=False)
    small = {"epochs": 2, "batch_size": 16, "width": 2, "whiten_epochs": 1}
    fast = dataclasses.replace(davidnet_keras.RECIPES["fast"], **small)
    monkeypatch.setitem(davidnet_keras.RECIPES, "fast", fast)
    (x_train, y_train), (x_test, y_test) = data
    x = np.random.default_rng(0).normal(size=(32, 8))
    layers = [keras.Input((8,)), keras.layers.Dense(2, "softmax")]
    return {
        "davidnet_keras": davidnet_keras,
        "model": keras.Sequential(layers),
        "x": x,
        "y": (x[:, 0] > 0).astype(int),
        "pictures": x_test,
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
    }


@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_every_python_block_runs(page, code, prepared):
    exec(compile(code.replace("epochs=24", "epochs=2"), str(page), "exec"), prepared)


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "callbacks" / "README.md"], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in set(anchors(file.read_text())), target


def test_the_readme_is_short_and_begins_for_beginners():
    assert len(README.encode()) <= 8192
    before_the_first_command = README[: README.index("```")]
    assert re.findall(r"AMX|Muon|PFLOP|DAWNBench", before_the_first_command) == []


def test_every_file_that_the_map_names_exists():
    named = re.findall(r"`((?:[a-z_]+/)+[\w.]*\.(?:py|md))`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "davidnet_keras" / name).exists(), name
