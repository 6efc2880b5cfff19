"""CIFAR files made to do harm, and files and archives with bytes changed at random: refused, nothing is run."""

import codecs
import gzip
import os
import pickle

import numpy as np
import pytest
from cifar_fakes import ROWS, Runs, assert_refused, batch, unpickle, write_archive, write_folder

from davidnet_keras.data import cifar, pickles
from davidnet_keras.data.cifar import load_cifar10
from davidnet_keras.errors import DataError

pytestmark = pytest.mark.usefixtures("small_cifar")


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
    "key nested 200,000 deep, by one": b"\x80\x02}K\x01" + b"\x85" * 200_000 + b"K\x01s.",
    "key nested 200,000 deep, of protocol 0": b"(K\x01" + b"\x85" * 200_000 + b"K\x01d.",
    "bytearray of 2^62 bytes": b"\x80\x05}(U\x01a\x96\xff\xff\xff\xff\xff\xff\xff\x3fabcu.",
    "state for a function": b"\x80\x02cnumpy.core.numeric\n_frombuffer\n}U\x0c__defaults__K\x01\x85sb.",
    "call of an array": b"\x80\x02cnumpy\nndarray\n)R)R.",
    "dtype whose numbers are pointers": b"\x80\x02cnumpy\ndtype\nU\x02u1\x85R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ"
    b"\xff\xff\xff\xffK\x3ftb.",
    "list that holds itself": b"\x80\x02}q\x00(U\x06labels]q\x01h\x01aU\x04datah\x00u.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_opcodes_are_refused(tmp_path, content):
    assert_refused(write_folder(cifar.CIFAR10, tmp_path, data_batch_1=content), "data_batch_1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HOSTILE["string of negative length"], "negative byte count"),
        (HOSTILE["string of 2^63 bytes"], "ends too early"),
        (pickle.dumps({"data": np.array([None])}, protocol=2), "'O8' instead of numbers"),
        (pickle.dumps({"data": Runs(np.dtype, "V8")}, protocol=2), "'V8' instead of numbers"),
        (pickle.dumps({"data": Runs(codecs.encode, "text", "rot13")}, protocol=2), "text in place of bytes"),
    ],
)
def test_reason_is_given(content, reason):
    with pytest.raises(pickle.UnpicklingError, match=reason):
        unpickle(content)


def test_too_many_parts(monkeypatch):
    monkeypatch.setattr(pickles, "MAX_READS", 1_000)
    with pytest.raises(pickle.UnpicklingError, match="1,000 parts"):
        unpickle(pickle.dumps({"a": [[]] * 1_000}, protocol=2))


def test_text_cannot_be_multiplied():
    text = "x" * 100_000
    one = pickle.dumps({"a": text}, protocol=2)[:-2]  # text is memo 2, without the end
    again = b"U\x01bc_codecs\nencode\nq\x09h\x02U\x06latin1\x86RsU\x01c" + b"h\x09h\x02U\x06latin1\x86R" * 50
    with pytest.raises(pickle.UnpicklingError, match="text"):
        unpickle(one + b"s" + again + b"s.")


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
        unpickle(pickle.dumps({"data": array_of(shape)}, protocol=3))
    assert unpickle(pickle.dumps({"data": array_of((4, 3072))}, protocol=3))["data"].shape == (4, 3072)


class Reconstructed:
    """Pickles as a numpy array with any state."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        function, arguments, _ = np.zeros(1, np.uint8).__reduce__()
        return function, arguments, self.state


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


@pytest.mark.parametrize("cases", [150, pytest.param(3_000, marks=pytest.mark.slow)])
def test_mutated_files_are_read_or_refused(tmp_path, cases):
    write_folder(cifar.CIFAR10, tmp_path)
    path = tmp_path / cifar.CIFAR10.folder / "data_batch_1"
    rng = np.random.default_rng(0)
    outcomes = set()
    for case in range(cases):
        path.write_bytes(mutated(rng, pickle.dumps(batch(0), protocol=case % 6)))
        outcomes.add(read_or_refused(tmp_path))
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("cases", [50, pytest.param(700, marks=pytest.mark.slow)])
def test_mutated_archives_are_read_or_refused(tmp_path, cases):
    plain = gzip.decompress(write_archive(tmp_path / "x.tar.gz", cifar.CIFAR10).read_bytes())
    rng = np.random.default_rng(0)
    for case in range(cases):
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
