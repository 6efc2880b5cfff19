"""Pickles that nobody vouches for, read as plain data and NumPy arrays."""

import math
import pickle
import struct
from typing import Any, BinaryIO, ClassVar

import numpy as np

MAX_READS = 1_500_000  # of an opcode or its argument; the largest official file, CIFAR-100's, takes about 500,000
_PLAIN_DTYPES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
_OPCODE_NAMES = """
PROTO STOP MARK NONE NEWTRUE NEWFALSE FLOAT BINFLOAT INT BININT BININT1 BININT2 LONG LONG1 BINSTRING SHORT_BINSTRING
BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2
TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL
STACK_GLOBAL REDUCE
"""
_DATA_OPCODES = [getattr(pickle, name)[0] for name in _OPCODE_NAMES.split()]


def read_pickle(file: BinaryIO, size: int) -> dict[str, Any]:
    """Read a pickled dictionary of numbers, strings, lists and NumPy arrays from at most `size` untrusted bytes.

    A strict `find_class` is not enough: in the C unpickler one memo index can take all memory and a deeply nested key
    overflows the stack, and NumPy's own `__setstate__` trusts a hostile dtype. So this is the standard library's
    unpickler in Python, limited to the opcodes of plain data, and arrays are built here from their bytes, read-only.
    The dictionary's own keys become `str`, other strings of Python 2 `bytes`. Raises UnpicklingError.
    """
    try:
        result = _Unpickler(_Source(file, size)).load()
    except (EOFError, LookupError, TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
        raise pickle.UnpicklingError("it is not a whole pickle file of plain data") from error
    if type(result) is not dict:
        raise pickle.UnpicklingError("it does not hold a dictionary")
    return {_text(key): value.array if isinstance(value, _Array) else value for key, value in result.items()}


def _text(key):
    return key if isinstance(key, str) else key.decode("latin1")


class _Source:
    """A file with limits on how much and how often it is read."""

    def __init__(self, file, size):
        self.file, self.left, self.reads = file, size, 0

    def read(self, size):
        if not 0 <= size <= self.left:
            raise pickle.UnpicklingError("it ends too early")
        return self._counted(self.file.read(size))

    def readline(self):
        return self._counted(self.file.readline(self.left))

    def _counted(self, content):
        self.left -= len(content)
        self.reads += 1
        if self.reads > MAX_READS:
            raise pickle.UnpicklingError(f"it has more than {MAX_READS:,} parts")
        return content


class _DType:
    """Stands in for `numpy.dtype(code)`; the byte order comes later, as its state."""

    def __init__(self, code, *_flags):
        code = _text(code)
        if code not in _PLAIN_DTYPES:
            raise pickle.UnpicklingError(f"it holds an array of type {code[:20]!r} instead of numbers")
        self.dtype = np.dtype(code)

    def set_state(self, state):
        self.dtype = self.dtype.newbyteorder(_text(state[1]))


class _Array:
    """Stands in for an array: announced by the arguments of `_reconstruct`, then filled by its state."""

    def __init__(self, *_announcement):
        self.array = None

    def set_state(self, state):
        _version, shape, dtype, fortran, content = state
        self.fill(content, dtype, shape, "F" if fortran else "C")

    def fill(self, content, dtype, shape, order, *_axes):
        if len(shape) > 4 or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("it holds an array of an impossible shape")
        if math.prod(shape) * dtype.dtype.itemsize != len(content):
            raise pickle.UnpicklingError("it holds an array whose size does not match its shape")
        self.array = np.frombuffer(content, dtype.dtype).reshape(shape, order=_text(order))
        return self


class _Unpickler(pickle._Unpickler):  # private, but the only one whose opcodes can be chosen
    def __init__(self, source):
        super().__init__(source, encoding="bytes")
        self.encodable = source.left  # characters that may still become bytes: a short file could repeat a long text

    def find_class(self, module, name):
        makers = {
            "numpy.core.multiarray._reconstruct": _Array,
            "numpy.ndarray": _Array,
            "numpy.core.numeric._frombuffer": lambda *arguments: _Array().fill(*arguments),
            "numpy.core.multiarray.scalar": lambda dtype, content: np.frombuffer(content, dtype.dtype, 1).item(),
            "numpy.dtype": _DType,
            "_codecs.encode": self.encode,  # how Python 3 writes bytes in protocols 0 to 2
        }
        full_name = f"{module}.{name}".replace("numpy._core.", "numpy.core.")  # NumPy 2, NumPy 1
        if full_name not in makers:
            raise pickle.UnpicklingError(f"it asks for {full_name[:80]!r}, which no data file needs")
        return makers[full_name]

    def encode(self, text, encoding="latin1"):
        self.encodable -= len(text)
        if encoding not in ("latin1", b"latin1") or self.encodable < 0:
            raise pickle.UnpicklingError("it holds text in place of bytes")
        return text.encode("latin1")

    def set_items(self, items):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(self.stack[-1]) is not dict or type(key) not in (bytes, str):  # a nested key is never hashed
                raise TypeError("not a dictionary of names")
            self.stack[-1][key] = value

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self.set_items(items)

    dispatch: ClassVar = {code: pickle._Unpickler.dispatch[code] for code in _DATA_OPCODES} | {
        pickle.FRAME[0]: lambda self: self.read(8),  # without frames every read is counted
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: lambda self: self.set_items([self.stack.pop(-2), self.stack.pop()]),
        pickle.SETITEMS[0]: lambda self: self.set_items(self.pop_mark()),
        pickle.BUILD[0]: lambda self: self.stack[-2].set_state(self.stack.pop()),
        # As bytes, of which none are reserved before they are read.
        pickle.BYTEARRAY8[0]: lambda self: self.append(self.read(struct.unpack("<Q", self.read(8))[0])),
    }
