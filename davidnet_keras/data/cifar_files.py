"""CIFAR's files, untrusted and perhaps damaged, as arrays."""

import gzip
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from davidnet_keras.data.aligned import Arrays, aligned_empty
from davidnet_keras.data.pickles import read_pickle
from davidnet_keras.errors import DataError

PIXELS = 3 * 32 * 32
GZIP = b"\x1f\x8b"  # its first bytes
MAX_MEMBERS = 1000  # the official archives have nine; tarfile remembers each one that it passes


@dataclass(frozen=True)
class Layout:
    """What the official archives of a data set hold: the pickled version, and the binary one."""

    folder: str  # the one folder in the archive of pickled files
    archive: str  # that archive's file name
    sha256: str  # of that archive, as keras.datasets has it
    train: tuple[str, ...]  # names of the training files; the binary version adds .bin
    test: tuple[str, ...]  # names of the test files
    labels: dict[str, int]  # classes by kind of label, in the order of the binary version's bytes
    label_key: str = "labels"  # the kind that is read
    images: tuple[int, int] = (50_000, 10_000)  # training, test

    @property
    def files(self):
        return [name + kind for name in self.train + self.test for kind in ("", ".bin")]

    @property
    def folders(self):
        return self.folder, self.folder.replace("-batches-py", "-batches-bin").replace("-python", "-binary")

    @property
    def url(self):
        return f"https://www.cs.toronto.edu/~kriz/{self.archive}"

    @property
    def takes(self):
        return f"--data-dir (data_dir= in Python) takes {self.archive}, or a folder that holds it or {self.folder}"

    @property
    def size_limit(self):
        """Bytes that all files together may have: Python 3 can write a byte as text of two bytes."""
        return 2 * PIXELS * sum(self.images) + (16 << 20)


def read_files(layout: Layout, path: Path) -> Arrays:
    """Read the folder that holds the data files, or their archive, which is never unpacked to disk.

    Raises:
        DataError: a file is missing, damaged, malicious or not of this data set.
        OSError: a file cannot be read.
    """
    # Aligned, so that a data set made from them holds no copy; filled file by file, in any order.
    train, test = ((aligned_empty((n, 32, 32, 3), np.uint8), aligned_empty(n, np.int64)) for n in layout.images)
    missing: dict[str, Any] = {}  # the rows of x and of y that a file fills
    for (x, y), names in ((train, layout.train), (test, layout.test)):
        missing |= zip(names, zip(np.split(x, len(names)), np.split(y, len(names)), strict=True), strict=True)
    try:
        for name, file, size, where in (_in_folder if path.is_dir() else _in_archive)(layout, path):
            if (stem := name.removesuffix(".bin")) not in missing:
                raise DataError(f"{where} cannot be used, it is there twice: take the archive from {layout.url}.")
            x, y = missing.pop(stem)
            _fill(x, y, layout, name, file, size, where)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is not a whole {layout.archive} ({error}): {layout.takes}; it comes from {layout.url}."
        ) from error
    if missing:
        raise DataError(f"{next(iter(missing))} is missing from {path}: take it, or all, from {layout.url}.")
    return train, test


def _in_folder(layout, folder):
    """Name, open file, size and description of each data file."""
    for name in layout.train + layout.test:
        path = next(filter(Path.exists, (folder / name, folder / f"{name}.bin")), None)
        if path is None:
            continue
        if not path.is_file():
            raise DataError(f"{path} is not a file: put the one of that name from {layout.archive} in its place.")
        with path.open("rb") as file:
            yield path.name, file, path.stat().st_size, path


def _in_archive(layout, archive):
    """The same of an archive, whose members come in any order."""
    if archive.name in layout.files:
        raise DataError(f"{archive} is one of {len(layout.files) // 2} files: name the folder that holds them all.")
    with archive.open("rb") as file:
        content = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
        limited = _Limited(content, layout.size_limit)
        with tarfile.open(fileobj=limited, mode="r|", bufsize=1 << 18) as tar:
            for number, member in enumerate(tar):
                if number == MAX_MEMBERS:
                    raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} members")
                folder, _, name = member.name.removeprefix("./").partition("/")
                # Only these exact names count. Whatever else is in there, wherever it points, is skipped.
                if name in layout.files and folder in layout.folders:
                    where = f"{member.name} in {archive}"
                    if not member.isreg():
                        raise DataError(f"{where} is not a regular file: download {layout.url} again.")
                    yield name, tar.extractfile(member), member.size, where
        while limited.read(1 << 20):
            pass  # to the end, where gzip keeps its checksum


class _Limited:
    """A stream that refuses to grow: a few kilobytes of gzip can hold gigabytes."""

    def __init__(self, stream, limit):
        self.stream, self.left = stream, limit

    def read(self, size):
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise tarfile.ReadError("it unpacks to far more than the data set")
        return content


def _fill(x, y, layout, name, file, size, where):
    """Put the pictures and labels of a file of `size` bytes where they belong."""
    try:
        data, labels = _read_file(layout, len(y), name, file, size)
    except (pickle.UnpicklingError, ValueError) as error:
        remedy = "" if isinstance(error, ValueError) else f"take the one from {layout.url}; "
        raise DataError(
            f"{where} cannot be used, {error}: {remedy}a file of yours must hold a pickled dictionary of 'data', "
            f"uint8 {(len(y), PIXELS)}, and '{layout.label_key}', a list of {len(y):,} integers from 0 to "
            f"{layout.labels[layout.label_key] - 1}; other arrays go to train_dataset(x, y) as they are."
        ) from error
    for channel, plane in enumerate(data.reshape(-1, 3, 32, 32).swapaxes(0, 1)):
        x[..., channel] = plane  # ten times faster than one transposed copy
    y[:] = labels


def _read_file(layout, rows, name, file, size):
    """Pixels and labels of a file; UnpicklingError if it is damaged, ValueError if it is whole but unfit."""
    if size == 0:
        raise pickle.UnpicklingError("it is empty")
    if size > layout.size_limit:
        raise ValueError("it is larger than the whole data set")
    if file.peek(2)[:2] == GZIP:
        raise ValueError("it is packed by gzip")
    kinds, key = list(layout.labels), layout.label_key
    classes = layout.labels[key]
    if name.endswith(".bin"):  # for each picture a byte for each label, then its pixels
        whole = rows * (len(kinds) + PIXELS)
        if size != whole:
            raise pickle.UnpicklingError(f"it has {size:,} bytes and not {whole:,}")
        records = np.frombuffer(file.read(size), np.uint8).reshape(rows, -1)
        batch = {"data": records[:, len(kinds) :], key: records[:, kinds.index(key)]}
    else:
        batch = read_pickle(file, size)
    data, labels = batch.get("data"), batch.get(key)
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        raise ValueError(f"its 'data' is {getattr(data, 'dtype', 'no array')} and not an array of uint8")
    if data.shape != (rows, PIXELS):
        raise ValueError(f"its 'data' has shape {data.shape} and not {(rows, PIXELS)}")
    if not isinstance(labels, list) or len(labels) != rows:
        raise ValueError(f"its '{key}' are not a list of {rows:,} labels")
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise ValueError(f"its '{key}' are not all integers from 0 to {classes - 1}")
    return data, labels
