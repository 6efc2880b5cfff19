"""CIFAR from Keras's cache: what is whole there is taken, what is not is downloaded, by one process at a time."""

import dataclasses
import os

import filelock
import pytest
from cifar_fakes import assert_loaded, assert_refused, write_archive, write_folder

from davidnet_keras.data import cifar
from davidnet_keras.data.cifar import load_cifar10, load_cifar100
from davidnet_keras.errors import DataError

pytestmark = pytest.mark.usefixtures("small_cifar")


@pytest.fixture
def no_network(monkeypatch):
    """`get_file` that finds nothing to fetch: like the real one, it takes a file whose hash is right."""
    import keras

    def fail(url, *_):
        raise OSError(f"no network for {url}")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fail)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", os.environ["KERAS_HOME"])
    return keras


@pytest.mark.parametrize("subfolder", ["", "cifar-10-batches-py-target"])
def test_cache_unpacked_by_keras(tmp_path, subfolder):
    write_folder(cifar.CIFAR10, tmp_path / "keras" / "datasets" / subfolder)
    assert_loaded(load_cifar10(), cifar.CIFAR10)


@pytest.mark.parametrize("name", ["cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz"])
def test_cached_archive_with_the_right_hash(tmp_path, monkeypatch, no_network, name):
    cache = tmp_path / "keras" / "datasets"
    cache.mkdir(parents=True)
    archive = write_archive(cache / name, cifar.CIFAR10)
    # An unpacking that was cut short does not stand in the way.
    write_folder(cifar.CIFAR10, cache / "cifar-10-batches-py-target", data_batch_3=b"")
    sha256 = no_network.src.utils.file_utils.hash_file(str(archive))
    monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, sha256=sha256))
    assert_loaded(load_cifar10(), cifar.CIFAR10)


def test_somebody_elses_train_folder_is_not_cifar100(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="holds neither cifar-100-python"):
        load_cifar100(tmp_path)
    write_archive(tmp_path / cifar.CIFAR100.archive, cifar.CIFAR100)
    assert_loaded(load_cifar100(tmp_path), cifar.CIFAR100)


def test_half_a_download_is_not_taken(tmp_path, no_network):
    cache = tmp_path / "keras" / "datasets"
    cache.mkdir(parents=True)
    write_archive(cache / "cifar-10-batches-py-target_archive", cifar.CIFAR10)  # whole, but not the official hash
    assert_refused(None, "Cannot download", cifar.CIFAR10.url)


def test_two_processes_download_one_after_the_other(tmp_path, no_network, monkeypatch):
    lock = tmp_path / "keras" / "datasets" / "cifar-10-batches-py-target_archive.lock"

    def held(*_, **__):
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(lock).acquire(timeout=0)
        raise OSError("as it should be")

    monkeypatch.setattr("keras.utils.get_file", held)
    assert_refused(None, "as it should be")
    filelock.FileLock(lock).acquire(timeout=0).lock.release()


def test_an_archive_in_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch, no_network):
    cache = tmp_path / "keras" / "datasets"
    cache.mkdir(parents=True)
    archive = write_archive(cache / "cifar-10-batches-py-target_archive", cifar.CIFAR10)
    sha256 = no_network.src.utils.file_utils.hash_file(str(archive))
    monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, sha256=sha256))

    def denied(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(filelock.FileLock, "acquire", denied)
    assert_loaded(load_cifar10(), cifar.CIFAR10)


def test_no_network_names_the_address_and_the_other_way(tmp_path, no_network):
    (tmp_path / "keras").mkdir()
    assert_refused(None, cifar.CIFAR10.url, "--data-dir", "no network")
