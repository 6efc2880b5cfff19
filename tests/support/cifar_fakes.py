"""Small data sets in CIFAR's layouts, as folders and archives, right or wrong in one place."""

import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from davidnet_keras.data.cifar import load_cifar10
from davidnet_keras.data.pickles import read_pickle
from davidnet_keras.errors import DataError

ROWS = 4  # images in each data file of these tests


def batch(seed, classes=10, rows=ROWS):
    """One data file's dictionary."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows).tolist()
    data = rng.integers(0, 256, (rows, 3072), dtype=np.uint8)
    keys = (
        {b"labels": labels}
        if classes == 10
        else {b"coarse_labels": [label // 5 for label in labels], b"fine_labels": labels}
    )
    return {b"batch_label": b"test", **keys, b"data": data, b"filenames": [b"a.png"] * rows}


def batches(layout):
    """Every data file of a layout, by name."""
    return {name: batch(seed, layout.labels[layout.label_key]) for seed, name in enumerate(layout.train + layout.test)}


def write_folder(layout, root, protocol=2, **changed):
    """Write the unpacked layout; `changed` gives other bytes, or None for no file, by file name."""
    folder = root / layout.folder
    folder.mkdir(parents=True)
    for name, content in batches(layout).items():
        content = changed.get(name, pickle.dumps(content, protocol=protocol))
        if content is not None:
            (folder / name).write_bytes(content)
    return root


def unpickle(content):
    return read_pickle(io.BytesIO(content), len(content))


def write_binary(layout, folder):
    """Write the binary version's files: for each picture its labels, a byte each, and its pixels."""
    folder.mkdir(parents=True)
    for name, content in batches(layout).items():
        columns = [np.array(content[key.encode()], np.uint8)[:, None] for key in layout.labels]
        (folder / f"{name}.bin").write_bytes(np.hstack([*columns, content[b"data"]]).tobytes())
    return folder


def member(name, content=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, io.BytesIO(content)


def write_archive(path, layout, extra=(), skip=(), prefix=""):
    """Write a .tar.gz with the members in an order of its own, as the official one has."""
    members = [
        member(f"{prefix}{layout.folder}/{name}", pickle.dumps(content, protocol=2))
        for name, content in reversed(batches(layout).items())
        if name not in skip
    ]
    with tarfile.open(path, "w:gz") as tar:
        for info, content in (*extra, *members):
            tar.addfile(info, content)
    return path


def expected(layout):
    """The arrays that `batches` describe, pixel by pixel the official definition: R, G and B planes of rows."""
    files = batches(layout)
    key = b"labels" if layout.folder == "cifar-10-batches-py" else b"fine_labels"

    def split(names):
        planes = np.concatenate([files[name][b"data"] for name in names])
        x = np.stack([planes[:, k * 1024 : (k + 1) * 1024].reshape(-1, 32, 32) for k in range(3)], axis=-1)
        return x, np.concatenate([files[name][key] for name in names])

    return split(layout.train), split(layout.test)


def assert_loaded(result, layout):
    for (x, y), (x_expected, y_expected) in zip(result, expected(layout), strict=True):
        assert x.dtype == np.uint8 and x.flags.c_contiguous and y.dtype == np.int64
        assert x.ctypes.data % 64 == 0  # TensorFlow holds it without a copy
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)


def assert_refused(path, *words):
    """The one kind of error, and a message of one sentence that has these words."""
    with pytest.raises(DataError) as caught:
        load_cifar10(path)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message, message


class Runs:
    """An object whose pickle calls something when it is read carelessly."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def python2_batch(labels, data):
    """The opcodes of Python 2's cPickle and numpy 1, byte for byte as in the official files."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x04cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06"
        b"(K\x01M" + struct.pack("<H", len(data)) + b"M\x00\x0c\x86cnumpy\ndtype\nq\x07U\x02u1K\x00K\x01\x87R"
        b"q\x08(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}q\x01(U\x06labelsq\x02](" + numbers + b"eU\x04dataq\x03" + array + b"u."
