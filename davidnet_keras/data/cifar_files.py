"""CIFAR's files, untrusted and perhaps damaged, as arrays."""

import gzip
import pickle
import tarfile
import zlib
from dataclasses import dataclass

import numpy as np

from davidnet_keras.data.aligned import aligned_empty
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
    label_keys: tuple[str, ...]  # labels of each picture, in the order of the binary version's bytes
    label_key: str  # the one that is read
    classes: int
    images: tuple[int, int] = (50_000, 10_000)  # training, test

    @property
    def names(self):
        return self.train + self.test

    @property
    def folders(self):
        return self.folder, self.folder.replace("-batches-py", "-batches-bin").replace("-python", "-binary")

    @property
    def archives(self):
        packed = self.archive, self.archive.replace("-python", "-binary")
        return packed + tuple(name.removesuffix(".gz") for name in packed)

    @property
    def url(self):
        return f"https://www.cs.toronto.edu/~kriz/{self.archive}"

    @property
    def takes(self):
        """What `data_dir` may be, for messages."""
        return (
            f"--data-dir (data_dir= in Python) takes a folder that holds {self.folder} or {self.archive}, or that "
            "archive itself, as .tar.gz or .tar"
        )

    @property
    def size_limit(self):
        """Bytes that all files together may have: Python 3 can write a byte as text of two bytes."""
        return 2 * PIXELS * sum(self.images) + (16 << 20)


def read_files(layout, path):
    """Read one folder or archive.

    Args:
        layout: `Layout` of the data set.
        path: `Path` of the folder that holds the data files, or of the archive, which is never unpacked to disk.

    Returns:
        `(x_train, y_train), (x_test, y_test)`, `uint8` (N, 32, 32, 3) and `int64` (N,).

    Raises:
        DataError: a file is missing, damaged, malicious or not of this data set.
        OSError: a file cannot be read.
    """
    counted = zip((layout.train, layout.test), layout.images, strict=True)
    splits = [_Split(layout, names, count) for names, count in counted]
    by_name = {name + kind: split for split in splits for name in split.missing for kind in ("", ".bin")}
    read = _read_folder if path.is_dir() else _read_archive
    read(layout, path, by_name)
    for split in splits:
        if split.missing:
            raise DataError(f"{split.missing[0]} is missing from {path}: take it, or all, from {layout.url}.")
    return tuple((split.x, split.y) for split in splits)


def _read_folder(layout, folder, by_name):
    for name, split in by_name.items():
        path = folder / name
        if not path.exists() or name.removesuffix(".bin") not in split.missing:
            continue
        if not path.is_file():
            raise DataError(f"{path} is not a file: put the one of that name from {layout.archive} in its place.")
        with path.open("rb") as file:
            split.add(name, file, path.stat().st_size, path)


def _read_archive(layout, archive, by_name):
    if archive.name in by_name:
        raise DataError(f"{archive} is one of {len(layout.names)} files: name the folder that holds them all.")
    try:
        with archive.open("rb") as file:
            content = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
            limited = _Limited(content, layout.size_limit)
            with tarfile.open(fileobj=limited, mode="r|", bufsize=1 << 18) as tar:
                _read_members(layout, tar, archive, by_name)
            while limited.read(1 << 20):
                pass  # to the end, where gzip keeps its checksum
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{archive} is not a whole {layout.archive} ({error}): {layout.takes}; it comes from {layout.url}."
        ) from error


def _read_members(layout, tar, archive, by_name):
    for number, member in enumerate(tar):
        if number == MAX_MEMBERS:
            raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} members")
        folder, _, name = member.name.removeprefix("./").partition("/")
        # Only these exact names count. Whatever else is in there, wherever it points, is skipped.
        if name not in by_name or folder not in layout.folders:
            continue
        where = f"{member.name} in {archive}"
        if not member.isreg():
            raise DataError(f"{where} is not a regular file: download {layout.url} again.")
        by_name[name].add(name, tar.extractfile(member), member.size, where)


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


class _Split:
    """The arrays of one split, allocated once and filled file by file, in any order."""

    def __init__(self, layout, names, count):
        self.layout, self.names, self.missing = layout, names, list(names)
        self.rows = count // len(names)
        self.x = aligned_empty((count, 32, 32, 3), np.uint8)  # a data set then holds it without a copy
        self.y = aligned_empty(count, np.int64)

    def add(self, name, file, size, where):
        """Read, check and place one file of `size` bytes."""
        name, binary = name.removesuffix(".bin"), name.endswith(".bin")
        try:
            if name not in self.missing:
                raise _Unfit("it is there twice")
            if size == 0:
                raise pickle.UnpicklingError("it is empty")
            if size > self.layout.size_limit:
                raise _Unfit("it is larger than the whole data set")
            if file.peek(2)[:2] == GZIP:
                raise _Unfit("it is packed by gzip")
            batch = self._read_binary(file.read(size)) if binary else read_pickle(file, size)
            data, labels = self._checked_data(batch), self._checked_labels(batch)
        except pickle.UnpicklingError as error:
            raise DataError(
                f"{where} cannot be used, {error}: take the one from {self.layout.url}; {self._expected()}."
            ) from error
        except _Unfit as error:
            raise DataError(f"{where} cannot be used, {error}: {self._expected()}.") from error
        rows = slice(self.names.index(name) * self.rows, (self.names.index(name) + 1) * self.rows)
        for channel, plane in enumerate(data.reshape(-1, 3, 32, 32).swapaxes(0, 1)):
            self.x[rows, :, :, channel] = plane  # ten times faster than one transposed copy
        self.y[rows] = labels
        self.missing.remove(name)

    def _expected(self):
        return (
            f"a file of yours must hold a pickled dictionary of 'data', uint8 {(self.rows, PIXELS)}, and "
            f"'{self.layout.label_key}', a list of {self.rows:,} integers from 0 to {self.layout.classes - 1}; "
            "arrays of other sizes or with other classes go to train_dataset(x, y) as they are"
        )

    def _read_binary(self, content):
        """The batch of a file of the binary version: for each picture a byte for each label, then its pixels."""
        keys = self.layout.label_keys
        if len(content) != self.rows * (len(keys) + PIXELS):
            raise pickle.UnpicklingError(f"it has {len(content):,} bytes and not {self.rows * (len(keys) + PIXELS):,}")
        records = np.frombuffer(content, np.uint8).reshape(self.rows, -1)
        return {"data": records[:, len(keys) :], **dict(zip(keys, records.T, strict=False))}

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
    """Why a file that can be read cannot be used, as a clause."""
