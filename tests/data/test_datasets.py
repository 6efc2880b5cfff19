"""The list of data sets: what it says, and that reading it needs nothing slow."""

import subprocess
import sys

import pytest

from davidnet_keras import UserError
from davidnet_keras.data import datasets


def test_the_list_is_read_without_numpy_keras_and_tensorflow():
    code = """
import sys
from davidnet_keras.data import datasets
datasets.names(), datasets.num_classes("cifar100")
assert not {"numpy", "keras", "tensorflow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_data_set_has_as_many_different_class_names_as_classes():
    for name in datasets.names():
        assert len(set(datasets.class_names(name))) == datasets.num_classes(name)


def test_an_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"choose cifar10, cifar100.* shapes\. Received: dataset='mnist'"):
        datasets.load("mnist")


def test_coarse_labels_are_a_data_set_of_their_own():
    assert datasets.with_labels("cifar100", "coarse") == "cifar100-coarse"
    assert datasets.with_labels("cifar100", "fine") == "cifar100"
    with pytest.raises(UserError, match="Only cifar100 has coarse labels"):
        datasets.with_labels("cifar10", "coarse")


def test_a_fingerprint_depends_on_pictures_and_labels():
    data = datasets.load("shapes")
    (x, y), test = data
    found = datasets.fingerprint(data)
    assert found == datasets.fingerprint(((x.copy(), y.copy()), test))
    assert found["train"] == 2500 and found["test"] == 1000
    assert found != datasets.fingerprint(((x, y[::-1]), test)) and found != datasets.fingerprint(((255 - x, y), test))
