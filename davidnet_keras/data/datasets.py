"""The data sets by name: their classes, and how each is loaded. The names alone need no NumPy."""

import itertools
import os
import zlib
from typing import TYPE_CHECKING

from davidnet_keras.data.class_names import CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_COARSE_CLASSES, SHAPES_CLASSES
from davidnet_keras.errors import UserError

if TYPE_CHECKING:
    from davidnet_keras.data.aligned import Arrays

_CLASS_NAMES = {
    "cifar10": CIFAR10_CLASSES,
    "cifar100": CIFAR100_CLASSES,
    "cifar100-coarse": CIFAR100_COARSE_CLASSES,
    "shapes": SHAPES_CLASSES,
}


def names() -> tuple[str, ...]:
    """The data sets that a run can be trained on."""
    return tuple(_CLASS_NAMES)


def check_name(name: str) -> None:
    """Raise UserError for a data set that is not in the list."""
    if name not in _CLASS_NAMES:
        raise UserError(f"There is no such data set; choose {', '.join(names())}. Received: dataset={name!r}")


def with_labels(name: str, labels: str) -> str:
    """The data set `name` with its "fine" or "coarse" labels, which only CIFAR-100 has; UserError for another."""
    if labels == "fine":
        return name
    if not name.startswith("cifar100"):
        raise UserError(f"Only cifar100 has coarse labels; name it by --dataset. Received: dataset={name}")
    return "cifar100-coarse"


def class_names(name: str) -> tuple[str, ...]:
    """Names of a data set's classes, in the order of their labels."""
    return _CLASS_NAMES[name]


def num_classes(name: str) -> int:
    """Number of a data set's classes."""
    return len(_CLASS_NAMES[name])


def load(name: str, data_dir: str | os.PathLike | None = None) -> "Arrays":
    """Load a data set by name; UserError if there is none, or its files cannot be used."""
    from davidnet_keras.data import cifar, shapes

    check_name(name)
    if name == "shapes":
        return shapes.load_shapes()
    if name == "cifar10":
        return cifar.load_cifar10(data_dir)
    return cifar.load_cifar100(data_dir, "coarse" if name == "cifar100-coarse" else "fine")


def is_cached(name: str) -> bool:
    """Whether `load` finds the data set without a `data_dir` and without a download."""
    from davidnet_keras.data import cifar

    return name == "shapes" or cifar.is_cached(cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100)


def held_out(data: "Arrays", count: int) -> "Arrays":
    """Set training pictures aside as the test set, so that settings can be chosen without the real one.

    They are the last `count` of a fixed shuffle; UserError if none would be left to train on.
    """
    import numpy as np

    from davidnet_keras.data.aligned import aligned_empty

    if not count:
        return data
    x, y = data[0]
    if count >= len(x):
        raise UserError(f"Hold out fewer than the {len(x)} training pictures. Received: hold_out={count}")

    def take(array, rows):
        return array.take(rows, 0, aligned_empty((len(rows), *array.shape[1:]), array.dtype), mode="clip")

    kept, out = np.split(np.random.default_rng(0).permutation(len(x)), [len(x) - count])
    return (take(x, kept), take(y, kept)), (take(x, out), take(y, out))


def check_batch_size(batch_size: int, data: "Arrays") -> None:
    """Raise UserError for a batch larger than the training set: rate and decay would be scaled for absent pictures."""
    if batch_size > (pictures := len(data[0][0])):
        raise UserError(f"The batch size {batch_size} is more than the {pictures} training pictures; lower it.")


def fingerprint(data: "Arrays") -> dict[str, int | str]:
    """Sizes and checksum that identify the pictures and labels of a data set."""
    import numpy as np

    checksum = 0
    for array in itertools.chain.from_iterable(data):
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return {"train": len(data[0][0]), "test": len(data[1][0]), "crc32": f"{checksum:08x}"}
