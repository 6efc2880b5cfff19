import hashlib
import math
import zipfile

import keras
import numpy as np
import pytest

from davidnet_keras.runs.checkpoint import (
    COMMENT,
    COMMENT_LENGTH,
    DamagedCheckpoint,
    Progress,
    load_weights,
    not_finite,
    read_checkpoint,
    write_checkpoint,
)


def compiled(units=3, optimizer=None):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(units)(inputs))
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def trained(**arguments):
    model = compiled(**arguments)
    model.fit(np.ones((4, 2)), np.ones((4, model.output_shape[-1])), verbose=0)
    return model


def all_variables(model):
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


STATE = {
    "metrics": [np.float32([1.5, 2.5]), np.int64(7)],
    "callbacks": [["a.B", {"wait": 3, "best": math.inf, "name": "x", "none": None, "yes": True}]],
    "half": np.float16(0.1),
    "empty": [],
}


def test_the_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a.keras"
    write_checkpoint(path, compiled(), "me", Progress(3, 12), STATE)
    progress, state = read_checkpoint(path, "me")
    assert progress == Progress(3, 12)
    assert state["callbacks"] == STATE["callbacks"]
    assert state["empty"] == []
    np.testing.assert_array_equal(state["metrics"][0], STATE["metrics"][0])
    assert state["metrics"][0].dtype == np.float32
    assert (state["half"], state["half"].dtype) == (np.float16(0.1), np.float16)


@pytest.mark.parametrize("ema", [False, True])
def test_weights_and_every_variable_of_the_optimizer_come_back(tmp_path, ema):
    def optimizer():
        return keras.optimizers.Adam(0.1, use_ema=ema)

    model = trained(optimizer=optimizer())
    write_checkpoint(tmp_path / "a.keras", model, "me", Progress(1), {})
    other = compiled(optimizer=optimizer())
    load_weights(tmp_path / "a.keras", other)
    for one, two in zip(all_variables(model), all_variables(other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_keras_loads_the_file_too(tmp_path):
    model = trained()
    write_checkpoint(tmp_path / "a.keras", model, "me", Progress(1), STATE)
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("other", [{"units": 4}, {"optimizer": "adam"}])
def test_weights_that_do_not_fit_are_refused(tmp_path, other):
    write_checkpoint(tmp_path / "a.keras", trained(), "me", Progress(1), {})
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(tmp_path / "a.keras", trained(**other))


@pytest.mark.parametrize("every", [9973, pytest.param(997, marks=pytest.mark.slow)])
def test_every_place_that_is_cut_or_changed_is_noticed(tmp_path, every):
    path = tmp_path / "a.keras"
    write_checkpoint(path, compiled(), "me", Progress(1), STATE)
    whole = path.read_bytes()
    for place in [*range(0, len(whole), every), *range(len(whole) - 120, len(whole))]:
        path.write_bytes(whole[:place])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(path, "me")
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(path, "me")
    path.write_bytes(whole)
    read_checkpoint(path, "me")


def test_a_pickle_in_a_checkpoint_is_not_run(tmp_path):
    with pytest.raises(ValueError, match="numbers, strings, None"):
        write_checkpoint(tmp_path / "a.keras", compiled(), "me", Progress(1), {"x": np.array([print], object)})
    with pytest.raises(ValueError, match="numbers, strings, None"):
        write_checkpoint(tmp_path / "a.keras", compiled(), "me", Progress(1), {"x": print})


def test_the_members_beside_the_model_are_two(tmp_path):
    write_checkpoint(tmp_path / "a.keras", compiled(), "me", Progress(1), STATE)
    compiled().save(tmp_path / "plain.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as ours, zipfile.ZipFile(tmp_path / "plain.keras") as plain:
        added = set(ours.namelist()) - set(plain.namelist())
    assert added == {"davidnet_keras/state.json", "davidnet_keras/arrays.npz"}


def test_what_is_not_finite_is_found_in_weights_and_optimizer():
    model = trained()
    assert not_finite(model) is None
    velocity = model.optimizer.variables[-1]
    velocity.assign(velocity * math.nan)
    assert not_finite(model) == velocity.path
    model = trained()
    model.layers[-1].kernel.assign_add([[0, 0, 0], [0, 0, math.inf]])
    assert not_finite(model) == model.layers[-1].kernel.path


def test_progress_is_said_in_words():
    assert [str(Progress(*at)) for at in ((0, 0), (1, 0), (2, 1), (3, 12))] == [
        "0 epochs",
        "1 epoch",
        "2 epochs and 1 batch",
        "3 epochs and 12 batches",
    ]


def signed(content):
    """The bytes of a file that ends with the right hash of what stands before."""
    return content + COMMENT.format(hashlib.sha256(content).hexdigest()).encode()


def test_damage_under_a_right_checksum_is_read_or_refused_and_nothing_else(tmp_path):
    path = tmp_path / "a.keras"
    write_checkpoint(path, compiled(), "me", Progress(3, 12), STATE)
    whole, rng = path.read_bytes()[:-COMMENT_LENGTH], np.random.default_rng(0)
    assert signed(whole) == path.read_bytes()
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 20)):
            content[place] = rng.integers(256)
        # Most of the file is weights, which are not read here; the end has the state and the list of members.
        content[-int(rng.integers(1, 2500))] ^= 1 << int(rng.integers(8))
        path.write_bytes(signed(bytes(content)))
        try:
            read_checkpoint(path, "me")
        except DamagedCheckpoint as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_a_checkpoint_that_would_unpack_to_more_than_it_is_is_refused_unread(tmp_path):
    path = tmp_path / "a.keras"
    write_checkpoint(path, compiled(), "me", Progress(1), STATE)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["davidnet_keras/state.json"] = members["davidnet_keras/state.json"] + b" " * 10_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b" " * COMMENT_LENGTH
    path.write_bytes(signed(path.read_bytes()[:-COMMENT_LENGTH]))
    with pytest.raises(DamagedCheckpoint, match="unpack to more"):
        read_checkpoint(path, "me")
