"""CIFAR from folders and archives: what is right comes back exactly; what is wrong is refused in a sentence."""

import codecs
import dataclasses
import gzip
import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zlib

import filelock
import numpy as np
import pytest

from davidnet_keras import cifar, cifar_files, safe_pickle
from davidnet_keras.cifar import DataError, load_cifar10, load_cifar100
from davidnet_keras.safe_pickle import read_pickle

ROWS = 4  # images in each data file of these tests


@pytest.fixture(autouse=True)
def fresh_keras():
    """Nothing of Keras's state matters here, and clearing it for every test takes longer than the tests."""


@pytest.fixture(autouse=True)
def small_layouts(monkeypatch, tmp_path):
    """The official layouts with 4 images a file, and an empty Keras cache."""
    for name in ("CIFAR10", "CIFAR100"):
        layout = getattr(cifar, name)
        images = (ROWS * len(layout.train), ROWS)
        monkeypatch.setattr(cifar, name, dataclasses.replace(layout, images=images))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))


def batch(seed, classes=10, rows=ROWS):
    """One data file's dictionary."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows).tolist()
    data = rng.integers(0, 256, (rows, 3072), dtype=np.uint8)
    keys = {b"labels": labels} if classes == 10 else {b"coarse_labels": [0] * rows, b"fine_labels": labels}
    return {b"batch_label": b"test", **keys, b"data": data, b"filenames": [b"a.png"] * rows}


def batches(layout):
    """Every data file of a layout, by name."""
    return {name: batch(seed, layout.classes) for seed, name in enumerate(layout.train + layout.test)}


def write_folder(layout, root, protocol=2, **changed):
    """Write the unpacked layout; `changed` gives other bytes, or None for no file, by file name."""
    folder = root / layout.folder
    folder.mkdir(parents=True)
    for name, content in batches(layout).items():
        content = changed.get(name, pickle.dumps(content, protocol=protocol))
        if content is not None:
            (folder / name).write_bytes(content)
    return root


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


# ---- what is right


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
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


def test_python2_file_is_read_as_pickle_reads_it():
    data = batch(0)[b"data"]
    content = python2_batch([3, 1, 4, 1], data)
    ours, theirs = read_pickle(content), pickle.loads(content, encoding="bytes")
    assert ours["labels"] == theirs[b"labels"] == [3, 1, 4, 1]
    np.testing.assert_array_equal(ours["data"], data)
    np.testing.assert_array_equal(theirs[b"data"], data)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reader_agrees_with_pickle(protocol):
    text = ["å", b"bytes", b"\x00\xff" * 200, "long " * 100, b"b" * 70_000]
    value = {
        "integers": [0, 255, 256, 70_000, -3, 2**40],
        "nested": {"tuple": (1, (2, 3), ()), "flags": [True, False, None]},
    }
    arrays = {
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "u": np.zeros(70_000, "u1"),
    }
    read = read_pickle(pickle.dumps(value | arrays | {b"text": text}, protocol=protocol))
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
    assert len(set(cifar.CIFAR10_CLASSES)) == 10
    assert len(set(cifar.CIFAR100_CLASSES)) == 100 and list(cifar.CIFAR100_CLASSES) == sorted(cifar.CIFAR100_CLASSES)


# ---- the Keras cache


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


# ---- what is missing or damaged


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


# ---- malicious pickles


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.mkdir, eval, np.load, np.zeros, getattr, type])
def test_foreign_call_is_refused_and_not_made(tmp_path, protocol, function):
    made = tmp_path / "made"
    content = pickle.dumps({b"data": Runs(function, str(made)), b"labels": []}, protocol=protocol)
    assert_refused(
        write_folder(cifar.CIFAR10, tmp_path, data_batch_1=content), "data_batch_1", "which no data file needs"
    )
    assert not made.exists()


HOSTILE = {
    "memo index that would take 60 GB": b"\x80\x02}r\xff\xff\xff\xff(U\x04dataK\x01u.",
    "string of 4 GB": b"\x80\x03}(U\x01aB\xff\xff\xff\xffabcu.",
    "string of 2^63 bytes": b"\x80\x04}(U\x01a\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabcu.",
    "string of negative length": b"\x80\x02}(U\x01aT\xff\xff\xff\xffu.",
    "frame of 2^63 bytes": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "key nested 200,000 deep": b"\x80\x02}(K\x01" + b"\x85" * 200_000 + b"K\x01u.",
    "stack underflow": b"\x80\x02R.",
    "no mark": b"\x80\x02K\x01u.",
    "state for a string": b"\x80\x02U\x01a}b.",
    "state for a name": b"\x80\x02cnumpy\nndarray\n}b.",
    "object by opcode NEWOBJ": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "object by opcode INST": b"(S'true'\nios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"\x80\x02K\x01Q.",
    "endless name": b"\x80\x02c" + b"a" * 1000 + b"\nb\n.",
    "item of a list by name": b"\x80\x02](U\x01aK\x01u.",
    "list that holds itself": b"\x80\x02}q\x00(U\x06labels]q\x01h\x01aU\x04datah\x00u.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_opcodes_are_refused(tmp_path, content):
    assert_refused(write_folder(cifar.CIFAR10, tmp_path, data_batch_1=content), "data_batch_1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HOSTILE["string of negative length"], "ends too early"),
        (HOSTILE["string of 2^63 bytes"], "ends too early"),
        (pickle.dumps({"data": np.array([None])}, protocol=2), "'O8' instead of numbers"),
        (pickle.dumps({"data": Runs(np.dtype, "V8")}, protocol=2), "'V8' instead of numbers"),
        (pickle.dumps({"data": Runs(codecs.encode, "text", "rot13")}, protocol=2), "text in place of bytes"),
    ],
)
def test_reason_is_given(content, reason):
    with pytest.raises(pickle.UnpicklingError, match=reason):
        read_pickle(content)


def test_too_many_parts(monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_OPCODES", 1_000)
    with pytest.raises(pickle.UnpicklingError, match="1,000 parts"):
        read_pickle(pickle.dumps({"a": [[]] * 1_000}, protocol=2))


def test_text_cannot_be_multiplied():
    text = "x" * 100_000
    one = pickle.dumps({"a": text}, protocol=2)[:-2]  # text is memo 2, without the end
    again = b"U\x01bc_codecs\nencode\nq\x09h\x02U\x06latin1\x86RsU\x01c" + b"h\x09h\x02U\x06latin1\x86R" * 50
    with pytest.raises(pickle.UnpicklingError, match="text"):
        read_pickle(one + b"s" + again + b"s.")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((5, 3072), "size does not match"),
        ((2**62, 4), "size does not match"),
        ((-1, 3072), "impossible shape"),
        ((1,) * 40 + (4, 3072), "impossible shape"),
        (("4", 3072), "impossible shape"),
        (4, "not a whole"),
    ],
)
def test_array_whose_shape_lies(shape, reason):
    def array_of(shape):
        state = (1, shape, np.dtype("u1"), False, bytes(4 * 3072))
        return Reconstructed(state)

    with pytest.raises(pickle.UnpicklingError, match=reason):
        read_pickle(pickle.dumps({"data": array_of(shape)}, protocol=3))
    assert read_pickle(pickle.dumps({"data": array_of((4, 3072))}, protocol=3))["data"].shape == (4, 3072)


class Reconstructed:
    """Pickles as a numpy array with any state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        function, arguments, _ = np.zeros(1, np.uint8).__reduce__()
        return function, arguments, self.state


# ---- archives


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
    assert_refused(tmp_path / "x.tar.gz", "whole")
    (tmp_path / "y.tar.gz").write_bytes(gzip.compress(b"<html>not found</html>"))
    assert_refused(tmp_path / "y.tar.gz", cifar.CIFAR10.url)


# ---- anything at all


def mutated(rng, content, near=400):
    """Content with a few bytes changed, cut out or repeated, mostly where the structure is."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, near if rng.random() < 0.7 else len(content)))
        size = int(rng.integers(1, 9))
        kind = rng.integers(0, 3)
        if kind == 0:
            content[at : at + size] = rng.bytes(size)
        elif kind == 1:
            del content[at : at + size]
        else:
            content[at:at] = content[at : at + size]
    return bytes(content)


def test_mutated_files_are_read_or_refused(tmp_path):
    write_folder(cifar.CIFAR10, tmp_path)
    path = tmp_path / cifar.CIFAR10.folder / "data_batch_1"
    rng = np.random.default_rng(0)
    outcomes = set()
    for case in range(400):
        path.write_bytes(mutated(rng, pickle.dumps(batch(0), protocol=2 + case % 4)))
        outcomes.add(read_or_refused(tmp_path))
    assert outcomes == {"read", "refused"}


def test_mutated_archives_are_read_or_refused(tmp_path):
    plain = gzip.decompress(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10).read_bytes())
    rng = np.random.default_rng(0)
    for case in range(200):
        content = mutated(rng, plain, near=600) if case % 2 else plain
        content = gzip.compress(content, compresslevel=1)
        (tmp_path / "y.tar.gz").write_bytes(content if case % 2 else mutated(rng, content))
        read_or_refused(tmp_path / "y.tar.gz")


def read_or_refused(path):
    try:
        (x, y), _ = load_cifar10(path)
    except DataError:
        return "refused"
    assert x.shape == (5 * ROWS, 32, 32, 3) and y.min() >= 0 and y.max() <= 9
    return "read"
