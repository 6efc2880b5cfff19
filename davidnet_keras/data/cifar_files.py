"""Reading the files of the official CIFAR archives into arrays, whatever the files really hold."""

import gzip
import pickle
import tarfile
import zlib
from dataclasses import dataclass

import numpy as np

from davidnet_keras.data.aligned import aligned_empty
from davidnet_keras.data.safe_pickle import read_pickle
from davidnet_keras.errors import DataError

PIXELS = 3 * 32 * 32
# The official archives have nine members. tarfile remembers each one it passes, so there is a limit.
MAX_MEMBERS = 1000


@dataclass(frozen=True)
class Layout:
    """What the official archive of a data set holds."""

    folder: str  # the one folder in the archive
    archive: str  # the archive's file name
    sha256: str  # of the archive, as keras.datasets has it
    train: tuple[str, ...]  # names of the training files
    test: tuple[str, ...]  # names of the test files
    label_key: str
    classes: int
    images: tuple[int, int] = (50_000, 10_000)  # training, test

    @property
    def url(self):
        return f"https://www.cs.toronto.edu/~kriz/{self.archive}"

    @property
    def size_limit(self):
        """Bytes that all files together may have: Python 3 can write a byte as text of two bytes."""
        return 2 * PIXELS * sum(self.images) + (16 << 20)


def read_files(layout, path):
    """Read one folder or archive.

    Args:
        layout: `Layout` of the data set.
        path: `Path` of the folder that holds the data files, or of the `.tar.gz`, which is read as a stream: nothing
            is unpacked to disk.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, `uint8` (N, 32, 32, 3) and `int64` (N,).

    Raises:
        DataError: A file is missing, damaged, malicious or not of this data set.
        OSError: A file cannot be read.
    """
    counted = zip((layout.train, layout.test), layout.images, strict=True)
    splits = [_Split(layout, names, count) for names, count in counted]
    by_name = {name: split for split in splits for name in split.missing}
    read = _read_folder if path.is_dir() else _read_archive
    read(layout, path, by_name)
    for split in splits:
        if split.missing:
            raise DataError(f"{split.missing[0]} is missing from {path}: take it, or all, from {layout.url}.")
    return tuple((split.x, split.y) for split in splits)


def _read_folder(layout, folder, by_name):
    for name, split in by_name.items():
        path = folder / name
        if not path.exists():
            continue
        if not path.is_file():
            raise DataError(f"{path} is not a file: put the one of that name from {layout.archive} in its place.")
        with path.open("rb") as file:
            split.add(name, file, path.stat().st_size, path)


def _read_archive(layout, archive, by_name):
    try:
        with gzip.open(archive) as content:
            limited = _Limited(content, layout.size_limit)
            with tarfile.open(fileobj=limited, mode="r|", bufsize=1 << 18) as tar:
                _read_members(layout, tar, archive, by_name)
            while limited.read(1 << 20):
                pass  # to the end, where gzip keeps its checksum
    except (gzip.BadGzipFile, tarfile.TarError, EOFError, zlib.error, _TooLargeError) as error:
        raise DataError(f"{archive} is not a whole {layout.archive} ({error}): download {layout.url} again.") from error


def _read_members(layout, tar, archive, by_name):
    for number, member in enumerate(tar):
        if number == MAX_MEMBERS:
            raise _TooLargeError(f"it has more than {MAX_MEMBERS} members")
        name = member.name.removeprefix("./").removeprefix(f"{layout.folder}/")
        # Only these exact names count. Whatever else is in there, wherever it points, is skipped.
        if name not in by_name or not member.name.endswith(f"{layout.folder}/{name}"):
            continue
        where = f"{member.name} in {archive}"
        if not member.isreg():
            raise DataError(f"{where} is not a regular file: download {layout.url} again.")
        by_name[name].add(name, tar.extractfile(member), member.size, where)


class _TooLargeError(Exception):
    pass


class _Limited:
    """A stream that refuses to grow: a few kilobytes of gzip can hold gigabytes."""

    def __init__(self, stream, limit):
        self.stream, self.left = stream, limit

    def read(self, size):
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _TooLargeError("it unpacks to far more than the data set")
        return content


class _Split:
    """The arrays of one split, allocated once and filled file by file, in any order."""

    def __init__(self, layout, names, count):
        self.layout, self.names, self.missing = layout, names, list(names)
        self.rows = count // len(names)
        self.x = aligned_empty((count, 32, 32, 3), np.uint8)  # a data set then holds it without a copy
        self.y = aligned_empty(count, np.int64)

    def add(self, name, file, size, where):
        """Read, check and place one file of `size` bytes. Only here is a file's content in memory, and only once."""
        try:
            if name not in self.missing:
                raise _Unfit("it is there twice")
            if size == 0:
                raise _Unfit("it is empty")
            if size > self.layout.size_limit:
                raise _Unfit("it is larger than the whole data set")
            batch = read_pickle(file.read(size))
            data, labels = self._checked_data(batch), self._checked_labels(batch)
        except (pickle.UnpicklingError, _Unfit) as error:
            raise DataError(f"{where} cannot be used, {error}: take the one from {self.layout.url}.") from error
        rows = slice(self.names.index(name) * self.rows, (self.names.index(name) + 1) * self.rows)
        for channel, plane in enumerate(data.reshape(-1, 3, 32, 32).swapaxes(0, 1)):
            self.x[rows, :, :, channel] = plane  # ten times faster than one transposed copy
        self.y[rows] = labels
        self.missing.remove(name)

    def _checked_data(self, batch):
        data = batch.get("data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
            raise _Unfit(f"its 'data' is {getattr(data, 'dtype', 'no array')} and not an array of uint8")
        if data.shape != (self.rows, PIXELS):
            raise _Unfit(f"its 'data' has shape {data.shape} and not {(self.rows, PIXELS)}")
        return data

    def _checked_labels(self, batch):
        key, classes = self.layout.label_key, self.layout.classes
        labels = batch.get(key)
        if isinstance(labels, np.ndarray):
            labels = labels.tolist()
        if not isinstance(labels, list) or len(labels) != self.rows:
            raise _Unfit(f"its '{key}' are not a list of {self.rows:,} labels")
        if not all(type(label) is int and 0 <= label < classes for label in labels):
            raise _Unfit(f"its '{key}' are not all integers from 0 to {classes - 1}")
        return labels


class _Unfit(Exception):
    """Why a file cannot be used, as a clause."""
