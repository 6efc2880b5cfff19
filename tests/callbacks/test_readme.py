"""What the README shows, runs."""

import re
from pathlib import Path

import keras
import pytest

import davidnet_callbacks
from davidnet_callbacks import read_history

README = Path(davidnet_callbacks.__file__).resolve().parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def python_blocks():
    """(section, code) of every python block; the code has its line numbers in the file."""
    for block in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        before = TEXT[: block.start(1)]
        section = re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1]
        yield section, "\n" * before.count("\n") + block[1]


(_, SETUP), *EXAMPLES = python_blocks()
TOGETHER = dict(EXAMPLES)["Together, and in which order"]


def execute(code, names):
    exec(compile(code, str(README), "exec"), names)


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The names that the page's first lines make, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names = {}
    execute(SETUP, names)
    return names


# Those that compile several models or run long.
LONG = (
    "Together, and in which order",
    "OneCycleTriangle",
    "Lookahead and AverageWeights",
    "PlotCurves",
    "plot_history and plot_runs",
)
CODES = [
    pytest.param(code, id=section, marks=pytest.mark.slow if section in LONG else ()) for section, code in EXAMPLES
]


@pytest.mark.parametrize("code", CODES)
def test_every_example_runs_in_an_empty_folder(prepared, code):
    execute(code, prepared)


def test_every_public_name_has_a_place_on_the_page():
    assert [name for name in davidnet_callbacks.__all__ if not re.search(rf"\b{name}\b", TEXT)] == []


def test_every_link_of_the_table_leads_to_a_section_and_every_picture_exists():
    sections = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#(.*?)\)", TEXT)) <= sections
    pictures = [README.parent / path for path in re.findall(r"!\[.*?\]\((.*?)\)", TEXT)]
    assert pictures
    # A copy of the folder in another project has no docs beside it.
    if (README.parent / "../docs/callbacks").exists():
        assert all(path.stat().st_size < 100_000 for path in pictures)


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the fourth epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_run_again_after_an_interruption_the_composition_goes_on(prepared):
    prepared["Interrupt"] = Interrupt
    with pytest.raises(KeyboardInterrupt):
        execute(TOGETHER.replace('("run/backup"),', '("run/backup"), Interrupt(),'), prepared)
    for callback in prepared["callbacks"]:
        if isinstance(callback, keras.callbacks.CSVLogger):
            callback.csv_file.close()  # as the end of the process does
    first = read_history("run/history.csv")
    assert first["epoch"] == [1, 2, 3]
    names = {}
    execute(SETUP, names)  # a new process has a new model
    execute(TOGETHER, names)
    columns = read_history("run/history.csv")
    assert columns["epoch"] == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "train_seconds"):
        assert columns[name][:3] == first[name] and columns[name][3] != first[name][0]
    assert columns["learning_rate"] == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02, 0.0], abs=1e-9)
    assert columns["train_seconds"] == sorted(columns["train_seconds"])
    log = Path("run/log.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in log] == ["epoch", "1", "2", "3", "4", "5", "6"]
    assert Path("run/curves.png").exists()
