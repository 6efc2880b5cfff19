"""CIFAR from folders and archives: what is right comes back exactly, however the data is named."""

import dataclasses
import gzip
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest
from cifar_fakes import (
    assert_loaded,
    batch,
    batches,
    expected,
    python2_batch,
    unpickle,
    write_archive,
    write_binary,
    write_folder,
)

from davidnet_keras.data import cifar, datasets
from davidnet_keras.data.cifar import load_cifar10, load_cifar100

pytestmark = pytest.mark.usefixtures("small_cifar")


@pytest.mark.parametrize("protocol", range(6))
def test_folder_of_any_protocol(tmp_path, protocol):
    assert_loaded(load_cifar10(write_folder(cifar.CIFAR10, tmp_path, protocol)), cifar.CIFAR10)


def test_fine_labels_of_cifar100(tmp_path):
    assert_loaded(load_cifar100(write_folder(cifar.CIFAR100, tmp_path)), cifar.CIFAR100)
    assert_loaded(load_cifar100(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR100)), cifar.CIFAR100)
    labels = np.concatenate([y for _, y in load_cifar100(tmp_path)])
    assert labels.max() >= 10


def test_every_way_to_name_the_data(tmp_path, monkeypatch):
    folder = write_folder(cifar.CIFAR10, tmp_path / "a")
    (tmp_path / "b").mkdir()
    archive = write_archive(tmp_path / "b" / cifar.CIFAR10.archive, cifar.CIFAR10)
    monkeypatch.setenv("HOME", str(tmp_path))
    for way in (folder, str(folder), folder / cifar.CIFAR10.folder, archive, archive.parent, "~/a"):
        assert_loaded(load_cifar10(way), cifar.CIFAR10)


def test_archive_packed_from_within(tmp_path):
    archive = write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10, prefix="./")
    assert_loaded(load_cifar10(archive), cifar.CIFAR10)


def test_unpacked_archive(tmp_path):
    archive = write_archive(tmp_path / cifar.CIFAR10.archive, cifar.CIFAR10)
    (tmp_path / "x").mkdir()
    plain = tmp_path / "x" / cifar.CIFAR10.archive.removesuffix(".gz")
    plain.write_bytes(gzip.decompress(archive.read_bytes()))
    for way in (plain, plain.parent):
        assert_loaded(load_cifar10(way), cifar.CIFAR10)


@pytest.mark.parametrize(
    ("name", "folder", "load"),
    [("CIFAR10", "cifar-10-batches-bin", load_cifar10), ("CIFAR100", "cifar-100-binary", load_cifar100)],
)
def test_binary_version(tmp_path, name, folder, load):
    layout = getattr(cifar, name)
    written = write_binary(layout, tmp_path / "a" / folder)
    plain = write_binary(layout, tmp_path / "b")
    for suffix, mode in ((".tar.gz", "w:gz"), (".tar", "w")):
        archive = tmp_path / f"x{suffix}"
        with tarfile.open(archive, mode) as tar:
            tar.add(written, folder)
        assert_loaded(load(archive), layout)
    for way in (written, written.parent, plain):
        assert_loaded(load(way), layout)


def test_coarse_labels_of_cifar100(tmp_path):
    write_folder(cifar.CIFAR100, tmp_path / "a")
    write_binary(cifar.CIFAR100, tmp_path / "b" / "cifar-100-binary")
    for folder in ("a", "b"):
        for (_, y), (_, fine) in zip(
            load_cifar100(tmp_path / folder, label_mode="coarse"), expected(cifar.CIFAR100), strict=True
        ):
            np.testing.assert_array_equal(y, fine // 5)
    data = datasets.load("cifar100-coarse", tmp_path / "a")
    assert data[0][1].max() < datasets.num_classes("cifar100-coarse") == 20
    with pytest.raises(ValueError, match="Received: label_mode='medium'"):
        load_cifar100(tmp_path / "a", label_mode="medium")


@pytest.mark.parametrize("protocol", [2, 4])
def test_labels_of_numpy_integers(tmp_path, protocol):
    files = batches(cifar.CIFAR10)
    numpy_labels = {name: each | {b"labels": list(np.array(each[b"labels"]))} for name, each in files.items()}
    contents = {name: pickle.dumps(each, protocol=protocol) for name, each in numpy_labels.items()}
    assert_loaded(load_cifar10(write_folder(cifar.CIFAR10, tmp_path, **contents)), cifar.CIFAR10)


def test_python2_file_is_read_as_pickle_reads_it():
    data = batch(0)[b"data"]
    content = python2_batch([3, 1, 4, 1], data)
    ours, theirs = unpickle(content), pickle.loads(content, encoding="bytes")
    assert ours["labels"] == theirs[b"labels"] == [3, 1, 4, 1]
    np.testing.assert_array_equal(ours["data"], data)
    np.testing.assert_array_equal(theirs[b"data"], data)


@pytest.mark.parametrize("protocol", range(6))
def test_reader_agrees_with_pickle(protocol):
    text = ["å", b"bytes", b"\x00\xff" * 200, "long " * 100, b"b" * 70_000]
    value = {
        "integers": [0, 255, 256, 70_000, -3, 2**40],
        "nested": {"tuple": (1, (2, 3), ()), "flags": [True, False, None], "float": 0.25},
    }
    arrays = {
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "u": np.zeros(70_000, "u1"),
    }
    read = unpickle(pickle.dumps(value | arrays | {b"text": text}, protocol=protocol))
    assert {key: read[key] for key in ("integers", "text", "nested")} == value | {"text": text}
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == array.dtype


def test_reading_costs_far_less_than_the_arrays_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, images=(2_500, 500)))
    folder = tmp_path / cifar.CIFAR10.folder
    folder.mkdir()
    for name in cifar.CIFAR10.train + cifar.CIFAR10.test:
        (folder / name).write_bytes(python2_batch([1] * 500, np.zeros((500, 3072), np.uint8)))
    tracemalloc.start()
    try:
        result = load_cifar10(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.4 * sum(x.nbytes + y.nbytes for x, y in result)


def test_class_names():
    fine = datasets.CIFAR100_CLASSES
    assert len(set(datasets.CIFAR10_CLASSES)) == 10
    assert len(set(fine)) == 100 and list(fine) == sorted(fine)
