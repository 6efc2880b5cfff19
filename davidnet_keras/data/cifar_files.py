"""CIFAR's files, untrusted and perhaps damaged, as arrays."""

import gzip
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

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
    label_keys: tuple[str, ...]  # labels of each picture, in the order of the binary version's bytes
    label_key: str  # the one that is read
    classes: int
    images: tuple[int, int] = (50_000, 10_000)  # training, test

    @property
    def files(self):
        return [name + kind for name in self.train + self.test for kind in ("", ".bin")]

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


def read_files(layout: Layout, path: Path) -> Arrays:
    """Read the folder that holds the data files, or their archive, which is never unpacked to disk.

    Raises:
        DataError: a file is missing, damaged, malicious or not of this data set.
        OSError: a file cannot be read.
    """
    reader = _Reader(layout)
    if path.is_dir():
        reader.read_folder(path)
    else:
        reader.read_archive(path)
    if reader.missing:
        raise DataError(f"{reader.missing[0]} is missing from {path}: take it, or all, from {layout.url}.")
    return reader.arrays


class _Reader:
    """The arrays of a data set, allocated once and filled file by file, in any order."""

    def __init__(self, layout):
        self.layout, self.parts = layout, {}
        # Aligned, so that a data set made from them holds no copy.
        self.arrays = tuple(
            (aligned_empty((n, 32, 32, 3), np.uint8), aligned_empty(n, np.int64)) for n in layout.images
        )
        for (x, y), names in zip(self.arrays, (layout.train, layout.test), strict=True):
            self.parts.update(
                zip(names, zip(np.split(x, len(names)), np.split(y, len(names)), strict=True), strict=True)
            )
        self.missing = list(self.parts)

    def read_folder(self, folder):
        for name in self.layout.files:
            path = folder / name
            if not path.exists() or name.removesuffix(".bin") not in self.missing:
                continue
            if not path.is_file():
                raise DataError(f"{path} is not a file: put the one of that name from {self.layout.archive} there.")
            with path.open("rb") as file:
                self._add(name, file, path.stat().st_size, path)

    def read_archive(self, archive):
        layout = self.layout
        if archive.name in layout.files:
            raise DataError(f"{archive} is one of {len(self.parts)} files: name the folder that holds them all.")
        try:
            with archive.open("rb") as file:
                content = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file
                limited = _Limited(content, layout.size_limit)
                with tarfile.open(fileobj=limited, mode="r|", bufsize=1 << 18) as tar:
                    self._read_members(tar, archive)
                while limited.read(1 << 20):
                    pass  # to the end, where gzip keeps its checksum
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(
                f"{archive} is not a whole {layout.archive} ({error}): {layout.takes}; it comes from {layout.url}."
            ) from error

    def _read_members(self, tar, archive):
        for number, member in enumerate(tar):
            if number == MAX_MEMBERS:
                raise tarfile.ReadError(f"it has more than {MAX_MEMBERS} members")
            folder, _, name = member.name.removeprefix("./").partition("/")
            # Only these exact names count. Whatever else is in there, wherever it points, is skipped.
            if name not in self.layout.files or folder not in self.layout.folders:
                continue
            where = f"{member.name} in {archive}"
            if not member.isreg():
                raise DataError(f"{where} is not a regular file: download {self.layout.url} again.")
            self._add(name, tar.extractfile(member), member.size, where)

    def _add(self, file_name, file, size, where):
        """Read, check and place one file of `size` bytes."""
        name, layout = file_name.removesuffix(".bin"), self.layout
        x, y = self.parts[name]
        try:
            if name not in self.missing:
                raise _Unfit("it is there twice")
            if size == 0:
                raise pickle.UnpicklingError("it is empty")
            if size > layout.size_limit:
                raise _Unfit("it is larger than the whole data set")
            if file.peek(2)[:2] == GZIP:
                raise _Unfit("it is packed by gzip")
            batch = read_pickle(file, size) if name == file_name else _read_binary(file.read(size), layout, len(y))
            data, labels = _checked(batch, layout, len(y))
        except pickle.UnpicklingError as error:
            remedy = "" if isinstance(error, _Unfit) else f"take the one from {layout.url}; "
            raise DataError(
                f"{where} cannot be used, {error}: {remedy}a file of yours must hold a pickled dictionary of 'data', "
                f"uint8 {(len(y), PIXELS)}, and '{layout.label_key}', a list of {len(y):,} integers from 0 to "
                f"{layout.classes - 1}; other arrays go to train_dataset(x, y) as they are."
            ) from error
        for channel, plane in enumerate(data.reshape(-1, 3, 32, 32).swapaxes(0, 1)):
            x[..., channel] = plane  # ten times faster than one transposed copy
        y[:] = labels
        self.missing.remove(name)


def _read_binary(content, layout, rows):
    """The batch of a file of the binary version: for each picture a byte for each label, then its pixels."""
    keys = layout.label_keys
    size = rows * (len(keys) + PIXELS)
    if len(content) != size:
        raise pickle.UnpicklingError(f"it has {len(content):,} bytes and not {size:,}")
    records = np.frombuffer(content, np.uint8).reshape(rows, -1)
    return {"data": records[:, len(keys) :], **dict(zip(keys, records.T, strict=False))}


def _checked(batch, layout, rows):
    """The pixels and the labels of a batch."""
    data, key = batch.get("data"), layout.label_key
    labels = batch.get(key)
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        raise _Unfit(f"its 'data' is {getattr(data, 'dtype', 'no array')} and not an array of uint8")
    if data.shape != (rows, PIXELS):
        raise _Unfit(f"its 'data' has shape {data.shape} and not {(rows, PIXELS)}")
    if not isinstance(labels, list) or len(labels) != rows:
        raise _Unfit(f"its '{key}' are not a list of {rows:,} labels")
    if not all(type(label) is int and 0 <= label < layout.classes for label in labels):
        raise _Unfit(f"its '{key}' are not all integers from 0 to {layout.classes - 1}")
    return data, labels


class _Unfit(pickle.UnpicklingError):
    """Why a file that can be read cannot be used."""


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
