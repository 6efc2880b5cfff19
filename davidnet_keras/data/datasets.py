"""The names of the classes of every data set that a run can be trained on."""

from davidnet_keras.data.cifar import CIFAR10_CLASSES, CIFAR100_CLASSES
from davidnet_keras.data.shapes import SHAPES_CLASSES

CLASS_NAMES = {"cifar10": CIFAR10_CLASSES, "cifar100": CIFAR100_CLASSES, "shapes": SHAPES_CLASSES}
