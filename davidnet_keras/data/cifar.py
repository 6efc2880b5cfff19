"""CIFAR-10 and CIFAR-100 from a folder, the official archive or the Keras cache."""

import contextlib
import dataclasses
import os
from pathlib import Path

import filelock

from davidnet_keras.data.aligned import Arrays
from davidnet_keras.data.cifar_files import Layout, read_files
from davidnet_keras.errors import DataError

CIFAR10 = Layout(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    train=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test=("test_batch",),
    labels={"labels": 10},
)
CIFAR100 = Layout(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    train=("train",),
    test=("test",),
    labels={"coarse_labels": 20, "fine_labels": 100},
    label_key="fine_labels",
)


def load_cifar10(data_dir: str | os.PathLike | None = None) -> Arrays:
    """Load CIFAR-10: 50,000 training and 10,000 test images of the 10 classes `CIFAR10_CLASSES`.

    Shapes: images (N, 32, 32, 3) `uint8`, labels (N,) `int64`.

    Args:
        data_dir: a folder that is or holds `cifar-10-batches-py/` or the binary version's `cifar-10-batches-bin/`, or
            holds `cifar-10-python.tar.gz` or `cifar-10-binary.tar.gz`; or such an archive itself, as .tar.gz or .tar.
            Nothing is written there. Default: what `keras.datasets` or an earlier call left in the Keras cache, or
            else a download of 170 MB into it.

    Returns:
        `(x_train, y_train), (x_test, y_test)`; do not change them while a data set made from them is in use.

    Raises:
        DataError: a file is missing, damaged, malicious or not of this data set, or the download failed.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    return _load(CIFAR10, data_dir)


def load_cifar100(data_dir: str | os.PathLike | None = None, label_mode: str = "fine") -> Arrays:
    """Load CIFAR-100 as `load_cifar10` loads CIFAR-10.

    Args:
        data_dir: as for `load_cifar10`, with `cifar-100-python/` or `cifar-100-binary/`.
        label_mode: "fine" (default): the 100 classes `CIFAR100_CLASSES`; "coarse": the 20 superclasses
            `CIFAR100_COARSE_CLASSES`.

    Raises:
        DataError as `load_cifar10`; ValueError: `label_mode` is neither of the two.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f"`label_mode` must be 'fine' or 'coarse'. Received: label_mode={label_mode!r}")
    return _load(dataclasses.replace(CIFAR100, label_key=f"{label_mode}_labels"), data_dir)


def is_cached(layout: Layout) -> bool:
    """Whether Keras's cache has files of this data set."""
    folders, archives = _kept_by_keras(layout, _cache())
    return any(path.exists() for path in folders + archives)


def _cache():
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets"


def _kept_by_keras(layout, cache):
    """The folders and the archives that `keras.datasets` of Keras 2 or 3 leaves in its cache."""
    target = cache / f"{layout.folder}-target"
    folders = [cache / layout.folder, target / layout.folder]  # the first is also what unpacking by hand makes
    return folders, [cache / f"{target.name}_archive", cache / f"{layout.folder}.tar.gz"]


def _load(layout, data_dir):
    if data_dir is None:
        for folder in _kept_by_keras(layout, _cache())[0]:
            with contextlib.suppress(DataError, OSError):  # absent or incomplete; the archive has a checksum
                return read_files(layout, folder)
        data_dir = _download(layout, _cache())
    path = Path(data_dir).expanduser()
    try:
        return read_files(layout, _locate(layout, path))
    except OSError as error:
        raise DataError(f"Cannot read {error.filename or path}: {error.strerror or error}.") from error


def _locate(layout, path):
    """The folder of data files, or the archive, that `path` means."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"There is no {path}: {layout.takes}.")
    folders, archives = _kept_by_keras(layout, path)
    folders += [path / layout.folders[1]] + [path] * (path.name in layout.folders)
    names = [layout.archive.replace("-python", kind) for kind in ("-python", "-binary")]
    archives = [path / name.removesuffix(end) for end in ("", ".gz") for name in names] + archives

    def has_data(folder):
        return any((folder / name).is_file() for name in layout.files)

    # `path` comes last, since CIFAR-100's files are called train and test.
    if found := [*filter(has_data, folders), *filter(Path.is_file, archives), *filter(has_data, [path])]:
        return found[0]
    raise DataError(
        f"{path} holds neither {layout.folder} with its data files nor {layout.archive}: "
        f"name the folder that does, or download {layout.url} into it."
    )


def _download(layout, cache):
    """Download the archive into the Keras cache, unless it is there with the right SHA-256."""
    import keras  # here, so that reading a folder does not wait for the backend

    names = [path.name for path in _kept_by_keras(layout, cache)[1]]
    name = next((name for name in names if (cache / name).is_file()), names[0])
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as lock:  # since Keras overwrites a file that another process is downloading
            with contextlib.suppress(OSError):  # a folder that cannot be written: nothing is downloaded into it
                lock.enter_context(filelock.FileLock(cache / f"{name}.lock"))
            return keras.utils.get_file(name, layout.url, file_hash=layout.sha256, hash_algorithm="sha256")
    except Exception as error:  # get_file raises plain Exception when the network fails
        raise DataError(
            f"Cannot download {layout.url} ({error}): check the network, or fetch the file elsewhere "
            "and name its folder (--data-dir on the command line, data_dir= in Python)."
        ) from error
