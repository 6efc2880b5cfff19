"""A run's model comes back as it was; a file that is none, or would do harm, is refused before Keras sees it."""

import io
import json
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from run_folders import tiny_model

from davidnet_keras import UserError, load_model
from davidnet_keras.runs import model_file
from davidnet_keras.runs.model_file import CONFIG, MAX_CONFIG, WEIGHTS, check_model_file


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model's file and its members' contents."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    tiny_model().save(path)
    with zipfile.ZipFile(path) as archive:
        return path, {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def write(saved, tmp_path):
    """Write the file with other members; returns its path."""

    def write(compress=zipfile.ZIP_STORED, extra=(), **changed):
        names = {"config": CONFIG, "metadata": "metadata.json", "weights": WEIGHTS}
        content = saved[1] | {names[name]: value for name, value in changed.items()} | dict(extra)
        with zipfile.ZipFile(tmp_path / "x.keras", "w", compress) as archive:
            for name, value in content.items():
                if value is not None:
                    archive.writestr(name, value)
        return tmp_path / "x.keras"

    return write


@pytest.fixture
def keras_is_not_asked(monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("Keras was asked"))


def refused(path, *words):
    with pytest.raises(UserError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 600
    for word in words:
        assert word in message, message


def weights_of(model):
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize(
    ("precision", "trained"), [("float32", True), ("mixed_bfloat16", False), ("mixed_float16", False)]
)
def test_a_model_comes_back_with_its_optimizer(tmp_path, precision, trained):
    model = tiny_model(precision=precision)
    if trained:
        model.optimizer.build(model.trainable_variables)
        model.optimizer.iterations.assign(2)
        for number, variable in enumerate(model.optimizer.variables):
            if len(variable.shape):  # not the momentum, nor the steps
                variable.assign(keras.ops.full(variable.shape, number, variable.dtype))
    model.save(tmp_path / "x.keras")
    loaded = load_model(tmp_path / "x.keras")
    for before, after in zip(weights_of(model), weights_of(loaded), strict=True):
        np.testing.assert_array_equal(before, after)
    assert loaded.get_config() == model.get_config()
    assert not load_model(tmp_path / "x.keras", compile=False).compiled


def test_members_are_exactly_what_keras_writes(write, tmp_path, keras_is_not_asked):
    check_model_file(write())
    for name in ("assets/x", "../evil", "/tmp/evil", "config.json/"):
        refused(write(extra={name: b"x"}), "it holds")
    refused(write(metadata=None), "it holds")
    path = write()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CONFIG, b"{}")
    refused(path, "it holds")


@pytest.mark.parametrize("name", ["config", "metadata", "weights"])
def test_a_bomb_is_refused_by_its_declared_size(write, monkeypatch, keras_is_not_asked, name):
    path = write(zipfile.ZIP_DEFLATED, **{name: bytes(50_000_000)})
    assert path.stat().st_size < 400_000
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    refused(path, "it would unpack to 50,")


def test_a_large_configuration_is_refused_before_it_is_read(write, monkeypatch, keras_is_not_asked):
    path = write(config=b" " * (MAX_CONFIG + 1))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was read"))
    refused(path, "larger than 1,048,576 bytes")


def test_damage_is_found_by_the_checksum(saved, tmp_path, keras_is_not_asked):
    content = saved[0].read_bytes()
    for name in (CONFIG, WEIGHTS):
        at = content.index(saved[1][name]) + len(saved[1][name]) // 2
        (tmp_path / "x.keras").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        refused(tmp_path / "x.keras", "CRC", name)


def test_what_is_no_archive(tmp_path, saved, keras_is_not_asked):
    refused(tmp_path / "none.keras", "no such file")
    refused(tmp_path, "no such file")
    content = saved[0].read_bytes()
    for part in (b"", b"hello", content[:1000], content[: len(content) // 2], content[:-30]):
        (tmp_path / "x.keras").write_bytes(part)
        refused(tmp_path / "x.keras", "zip")


# ---- configurations


def test_other_networks_are_refused_a_lambda_among_them(tmp_path, keras_is_not_asked):
    inputs = keras.Input((2,))
    for layer in (keras.layers.Dense(1), keras.layers.Lambda(lambda x: x)):
        keras.Model(inputs, layer(inputs)).save(tmp_path / "x.keras")
        refused(tmp_path / "x.keras", "not that of a DavidNet")


FOREIGN = {
    "lambda": {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}},
    "layer": {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None},
    "saved model": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp"}},
    "function": {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
    "module": {"module": "os", "class_name": "system", "config": "true", "registered_name": None},
    "big metric": {"module": "keras.metrics", "class_name": "AUC", "config": {"num_thresholds": 10**10}},
    "array": {"class_name": "__numpy__", "config": {"value": [1], "dtype": "int8"}},
    "our layer, built": {
        "class_name": "ConvBN",
        "registered_name": "davidnet_keras>ConvBN",
        "config": {"filters": 10**9},
        "build_config": {"input_shape": [1, 1, 1, 10**9]},
    },
    "a part that is built": {
        "class_name": "MomentumSGD",
        "registered_name": "davidnet_keras>MomentumSGD",
        "config": {},
        "build_config": {"input_shape": [1]},
    },
    "a name that is no text": {"class_name": [1], "config": {}},
}


@pytest.mark.parametrize("part", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("place", ["config", "compile_config", "deep"])
def test_a_foreign_class_in_the_configuration_is_refused(write, saved, keras_is_not_asked, part, place):
    config = json.loads(saved[1][CONFIG])
    if place == "deep":
        config["compile_config"]["metrics"] = [{"a": [[part]]}]
    else:
        config[place]["dtype"] = part
    refused(write(config=json.dumps(config)), "configuration")


def test_a_network_larger_than_its_weights_is_refused_before_it_is_built(write, saved, keras_is_not_asked):
    config = json.loads(saved[1][CONFIG])
    for name, value in (("width", 4096), ("num_classes", 10**9), ("width", True), ("num_classes", None)):
        text = json.dumps(config | {"config": config["config"] | {name: value}})
        refused(write(config=text), "width" if name == "width" else "classes")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '"\ud800"', "1" * 5000, "{}" + " " * (1 << 20)])
def test_a_configuration_that_is_none(write, keras_is_not_asked, text):
    refused(write(config=text.encode("utf-8", "surrogatepass")))


# ---- weights


def with_weights(saved, change):
    """The weights' content after a change to the HDF5 file."""
    content = io.BytesIO(saved[1][WEIGHTS])
    with h5py.File(content, "a") as file:
        change(file["layers/dense/vars"])
    return {"weights": content.getvalue()}


def replaced(**options):
    def change(group):
        del group["0"]
        group.create_dataset("0", **options)

    return change


def link(target):
    def change(group):
        del group["0"]
        group["0"] = target

    return change


def virtual(group):
    layout = h5py.VirtualLayout((16, 10), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (16, 10))
    del group["0"]
    group.create_virtual_dataset("0", layout)


def deep(group):
    for _ in range(30):
        group = group.create_group("a")


HOSTILE = {
    "link to another file": (link(h5py.ExternalLink("/etc/other.h5", "x")), "a link"),
    "link within the file": (link(h5py.SoftLink("/layers")), "a link"),
    "virtual": (virtual, "not stored whole"),
    "bytes of another file": (
        replaced(shape=(16, 10), dtype="f4", external=[("/etc/passwd", 0, 640)]),
        "not stored whole",
    ),
    "a terabyte of nothing": (replaced(shape=(2**19, 2**19), dtype="f4", chunks=(1, 2**10)), "not stored whole"),
    "a terabyte that was never written": (replaced(shape=(2**19, 2**19), dtype="f4"), "declare"),
    "compressed": (replaced(data=np.zeros((16, 10)), compression="gzip"), "not stored whole"),
    "text": (replaced(data="text"), "something other"),
    "objects": (replaced(data=[b"x"], dtype=h5py.string_dtype()), "something other"),
    "30 groups deep": (deep, "more parts"),
    "a group that holds itself": (lambda group: group.__setitem__("self", group), "more parts"),
}


@pytest.mark.parametrize(("change", "words"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_weights_are_refused(write, saved, keras_is_not_asked, change, words):
    refused(write(**with_weights(saved, change)), words)


@pytest.mark.parametrize(
    "change",
    [replaced(data=np.zeros((3, 3), "f4")), lambda group: group.__delitem__("0")],
    ids=["of another shape", "missing"],
)
def test_weights_that_do_not_fit_are_refused(write, saved, change):
    refused(write(**with_weights(saved, change)), "Keras cannot load it")


def test_an_optimizer_that_cannot_be_restored_is_refused_and_not_needed_to_predict(write, saved):
    path = write(**with_weights(saved, lambda group: group.file.__delitem__("optimizer/vars/3")))
    with warnings.catch_warnings(record=True):  # what these tests make an error, users only see printed
        warnings.simplefilter("always")
        refused(path, "optimizer")
    load_model(path, compile=False)


def test_keras_loads_in_safe_mode(saved, monkeypatch):
    asked = {}
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **options: asked.update(options))
    load_model(saved[0])
    assert asked == {"compile": True, "safe_mode": True}


def test_the_parts_are_names_that_keras_has(saved):
    load_model(saved[0])  # imports all that a run's file may name
    for name in model_file.PARTS | model_file.MODELS:
        module, part = name.split(">")
        found = keras.saving.get_registered_object(name) if module == "davidnet_keras" else None
        assert found or hasattr(getattr(keras, module.partition(".")[2] or "dtype_policies", None), part), name
