"""Thousands of damaged files of every kind that is read: each is read as it is, or refused in one sentence.

While a file is read, nothing is written, started or sent, whatever the file holds.
"""

import contextlib
import copy
import io
import json
import os
import resource
import sys
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from run_folders import finished_run, tiny_model

from davidnet_callbacks import read_history
from davidnet_callbacks.dawnbench import earlier_lines
from davidnet_keras import Recipe, UserError, load_model, read_picture
from davidnet_keras.runs import model_file
from davidnet_keras.runs.model_file import CONFIG, MEMBERS, WEIGHTS, check_model_file
from davidnet_keras.runs.run_folder import RunFolder

# Damaged files of each kind; tests/test_cifar.py has 600 archives and data files more.
CASES = {"picture": 600, "recipe": 500, "settings": 300, "history": 400, "log": 200, "model": 500, "config": 300}
CASES |= {"weights": 300, "loaded": 24}
share = 1  # of these cases, every how many are tried
MEMORY = 400 << 10  # kilobytes that a test may add to the most that the process has ever used

# The same cases each time, none kept on disk; how long one takes depends on what else the machine does.
QUIET = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

HARMFUL = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect")
CHANGING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")
KERAS_TEMPORARY = "keras-temporary"  # the folder in which Keras makes and removes an empty one whenever it loads
seen = None  # a list while a file is being read


def audit(event, arguments):
    """Note what reading a file must not do. Python's own caches of imported modules do not count."""
    if seen is None or event not in (*HARMFUL, *CHANGING, "open"):
        return
    if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    place = str(arguments[0])
    if not (KERAS_TEMPORARY in place or "__pycache__" in place or (event, place) == ("os.rmdir", "assets")):
        seen.append((event, place))


sys.addaudithook(audit)


@pytest.fixture(autouse=True)
def fresh_keras():
    """Clearing Keras's state for every test takes longer than the tests."""


@pytest.fixture(autouse=True, params=[pytest.param(3, id="few"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def some_cases(request):
    global share
    share = request.param


@pytest.fixture(autouse=True)
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY


@contextlib.contextmanager
def harmless():
    global seen
    seen = []
    try:
        yield
        assert seen == []
    finally:
        seen = None


def outcome(read, *arguments, errors=UserError):
    """(what was read, None), or (None, the sentence that refused it); any other error is the test's."""
    with harmless():
        try:
            return read(*arguments), None
        except errors as error:
            message = str(error)
    assert message and "\n" not in message and len(message) < 1000 and "Traceback" not in message
    return None, message


def run_cases(kind, strategy, check):
    """Give `CASES[kind]` examples of a strategy, or a share, to `check`; returns how often it returned what."""
    found, cases = [], max(CASES[kind] // share, 8)

    @settings(
        max_examples=cases,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(example):
        found.append(check(example))

    run()
    assert len(found) >= cases
    return {result: found.count(result) for result in found}


def damaged(whole):
    """Byte strings near `whole`: bits flipped, bytes set, pieces cut out, repeated, moved, or the end lost."""
    places = st.one_of(st.integers(0, len(whole) - 1), st.integers(0, min(200, len(whole) - 1)))
    values = st.one_of(
        st.binary(min_size=1, max_size=8), st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"])
    )
    edits = st.lists(st.tuples(st.integers(0, 5), places, values), min_size=1, max_size=4)
    return edits.map(lambda steps: edited(whole, steps))


class Content(bytes):
    """A file's bytes, short where a failure shows them."""

    def __repr__(self):
        return f"Content({len(self)} bytes)"


def edited(whole, steps):
    content = bytearray(whole)
    for kind, at, value in steps:
        size = len(value)
        if kind == 0:
            content[at : at + 1] = bytes([(content[at : at + 1] or b"\0")[0] ^ (1 << size - 1)])
        elif kind == 1:
            content[at : at + size] = value
        elif kind == 2:
            del content[at : at + 4**size % 1000]
        elif kind == 3:
            content[at:at] = content[at : at + 50 * size]
        elif kind == 4:
            content[at:at] = value
        else:
            del content[len(content) - at // 2 :]
    return Content(content)


def test_at_least_two_thousand_damaged_files():
    assert sum(CASES.values()) >= 2_000


def sample_pictures():
    """One small file of each format, in different modes."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (40, 30, 3), np.uint8)).resize((30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray((rng.integers(0, 2**16, (20, 20))).astype(np.uint16))
    ways = [
        (colours, "PNG", {"exif": exif}),
        (colours.convert("P"), "PNG", {"transparency": 3}),
        (grey, "PNG", {}),
        (colours, "JPEG", {"exif": exif}),
        (colours.convert("CMYK"), "JPEG", {}),
        (colours, "GIF", {"save_all": True, "append_images": [colours.rotate(90)]}),
        (colours.convert("RGBA"), "WEBP", {}),
        (colours, "TIFF", {"exif": exif}),
        (colours, "TIFF", {"compression": "tiff_lzw"}),
        (colours, "BMP", {}),
        (colours, "JPEG2000", {}),
        (colours, "PPM", {}),
        (colours.convert("RGBA"), "ICO", {}),
        (colours, "TGA", {"compression": "tga_rle"}),
        (colours.resize((16, 16)), "AVIF", {}),
    ]
    for image, name, options in ways:
        file = io.BytesIO()
        image.save(file, name, **options)
        yield file.getvalue()


def test_damaged_pictures(tmp_path):
    def check(content):
        (tmp_path / "x.png").write_bytes(content)
        pixels, refusal = outcome(read_picture, tmp_path / "x.png")
        if refusal:
            return "refused"
        assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
        return "read"

    found = run_cases("picture", st.one_of([damaged(whole) for whole in sample_pictures()]), check)
    assert found.keys() == {"read", "refused"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and what its files hold."""
    folder = finished_run(tmp_path_factory.mktemp("run") / "run", tiny_model())
    return folder, folder.recipe.read_bytes(), folder.model.read_bytes()


def read_recipe(path, content):
    (path / "recipe.json").write_bytes(content)
    found, refusal = outcome(RunFolder(path).read_recipe)
    if refusal:
        return "refused"
    recipe, conditions = found
    assert isinstance(recipe, Recipe) and conditions["dataset"] in ("cifar10", "cifar100", "shapes")
    return "read"


def test_damaged_recipes(tmp_path, run):
    found = run_cases("recipe", damaged(run[1]), lambda content: read_recipe(tmp_path, content))
    assert found.keys() == {"read", "refused"}


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**400), 10**400),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from([-1, 0, 4096, 10**12, "Lambda", "__lambda__", "keras.layers", "davidnet_keras>ConvBN", "auto"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)


def places(value, path=()):
    """The paths of all values below a JSON value."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in below for found in ((*path, key), *places(inner, (*path, key)))]


def changed(whole, steps):
    """JSON text of a value after values in it are replaced, removed or doubled under another name."""
    content = copy.deepcopy(whole)
    for (*path, key), kind, value in steps:
        with contextlib.suppress(LookupError, TypeError):  # an earlier step took the place away
            holder = content
            for step in path:
                holder = holder[step]
            if kind == "remove":
                del holder[key]
            elif kind == "add" and isinstance(holder, dict):
                holder[f"{key}2"] = value
            else:
                holder[key] = value
    return json.dumps(content).encode()


def changed_json(whole):
    step = st.tuples(st.sampled_from(places(whole)), st.sampled_from(["replace", "remove", "add"]), JSON_VALUES)
    return st.lists(step, min_size=1, max_size=2).map(lambda steps: changed(whole, steps))


def test_recipes_with_other_values(tmp_path, run):
    found = run_cases("settings", changed_json(json.loads(run[1])), lambda content: read_recipe(tmp_path, content))
    assert found.keys() == {"read", "refused"}


HISTORY = b"epoch,learning_rate,loss,val_accuracy,seconds\n1,0.1,2.25,0.125,3.5\n2,0.05,1.5,,7.0\n3,0,nan,0.5,9.75\n"
LOG = b"epoch\thours\ttop1Accuracy\n1\t0.00100000\t12.50\n2\t0.00200000\t50.00\n"


def test_damaged_histories(tmp_path):
    def check(content):
        (tmp_path / "history.csv").write_bytes(content)
        columns, refusal = outcome(read_history, tmp_path / "history.csv", errors=ValueError)
        if refusal:
            assert "Received: path=" in refusal  # our own sentence, not Python's
            return "refused"
        assert {len(column) for column in columns.values()} == {len(columns["epoch"])}
        return "read"

    assert run_cases("history", damaged(HISTORY), check).keys() == {"read", "refused"}


def test_damaged_logs(tmp_path):
    def check(content):
        (tmp_path / "log.tsv").write_bytes(content)
        _, refusal = outcome(earlier_lines, tmp_path / "log.tsv", 2, errors=ValueError)
        assert not refusal or "Received: path=" in refusal
        return "refused" if refusal else "read"

    assert run_cases("log", damaged(LOG), check).keys() == {"read", "refused"}


# ---- models


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(MEMBERS):
            archive.writestr(name, content[name])
    return Content(file.getvalue())


def test_damaged_model_files(tmp_path, run):
    """What passes holds, byte for byte, what the whole file held: so it loads equal."""
    whole = run[2]
    # The archive's own directory is at the end: as many cases there as in all the rest.
    ends = damaged(whole[-600:]).map(lambda end: Content(whole[:-600] + end))

    def check(content):
        (tmp_path / "x.keras").write_bytes(content)
        if outcome(check_model_file, tmp_path / "x.keras")[1]:
            return "refused"
        assert members(content) == members(whole)
        return "read"

    assert run_cases("model", st.one_of(damaged(whole), ends), check).keys() == {"read", "refused"}


def crafted(run, kind):
    """Model files whole as archives, with right checksums, whose configuration or weights are damaged."""
    whole = members(run[2])
    if kind == "config":
        return changed_json(json.loads(whole[CONFIG])).map(lambda text: zipped(whole | {CONFIG: text}))
    return damaged(whole[WEIGHTS]).map(lambda weights: zipped(whole | {WEIGHTS: weights}))


@pytest.mark.parametrize("kind", ["config", "weights"])
def test_model_files_with_damage_under_right_checksums(tmp_path, run, kind, monkeypatch):
    if kind == "config":  # the whole weights beside it need no second look
        monkeypatch.setattr(model_file, "check_weights", lambda content: None)

    def check(content):
        (tmp_path / "x.keras").write_bytes(content)
        return "refused" if outcome(check_model_file, tmp_path / "x.keras")[1] else "read"

    assert run_cases(kind, crafted(run, kind), check).keys() == {"read", "refused"}


def test_damaged_models_through_keras(tmp_path, run, monkeypatch):
    """Those that pass the checks load as a network of the run's outputs, or are refused."""
    load_model(run[0].model)  # whatever loading a model imports for the first time
    (tmp_path / KERAS_TEMPORARY).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / KERAS_TEMPORARY))

    def check(content):
        (tmp_path / "x.keras").write_bytes(content)
        model, refusal = outcome(load_model, tmp_path / "x.keras")
        assert refusal or isinstance(model, keras.Model)
        return "refused" if refusal else "read"

    kinds = st.one_of(crafted(run, "config"), crafted(run, "weights"))
    assert run_cases("loaded", kinds, check).keys() == {"read", "refused"}
    assert not list((tmp_path / KERAS_TEMPORARY).iterdir())
