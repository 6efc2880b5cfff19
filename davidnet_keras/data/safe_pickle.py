"""A reader for pickled CIFAR files that can build plain data and numpy arrays, and nothing else."""

import math
import pickle
import struct

import numpy as np

# A CIFAR-100 file, the largest there is, holds about 300,000 opcodes.
MAX_OPCODES = 1_000_000
# Strings longer than this are handed out as views of the file, so that pixels are not copied.
VIEW_BYTES = 1 << 16

_PLAIN_DTYPES = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))
_MARK = object()


def read_pickle(content):
    """Read a pickled dictionary of numbers, strings, lists and numpy arrays.

    `pickle.Unpickler` with a strict `find_class` stops foreign code, yet a hostile file can still make it take
    all memory (one large memo index is enough) or overflow the C stack (a deeply nested key). This reader knows only
    the opcodes that such files need, calls nothing by a name found in the file, and copies no pixels.

    Args:
        content: bytes of the file. Protocols 2 to 5; strings of Python 2 come back as `bytes`.

    Returns:
        The dictionary, its top-level keys as `str`. Arrays are read-only views of `content`.

    Raises:
        pickle.UnpicklingError: The file is damaged, or asks for anything that plain data does not need.
    """
    try:
        result = _Reader(content).run()
    except (IndexError, KeyError, TypeError, AttributeError, ValueError, OverflowError, struct.error) as error:
        raise pickle.UnpicklingError("it is not a whole pickle file") from error
    if not isinstance(result, dict):
        raise pickle.UnpicklingError("it does not hold a dictionary")
    return {_text(key): value.array if isinstance(value, _Array) else value for key, value in result.items()}


def _text(key):
    return key if isinstance(key, str) else key.decode("latin1")


class _Global:
    """A name out of the file: a mere label, which `_Reader.reduce` compares and never calls."""

    def __init__(self, module, name):
        # numpy 1 says numpy.core, numpy 2 numpy._core.
        self.name = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if self.name not in _MAKERS and self.name != "numpy.ndarray":
            raise pickle.UnpicklingError(f"it asks for {self.name[:80]!r}, which no data file needs")


class _DType:
    """`numpy.dtype(code)`; the byte order comes later, as its state."""

    def __init__(self, code, *flags):
        code = _text(code)
        if code not in _PLAIN_DTYPES:
            raise pickle.UnpicklingError(f"it holds an array of type {code[:20]!r} instead of numbers")
        self.dtype = np.dtype(code)

    def set_state(self, state):
        self.dtype = self.dtype.newbyteorder(_text(state[1]))


class _Array:
    """An array, first announced (`_reconstruct`) and then filled by its state."""

    def __init__(self, *announcement):
        self.array = None

    def set_state(self, state):
        _version, shape, dtype, fortran, content = state
        self.fill(content, dtype, shape, "F" if fortran else "C")

    def fill(self, content, dtype, shape, order):
        if len(shape) > 4 or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("it holds an array of an impossible shape")
        if math.prod(shape) * dtype.dtype.itemsize != len(content):
            raise pickle.UnpicklingError("it holds an array whose size does not match its shape")
        self.array = np.frombuffer(content, dtype.dtype).reshape(shape, order=order)


def _from_buffer(content, dtype, shape, order, *_axes):
    array = _Array()
    array.fill(content, dtype, shape, _text(order))
    return array


# What a pickled array or byte string needs. `_codecs.encode` is how Python 3 writes bytes in protocol 2.
_MAKERS = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _DType,
    "_codecs.encode": None,
}


class _Reader:
    """The stack machine of the pickle format, cut down to data."""

    def __init__(self, content):
        self.content = content
        self.view = memoryview(content)
        self.position = 0
        self.stack = []
        self.memo = {}  # a dictionary: a large index costs nothing
        self.encodable = len(content)  # bytes that may still be made out of text

    def run(self):
        for _ in range(MAX_OPCODES):
            opcode = self.content[self.position]
            self.position += 1
            if opcode == pickle.STOP[0]:
                return self.stack.pop()
            step = _STEPS.get(opcode)
            if step is None:
                raise pickle.UnpicklingError(f"it uses opcode {opcode:#04x}, which no data file needs")
            step(self)
        raise pickle.UnpicklingError(f"it has more than {MAX_OPCODES:,} parts")

    def take(self, size):
        """The next `size` bytes, without a copy when they are many."""
        start, self.position = self.position, self.position + size
        if size < 0 or self.position > len(self.content):
            raise pickle.UnpicklingError("it ends too early")
        source = self.view if size > VIEW_BYTES else self.content
        return source[start : self.position]

    def number(self, form):
        size = struct.calcsize(form)
        return struct.unpack(form, self.take(size))[0]

    def line(self):
        end = self.content.index(b"\n", self.position, self.position + 200)
        text = self.take(end - self.position).decode("ascii")
        self.position += 1
        return text

    def push(self, value):
        self.stack.append(value)

    def pop_to_mark(self):
        """Everything above the last mark, which goes too."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def pop_tuple(self, size):
        items = tuple(self.stack[-size:])
        if len(items) < size:
            raise IndexError("stack is too short")
        self.stack[-size:] = [items]

    def append(self, items):
        self.stack[-1].extend(items)

    def set_items(self, items):
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Other keys are not needed, and hashing a deeply nested one overflows the C stack.
            if type(self.stack[-1]) is not dict or type(key) not in (bytes, str):
                raise TypeError("not a dictionary of names")
            self.stack[-1][key] = value

    def reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        if function.name == "_codecs.encode":
            self.push(self.encode(*arguments))
        else:
            self.push(_MAKERS[function.name](*arguments))

    def encode(self, text, encoding="latin1"):
        self.encodable -= len(text)
        if encoding not in ("latin1", b"latin1") or self.encodable < 0:
            raise pickle.UnpicklingError("it holds text in place of bytes")
        return text.encode("latin1")

    def build(self):
        state = self.stack.pop()
        self.stack[-1].set_state(state)


def _text_of(form):
    return lambda reader: reader.push(str(reader.take(reader.number(form)), "utf-8", "surrogatepass"))


def _bytes_of(form):
    return lambda reader: reader.push(reader.take(reader.number(form)))


def _integer_of(form):
    return lambda reader: reader.push(reader.number(form))


def _store(form):
    return lambda reader: reader.memo.__setitem__(reader.number(form), reader.stack[-1])


def _recall(form):
    return lambda reader: reader.push(reader.memo[reader.number(form)])


def _pair(reader):
    value, key = reader.stack.pop(), reader.stack.pop()
    return key, value


_STEPS = {
    opcode[0]: step
    for opcode, step in {
        pickle.PROTO: lambda reader: reader.take(1),
        pickle.FRAME: lambda reader: reader.take(8),
        pickle.MARK: lambda reader: reader.push(_MARK),
        pickle.NONE: lambda reader: reader.push(None),
        pickle.NEWTRUE: lambda reader: reader.push(True),
        pickle.NEWFALSE: lambda reader: reader.push(False),
        pickle.BININT: _integer_of("<i"),
        pickle.BININT1: _integer_of("<B"),
        pickle.BININT2: _integer_of("<H"),
        pickle.LONG1: lambda reader: reader.push(
            int.from_bytes(reader.take(reader.number("<B")), "little", signed=True)
        ),
        pickle.SHORT_BINSTRING: _bytes_of("<B"),
        pickle.BINSTRING: _bytes_of("<i"),
        pickle.SHORT_BINBYTES: _bytes_of("<B"),
        pickle.BINBYTES: _bytes_of("<I"),
        pickle.BINBYTES8: _bytes_of("<Q"),
        pickle.BYTEARRAY8: _bytes_of("<Q"),
        pickle.SHORT_BINUNICODE: _text_of("<B"),
        pickle.BINUNICODE: _text_of("<I"),
        pickle.BINUNICODE8: _text_of("<Q"),
        pickle.EMPTY_TUPLE: lambda reader: reader.push(()),
        pickle.TUPLE: lambda reader: reader.push(tuple(reader.pop_to_mark())),
        pickle.TUPLE1: lambda reader: reader.pop_tuple(1),
        pickle.TUPLE2: lambda reader: reader.pop_tuple(2),
        pickle.TUPLE3: lambda reader: reader.pop_tuple(3),
        pickle.EMPTY_LIST: lambda reader: reader.push([]),
        pickle.APPEND: lambda reader: reader.append([reader.stack.pop()]),
        pickle.APPENDS: lambda reader: reader.append(reader.pop_to_mark()),
        pickle.EMPTY_DICT: lambda reader: reader.push({}),
        pickle.SETITEM: lambda reader: reader.set_items(_pair(reader)),
        pickle.SETITEMS: lambda reader: reader.set_items(reader.pop_to_mark()),
        pickle.BINPUT: _store("<B"),
        pickle.LONG_BINPUT: _store("<I"),
        pickle.MEMOIZE: lambda reader: reader.memo.__setitem__(len(reader.memo), reader.stack[-1]),
        pickle.BINGET: _recall("<B"),
        pickle.LONG_BINGET: _recall("<I"),
        pickle.GLOBAL: lambda reader: reader.push(_Global(reader.line(), reader.line())),
        pickle.STACK_GLOBAL: lambda reader: reader.push(_Global(*_pair(reader))),
        pickle.REDUCE: _Reader.reduce,
        pickle.BUILD: _Reader.build,
    }.items()
}
