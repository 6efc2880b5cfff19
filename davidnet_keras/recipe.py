"""What a run is: every setting of the training in one frozen value, and the named recipes."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from davidnet_keras.errors import UserError

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]

MAX_EPOCHS = 1_000_000
MAX_BATCH_SIZE = 1_000_000
MAX_WIDTH = 4096


def setting(default, help, above=None, at_least=None, below=None, at_most=None):
    """A field with its explanation (shown by --help) and the range that its values must lie in."""
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    return field(default=default, metadata={"help": help, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run. The figures of the default are the reference notebook's."""

    name: str = setting("davidnet", "the recipe's name")
    epochs: int = setting(24, "passes over the training set", at_least=1, at_most=MAX_EPOCHS)
    batch_size: int = setting(512, "pictures a step", at_least=1, at_most=MAX_BATCH_SIZE)
    learning_rate: float = setting(
        0.4, "peak rate for a mean loss; the optimizer, which sees the sum, gets it divided by the batch size", above=0
    )
    warmup_epochs: float | None = setting(
        None, "epochs from rate 0 to the peak; None: (epochs + 1) // 5, at least 1, at most half the run", at_least=0
    )
    momentum: float = setting(0.9, "Nesterov momentum", at_least=0, below=1)
    weight_decay: float = setting(
        5e-4, "L2 decay of a mean loss; the gradient of the sum gets it times the batch size", at_least=0
    )
    width: int = setting(64, "channels of the first layer", at_least=1, at_most=MAX_WIDTH)
    dropout: float = setting(0.05, "share of each convolution's outputs set to zero", at_least=0, below=1)
    logit_scale: float = setting(0.125, "factor on the logits", above=0)
    crop_padding: int = setting(
        4, "pixels of reflection around a picture before the random crop", at_least=0, at_most=31
    )
    flip: bool = setting(True, "mirror each picture left to right with probability 1/2")
    alternating_flip: bool = setting(False, "with flip: mirror every other epoch instead, from a random start")
    cutout: int = setting(0, "side in pixels of the square cut out of each picture; 0: none", at_least=0, at_most=32)
    precision: Precision = setting("auto", "arithmetic of the layers; auto: what this hardware has instructions for")
    deterministic: bool = setting(
        False, "the same bits from the same seed: only kernels that add in a fixed order, slower on a GPU"
    )
    seed: int = setting(0, "of weights, shuffle, augmentation and dropout", at_least=0, at_most=2**31 - 1)

    def __post_init__(self):
        for item in dataclasses.fields(self):
            check_type(item, getattr(self, item.name))
            check_bounds(item, getattr(self, item.name))
        if self.warmup_epochs is not None and self.warmup_epochs > self.epochs:
            raise UserError(
                "The warm-up cannot be longer than the run; lower warmup_epochs or raise epochs. "
                f"Received: warmup_epochs={self.warmup_epochs}, epochs={self.epochs}"
            )

        if self.alternating_flip and not self.flip:
            raise UserError(
                "Alternating is a way to flip; leave flip on for it. Received: alternating_flip=True, flip=False"
            )

    @property
    def peak_rate(self):
        """The optimizer's rate at the top of the triangle: per unit of the summed loss's gradient."""
        return self.learning_rate / self.batch_size

    @property
    def l2(self):
        """The decay's coefficient in the gradient of the summed loss."""
        return self.weight_decay * self.batch_size


def check_type(item, value):
    """Refuse what is no value of the field: recipes come from JSON files and from keyword arguments too."""
    kinds = {
        str: (str,),
        bool: (bool,),
        int: (int,),
        float: (int, float),
        float | None: (int, float, type(None)),
        Precision: (str,),
    }
    allowed = kinds[item.type]
    if not isinstance(value, allowed) or (isinstance(value, bool) and item.type is not bool):
        raise UserError(f"A recipe's {item.name} cannot be that. Received: {item.name}={value!r}")
    if item.type is Precision and value not in Precision.__args__:
        raise UserError(f"The precision is one of {', '.join(Precision.__args__)}. Received: precision={value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"A recipe's {item.name} must be finite. Received: {item.name}={value}")


def check_bounds(item, value):
    """Refuse a number outside the field's range."""
    holds = {
        "above": lambda bound: value > bound,
        "at least": lambda bound: value >= bound,
        "below": lambda bound: value < bound,
        "at most": lambda bound: value <= bound,
    }
    bounds = {word: bound for word, bound in item.metadata["bounds"].items() if bound is not None}
    if value is not None and not all(holds[word](bound) for word, bound in bounds.items()):
        wanted = " and ".join(f"{word} {bound}" for word, bound in bounds.items())
        raise UserError(f"A recipe's {item.name} must be {wanted}. Received: {item.name}={value}")


RECIPES = {"davidnet": Recipe()}
