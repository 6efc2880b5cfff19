"""What a run is: every setting of the training in one frozen value, and the named recipes."""

import dataclasses
import math
import operator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from davidnet_keras.errors import UserError

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Network = Literal["davidnet", "fastnet"]
OptimizerName = Literal["sgd", "muon"]
Activation = Literal["relu", "gelu", "silu", "hard_gelu"]
Views = Literal["one", "mirror", "mirror_and_shifts"]

MAX_EPOCHS = 1_000_000
MAX_BATCH_SIZE = 1_000_000
MAX_WIDTH = 4096
MAX_MUON_DECAY = 0.1  # of a weight, per step: SGD's 5e-4, given to Muon by mistake, is far above it

HOLDS = {"above": operator.gt, "at_least": operator.ge, "below": operator.lt, "at_most": operator.le}


def setting(group, default, help, advanced=False, **bounds):
    """A field with its bounds (words of `HOLDS`) and its group in `--help`."""
    return field(default=default, metadata={"help": help, "group": group, "advanced": advanced, "bounds": bounds})


def advanced(*arguments, **bounds):
    """A `setting` that only `--help-all` shows."""
    return setting(*arguments, advanced=True, **bounds)


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run. The defaults are the reference notebook's. Rates are peaks, for the mean loss."""

    name: str = setting("run", "davidnet", "name of the recipe")
    epochs: int = setting("run", 24, "passes over the training set", at_least=1, at_most=MAX_EPOCHS)
    batch_size: int = setting("run", 512, "pictures per step", at_least=1, at_most=MAX_BATCH_SIZE)
    network: Network = advanced("network", "davidnet", "davidnet: ResNet-9; fastnet: airbench94's, a third of the work")
    activation: Activation = advanced("network", "relu", "fastnet's activation; davidnet's is relu")
    optimizer: OptimizerName = advanced("optimizer", "sgd", "sgd: Nesterov momentum; muon: orthogonal convolutions")
    learning_rate: float = setting("optimizer", 0.4, "peak learning rate, for the mean loss", above=0)
    bias_rate: float | None = advanced(
        "optimizer", None, "peak rate of biases and batch norms' beta, for the mean loss; None: learning_rate", above=0
    )
    head_rate: float | None = advanced(
        "optimizer", None, "peak rate of the last layer, for the mean loss; None: learning_rate", above=0
    )
    warmup_epochs: float | None = advanced(
        "optimizer", None, "epochs up to the peak; None: (epochs + 1) // 5, from 1 to half the run", at_least=0
    )
    start_rate: float = advanced("optimizer", 0.0, "first rate, as a share of the peak", at_least=0, at_most=1)
    end_rate: float = advanced("optimizer", 0.0, "last rate, as a share of the peak", at_least=0, at_most=1)
    momentum: float = advanced("optimizer", 0.9, "Nesterov momentum; muon: the convolutions'", at_least=0, below=1)
    weight_decay: float = setting(
        "optimizer", 5e-4, "L2 weight decay, for the mean loss; muon: see docs/fast.md", at_least=0
    )
    label_smoothing: float = advanced("optimizer", 0.0, "share of a label spread over all classes", at_least=0, below=1)
    width: int = setting("network", 64, "channels of the first layer", at_least=1, at_most=MAX_WIDTH)
    dropout: float = advanced("network", 0.05, "share of the convolutions' outputs set to 0", at_least=0, below=1)
    logit_scale: float | None = advanced(
        "network", None, "factor on the logits; None: davidnet 1/8, fastnet 1 / channels of the last layer", above=0
    )
    whitening: bool = advanced(
        "network", True, "fastnet's first convolution whitens; without: a trained one and a norm"
    )
    whiten_epochs: int = advanced(
        "optimizer", 3, "epochs in which fastnet's first bias is trained", at_least=1, at_most=MAX_EPOCHS
    )
    whiten_rate: float | None = advanced(
        "optimizer", None, "peak rate of fastnet's first bias, for the mean loss; None: bias_rate", above=0
    )
    identity_start: bool = advanced("network", True, "fastnet's kernels start as the identity; without: at random")
    crop_padding: int = advanced(
        "augmentation", 4, "pixels of reflection around a picture before the random crop", at_least=0, at_most=31
    )
    flip: bool = advanced("augmentation", True, "mirror each picture left to right with probability 1/2")
    alternating_flip: bool = advanced(
        "augmentation", False, "with flip: mirror every other epoch instead, from a random start"
    )
    cutout: int = advanced("augmentation", 0, "side in pixels of the square cut out; 0: none", at_least=0, at_most=32)
    test_views: Views = advanced(
        "testing", "one", "views averaged for each test picture: itself; mirrored too (2); moved by a pixel too (6)"
    )
    hold_out: int = advanced(
        "run", 0, "training pictures held out and tested on instead of the test set, to choose settings", at_least=0
    )
    precision: Precision = setting(
        "run", "auto", "arithmetic of the layers; auto: the fastest that this machine supports"
    )
    deterministic: bool = setting("run", False, "same seed, same bits; slower on a GPU")
    seed: int = setting("run", 0, "seed of weights, shuffling, augmentation and dropout", at_least=0, at_most=2**31 - 1)

    def __post_init__(self):
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))
        _check_together(self)

    @property
    def peak_rate(self) -> float:
        """The optimizer's rate at the peak: for the gradient of the summed loss, or Muon's own."""
        return self.learning_rate / self.rate_divisor

    @property
    def rate_divisor(self) -> int:
        """The recipe's learning rate over the optimizer's: the batch size, or 1 for Muon, blind to the loss's scale."""
        return 1 if self.optimizer == "muon" else self.batch_size

    @property
    def tested_on(self) -> str:
        """Which pictures the accuracies are of: "held-out" or "test"."""
        return "held-out" if self.hold_out else "test"

    @property
    def batch_order(self) -> list[int]:
        """What decides which pictures are in which batch, besides the data."""
        return [self.batch_size, self.seed]

    @property
    def l2(self) -> float:
        """The decay's coefficient in the gradient of the summed loss."""
        return self.weight_decay * self.batch_size


def _check(item: dataclasses.Field, value: Any) -> None:
    """Refuse a value of another type, recipes being read from JSON files too, or outside the field's range."""
    choices = get_args(item.type) if get_origin(item.type) is Literal else ()
    allowed = (str,) if choices else get_args(item.type) or (item.type,)
    if float in allowed:
        allowed += (int,)
    bounds, must = item.metadata["bounds"].items(), None
    if not isinstance(value, allowed) or (isinstance(value, bool) and item.type is not bool):
        must = "of type " + " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
    elif choices and value not in choices:
        must = f"one of {', '.join(choices)}"
    elif isinstance(value, float) and not math.isfinite(value):
        must = "finite"
    elif value is not None and not all(HOLDS[word](value, bound) for word, bound in bounds):
        must = " and ".join(f"{word.replace('_', ' ')} {bound}" for word, bound in bounds)
    if must:
        raise UserError(f"A recipe's {item.name} must be {must}. Received: {item.name}={value!r}")


def _check_together(recipe: Recipe) -> None:
    """Refuse settings that contradict each other."""
    davidnet, muon, warmup = recipe.network == "davidnet", recipe.optimizer == "muon", recipe.warmup_epochs
    whitening = recipe.whitening and not davidnet
    too_long = "The warm-up cannot be longer than the run; lower warmup_epochs or raise epochs."
    never = "With this warm-up the rate is never {0}; leave {0} out, or give another warmup_epochs."
    alternating = "Alternating is a way to flip; leave flip on for it."
    relu = f"DavidNet's activation is relu; choose network=fastnet for {recipe.activation}."
    part = "Only FastNet has this part to leave out; leave {0} on for DavidNet."
    whitens = "Nothing whitens in this network; leave {0} out."
    muons_rate = "Muon's rate is for convolutions only; give bias_rate and head_rate too, as RECIPES['fast'] does."
    muons_decay = (
        "With muon, weight decay times batch size is the share that each step takes off all weights but the "
        f"convolutions'; keep it at {MAX_MUON_DECAY} or less, as RECIPES['fast'] does with 2e-6."
    )
    contradictions = [  # (whether it is one, the settings, the sentence)
        ((warmup or 0) > recipe.epochs, "warmup_epochs epochs", too_long),
        (warmup == 0 and recipe.start_rate, "start_rate warmup_epochs", never),
        (warmup == recipe.epochs and recipe.end_rate, "end_rate warmup_epochs", never),
        (recipe.alternating_flip and not recipe.flip, "alternating_flip flip", alternating),
        (davidnet and recipe.activation != "relu", "activation", relu),
        (davidnet and not recipe.whitening, "whitening", part),
        (davidnet and not recipe.identity_start, "identity_start", part),
        (not whitening and recipe.whiten_epochs != 3, "whiten_epochs", whitens),
        (not whitening and recipe.whiten_rate is not None, "whiten_rate", whitens),
        (not davidnet and recipe.dropout, "dropout", "FastNet has no dropout; set it to 0."),
        (muon and None in (recipe.bias_rate, recipe.head_rate), "bias_rate head_rate", muons_rate),
        (muon and recipe.l2 > MAX_MUON_DECAY, "weight_decay batch_size", muons_decay),
    ]
    for wrong, names, sentence in contradictions:
        if wrong:
            received = ", ".join(f"{name}={getattr(recipe, name)!r}" for name in names.split())
            raise UserError(f"{sentence.format(*names.split())} Received: {received}")


# Source: KellerJordan/cifar10-airbench, `airbench94_muon.py`. Different here: the activation; the first bias starts at
# 0 and fades on top of the schedule; all arithmetic in the layers' precision; a smaller last batch is a step too.
FAST = Recipe(
    name="fast",
    network="fastnet",
    activation="hard_gelu",
    optimizer="muon",
    epochs=8,
    batch_size=2000,
    learning_rate=0.24,
    bias_rate=106.0,  # 0.053 for a sum over 2,000
    head_rate=1340.0,  # 0.67
    warmup_epochs=0.0,
    momentum=0.6,
    weight_decay=2e-6,
    label_smoothing=0.2,
    dropout=0.0,
    logit_scale=1 / 256,  # at any width: the rates above are chosen for it
    crop_padding=2,
    alternating_flip=True,
    test_views="mirror_and_shifts",
)
RECIPES = {"davidnet": Recipe(), "fast": FAST}
