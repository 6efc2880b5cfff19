"""The list of data sets: their classes, and how each is loaded. It needs no NumPy until something is loaded."""

import dataclasses
import functools
import os
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from davidnet_keras.errors import UserError

if TYPE_CHECKING:
    import numpy as np

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100_NAMES.split())  # the fine labels, in alphabetical order
_COARSE_NAMES = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""
CIFAR100_COARSE_CLASSES = tuple(_COARSE_NAMES.split())
SHAPES_CLASSES = ("circle", "square", "triangle", "star", "heart", "crescent", "cross", "arrow", "flower", "drop")


Arrays: TypeAlias = "tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]"


def _cifar10(data_dir):
    from davidnet_keras.data import cifar

    return cifar.load_cifar10(data_dir)


def _cifar100(data_dir, label_mode="fine"):
    from davidnet_keras.data import cifar

    return cifar.load_cifar100(data_dir, label_mode)


def _shapes(data_dir):
    from davidnet_keras.data import shapes

    return shapes.load_shapes()


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Names of the classes, in the order of their labels, and the function of `data_dir` that returns the arrays."""

    class_names: tuple[str, ...]
    load: Callable


DATASETS = {
    "cifar10": DataSet(CIFAR10_CLASSES, _cifar10),
    "cifar100": DataSet(CIFAR100_CLASSES, _cifar100),
    "cifar100-coarse": DataSet(CIFAR100_COARSE_CLASSES, functools.partial(_cifar100, label_mode="coarse")),
    "shapes": DataSet(SHAPES_CLASSES, _shapes),
}


def names() -> tuple[str, ...]:
    """The data sets that a run can be trained on."""
    return tuple(DATASETS)


def check_name(name: str) -> None:
    """Raise UserError for a data set that is not in the list."""
    if name not in names():
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
    return DATASETS[name].class_names


def num_classes(name: str) -> int:
    """Number of a data set's classes."""
    return len(class_names(name))


def load(name: str, data_dir: str | os.PathLike | None = None) -> Arrays:
    """Load a data set by name: `((x_train, y_train), (x_test, y_test))`.

    Raises:
        UserError: there is no such data set, or its files cannot be used.
    """
    check_name(name)
    return DATASETS[name].load(data_dir)


def is_cached(name: str) -> bool:
    """Whether `load` finds the data set without a `data_dir` and without a download."""
    from davidnet_keras.data import cifar

    layout = getattr(cifar, name.partition("-")[0].upper(), None)  # None: the data set is drawn
    return layout is None or cifar.is_cached(layout)


def held_out(data: Arrays, count: int) -> Arrays:
    """Set training pictures aside as the test set, so that settings can be chosen without the real one.

    Args:
        data: `((x_train, y_train), (x_test, y_test))`.
        count: how many: the last ones of a fixed shuffle. 0: `data` is returned as it is.

    Raises:
        UserError: no training picture would be left.
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


def check_batch_size(batch_size: int, data: Arrays) -> None:
    """Raise UserError for a batch larger than the training set: rate and decay would be scaled for absent pictures."""
    pictures = len(data[0][0])
    if batch_size > pictures:
        raise UserError(f"The batch size {batch_size} is more than the {pictures} training pictures; lower it.")


def fingerprint(data: Arrays) -> dict[str, int | str]:
    """Sizes and checksum that identify the pictures and labels of a data set."""
    import numpy as np

    checksum = 0
    for array in (array for split in data for array in split):
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return {"train": len(data[0][0]), "test": len(data[1][0]), "crc32": f"{checksum:08x}"}
