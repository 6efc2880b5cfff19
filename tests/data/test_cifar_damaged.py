"""CIFAR that is missing, damaged or cut short, as files or archives: one sentence that names what is wrong."""

import gzip
import os
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pytest
from cifar_fakes import (
    ROWS,
    Runs,
    assert_loaded,
    assert_refused,
    batch,
    member,
    write_archive,
    write_binary,
    write_folder,
)

from davidnet_keras.data import cifar, cifar_files
from davidnet_keras.data.cifar import load_cifar10
from davidnet_keras.errors import DataError

pytestmark = pytest.mark.usefixtures("small_cifar")


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_4", "test_batch"])
def test_missing_file_is_named(tmp_path, name):
    assert_refused(write_folder(cifar.CIFAR10, tmp_path / "x", **{name: None}), name, "is missing from")
    archive = write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10, skip=[name])
    assert_refused(archive, name, "is missing from")


def test_nothing_there(tmp_path):
    assert_refused(tmp_path / "none", "There is no", "none")
    assert_refused(tmp_path, "holds neither", cifar.CIFAR10.url)
    write_folder(cifar.CIFAR100, tmp_path)
    assert_refused(tmp_path, "holds neither")


def test_archive_of_the_other_data_set(tmp_path):
    assert_refused(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR100), "data_batch_1", "is missing from")


def test_directory_in_place_of_a_file(tmp_path):
    write_folder(cifar.CIFAR10, tmp_path, data_batch_2=None)
    (tmp_path / cifar.CIFAR10.folder / "data_batch_2").mkdir()
    assert_refused(tmp_path, "data_batch_2", "not a file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_in_place_of_a_file_does_not_hang(tmp_path):
    write_folder(cifar.CIFAR10, tmp_path, data_batch_2=None)
    os.mkfifo(tmp_path / cifar.CIFAR10.folder / "data_batch_2")
    assert_refused(tmp_path, "data_batch_2", "not a file")


def test_unreadable_file(tmp_path, monkeypatch):
    write_folder(cifar.CIFAR10, tmp_path)

    def refuse(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)  # modes do not stop an administrator, who may run the tests
    assert_refused(tmp_path, "Cannot read", "data_batch_1", "Permission denied")


def test_empty_and_truncated_files(tmp_path):
    whole = pickle.dumps(batch(0), protocol=2)
    assert_refused(write_folder(cifar.CIFAR10, tmp_path / "0", data_batch_3=b""), "data_batch_3", "it is empty")
    for size in (1, 10, 100, len(whole) // 2, len(whole) - 1):
        root = write_folder(cifar.CIFAR10, tmp_path / str(size), data_batch_3=whole[:size])
        assert_refused(root, "data_batch_3", "cannot be used")


def test_file_larger_than_any_real_one(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_files.Layout, "size_limit", 5_000)
    assert_refused(write_folder(cifar.CIFAR10, tmp_path), "data_batch_1", "it is larger")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({b"data": np.zeros((ROWS, 3072), np.float32)}, ("float32", "uint8")),
        ({b"data": np.zeros((ROWS, 3072), np.int8)}, ("int8", "uint8")),
        ({b"data": np.zeros((ROWS, 1024), np.uint8)}, ("(4, 1024)", "(4, 3072)")),
        ({b"data": np.zeros((ROWS + 1, 3072), np.uint8)}, ("(5, 3072)",)),
        ({b"data": np.zeros((ROWS, 3, 32, 32), np.uint8)}, ("shape",)),
        ({b"data": [0] * 3072}, ("'data'", "no array")),
        ({b"data": np.array([[None] * 3072] * ROWS)}, ("cannot be used",)),
        ({b"labels": [0, 1, 2, 10]}, ("'labels'", "0 to 9")),
        ({b"labels": [0, 1, 2, -1]}, ("0 to 9",)),
        ({b"labels": [0, 1, 2, 2**80]}, ("0 to 9",)),
        ({b"labels": [0, 1, 2, True]}, ("0 to 9",)),
        ({b"labels": [0, 1, 2, [3]]}, ("0 to 9",)),
        ({b"labels": [0, 1, 2]}, ("4 labels",)),
        ({b"labels": b"\x00\x01\x02\x03"}, ("4 labels",)),
        ({b"labels": None}, ("4 labels",)),
    ],
)
def test_wrong_content_is_described(tmp_path, change, words):
    content = pickle.dumps(batch(0) | change, protocol=2)
    assert_refused(write_folder(cifar.CIFAR10, tmp_path, test_batch=content), "test_batch", *words)


def test_file_that_is_no_dictionary(tmp_path):
    content = pickle.dumps([1, 2], protocol=2)
    assert_refused(write_folder(cifar.CIFAR10, tmp_path, test_batch=content), "test_batch", "dictionary")


def test_only_exact_members_count(tmp_path):
    evil = pickle.dumps(Runs(os.mkdir, str(tmp_path / "made")), protocol=2)
    extra = [
        member("../data_batch_1", evil),
        member(str(tmp_path / "data_batch_1"), evil),
        member("data_batch_1", evil),
        member("cifar-10-batches-py/../cifar-10-batches-py/data_batch_1", evil),
        member("other/cifar-10-batches-py/data_batch_1", evil),
        member("cifar-10-batches-py", kind=tarfile.SYMTYPE, link="/etc"),
        member("cifar-10-batches-py/device", kind=tarfile.CHRTYPE),
    ]
    folder = tmp_path / "only"
    folder.mkdir()
    archive = write_archive(folder / "x.tar.gz", cifar.CIFAR10, extra)
    assert_loaded(load_cifar10(archive), cifar.CIFAR10)
    assert [path.name for path in folder.iterdir()] == ["x.tar.gz"]  # nothing was unpacked
    assert [path.name for path in tmp_path.iterdir()] == ["only"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_member_that_is_no_regular_file(tmp_path, kind):
    extra = [member("cifar-10-batches-py/data_batch_1", kind=kind, link="/etc/passwd")]
    assert_refused(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10, extra), "data_batch_1", "not a regular file")


def test_one_of_the_files_and_packed_files_say_what_to_name(tmp_path):
    folder = write_folder(cifar.CIFAR10, tmp_path) / cifar.CIFAR10.folder
    assert_refused(folder / "data_batch_1", "one of 6 files", "name the folder")
    (folder / "data_batch_1").write_bytes(gzip.compress((folder / "data_batch_1").read_bytes()))
    assert_refused(folder, "packed by gzip")
    write_binary(cifar.CIFAR10, tmp_path / "bin")
    with open(tmp_path / "bin" / "data_batch_2.bin", "ab") as file:
        file.write(b"1")
    assert_refused(tmp_path / "bin", "data_batch_2.bin", "12,293 bytes and not 12,292")


@pytest.mark.parametrize(
    "change",
    [
        {b"data": np.zeros((ROWS + 1, 3072), np.uint8), b"labels": [0] * (ROWS + 1)},
        {b"labels": [0, 1, 2, 10]},
        {b"labels": ["cat"] * ROWS},
        {b"data": np.zeros((ROWS, 3072), np.float32)},
    ],
)
def test_files_of_ones_own_are_told_what_to_write(tmp_path, change):
    content = pickle.dumps(batch(0) | change, protocol=2)
    folder = write_folder(cifar.CIFAR10, tmp_path, test_batch=content)
    assert_refused(folder, "'data', uint8 (4, 3072)", "4 integers from 0 to 9", "train_dataset")
    with pytest.raises(DataError) as caught:
        load_cifar10(folder)
    assert "https://" not in str(caught.value)


def test_member_that_comes_twice(tmp_path):
    extra = [member("cifar-10-batches-py/test_batch", pickle.dumps(batch(77), protocol=2))]
    assert_refused(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10, extra), "test_batch", "it is there twice")


@pytest.mark.parametrize("name", ["cifar-10-batches-py/data_batch_1", "other"])
def test_bomb_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(cifar_files.Layout, "size_limit", 1 << 20)
    extra = [member(name, bytes(3 << 20))]
    archive = write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10, extra)
    assert archive.stat().st_size < 200_000
    assert_refused(archive, "x.tar.gz", "it is larger" if "batch" in name else "unpacks to")


def test_bomb_after_the_last_member(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_files.Layout, "size_limit", 1 << 20)
    archive = write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10)
    with archive.open("ab") as file:
        file.write(gzip.compress(bytes(3 << 20)))
    assert_refused(archive, "unpacks to")


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_files, "MAX_MEMBERS", 20)
    extra = [member(f"empty_{i}") for i in range(30)]
    assert_refused(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10, extra), "members")


def test_archive_truncated_anywhere(tmp_path):
    content = write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10).read_bytes()
    for size in (0, 1, 5, 20, len(content) // 3, len(content) - 1000, len(content) - 1):
        (tmp_path / "cut.tar.gz").write_bytes(content[:size])
        assert_refused(tmp_path / "cut.tar.gz", "cut.tar.gz")


def test_archive_with_a_wrong_checksum(tmp_path):
    content = bytearray(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10).read_bytes())
    checksum = zlib.crc32(gzip.decompress(content))
    assert struct.unpack("<I", content[-8:-4])[0] == checksum
    content[-8] ^= 1
    (tmp_path / "x.tar.gz").write_bytes(content)
    assert_refused(tmp_path / "x.tar.gz", "CRC")


def test_file_that_is_no_archive(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(b"<html>not found</html>")
    assert_refused(tmp_path / "x.tar.gz", "whole", "--data-dir")
    (tmp_path / "y.tar.gz").write_bytes(gzip.compress(b"<html>not found</html>"))
    assert_refused(tmp_path / "y.tar.gz", cifar.CIFAR10.url)
