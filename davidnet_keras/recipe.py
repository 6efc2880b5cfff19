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

HOLDS = {"above": operator.gt, "at least": operator.ge, "below": operator.lt, "at most": operator.le}


def setting(group, default, help, advanced=False, above=None, at_least=None, below=None, at_most=None):
    """A field with its range and its place in `--help`; an `advanced` one is shown by `--help-all` only."""
    bounds = {"above": above, "at least": at_least, "below": below, "at most": at_most}
    bounds = {word: bound for word, bound in bounds.items() if bound is not None}
    return field(default=default, metadata={"help": help, "group": group, "advanced": advanced, "bounds": bounds})


@dataclass(frozen=True)
class Recipe:
    """The settings of a training run. The defaults are the reference notebook's."""

    name: str = setting("run", "davidnet", "name of the recipe")
    epochs: int = setting("run", 24, "passes over the training set", at_least=1, at_most=MAX_EPOCHS)
    batch_size: int = setting("run", 512, "pictures per step", at_least=1, at_most=MAX_BATCH_SIZE)
    network: Network = setting(
        "network", "davidnet", "davidnet: ResNet-9; fastnet: airbench94's, with a third of the arithmetic", True
    )
    activation: Activation = setting("network", "relu", "fastnet's activation; davidnet's is relu", True)
    optimizer: OptimizerName = setting(
        "optimizer", "sgd", "sgd: Nesterov momentum; muon: orthogonal updates for convolutions", True
    )
    learning_rate: float = setting(
        "optimizer",
        0.4,
        "peak rate for the mean loss; the optimizer, which sees the sum, gets it divided by the batch size. With muon: "
        "the convolutions' rate, not divided",
        above=0,
    )
    bias_rate: float | None = setting(
        "optimizer", None, "peak rate of biases and batch norms' beta, for the mean loss; None: learning_rate", True, 0
    )
    head_rate: float | None = setting(
        "optimizer", None, "peak rate of the last layer, for the mean loss; None: learning_rate", True, 0
    )
    warmup_epochs: float | None = setting(
        "optimizer",
        None,
        "epochs from rate 0 to the peak; None: (epochs + 1) // 5, at least 1, at most half the run",
        True,
        at_least=0,
    )
    start_rate: float = setting(
        "optimizer", 0.0, "rate at the start of the warm-up, as a share of the peak", True, at_least=0, at_most=1
    )
    end_rate: float = setting(
        "optimizer", 0.0, "rate at the end of the run, as a share of the peak", True, at_least=0, at_most=1
    )
    momentum: float = setting(
        "optimizer", 0.9, "Nesterov momentum; with muon: the convolutions'", True, at_least=0, below=1
    )
    weight_decay: float = setting(
        "optimizer",
        5e-4,
        "L2 decay for the mean loss; the gradient of the sum gets it times the batch size. With muon: times the batch "
        "size it is the share that a step at the peak rates takes off all weights but the convolutions'",
        at_least=0,
    )
    label_smoothing: float = setting(
        "optimizer", 0.0, "share of each label that is spread over all classes", True, at_least=0, below=1
    )
    width: int = setting("network", 64, "channels of the first layer", at_least=1, at_most=MAX_WIDTH)
    dropout: float = setting(
        "network", 0.05, "share of each convolution's outputs set to zero", True, at_least=0, below=1
    )
    logit_scale: float | None = setting(
        "network",
        None,
        "factor on the logits; None: 1/8 in davidnet, 1 / channels of the last layer in fastnet",
        True,
        above=0,
    )
    whitening: bool = setting(
        "network", True, "fastnet's first convolution whitens; without: a trained one with a norm", True
    )
    whiten_epochs: int = setting(
        "optimizer", 3, "epochs in which fastnet's first bias is trained", True, at_least=1, at_most=MAX_EPOCHS
    )
    whiten_rate: float | None = setting(
        "optimizer", None, "peak rate of fastnet's first bias, for the mean loss; None: bias_rate", True, above=0
    )
    identity_start: bool = setting("network", True, "fastnet's kernels start as the identity; without: at random", True)
    crop_padding: int = setting(
        "augmentation", 4, "pixels of reflection around a picture before the random crop", True, at_least=0, at_most=31
    )
    flip: bool = setting("augmentation", True, "mirror each picture left to right with probability 1/2", True)
    alternating_flip: bool = setting(
        "augmentation", False, "with flip: mirror every other epoch instead, from a random start", True
    )
    cutout: int = setting(
        "augmentation", 0, "side in pixels of the square cut out of each picture; 0: none", True, at_least=0, at_most=32
    )
    test_views: Views = setting(
        "testing",
        "one",
        "views of each test picture to average: itself; mirrored too (2); moved by a pixel too (6)",
        True,
    )
    hold_out: int = setting(
        "run",
        0,
        "training pictures held out and tested on instead of the test set, for choosing settings",
        True,
        at_least=0,
    )
    precision: Precision = setting(
        "run", "auto", "arithmetic of the layers; auto: the fastest that this machine supports"
    )
    deterministic: bool = setting(
        "run", False, "same seed, same bits: only kernels that add in a fixed order, slower on a GPU"
    )
    seed: int = setting("run", 0, "seed of weights, shuffling, augmentation and dropout", at_least=0, at_most=2**31 - 1)

    def __post_init__(self):
        for item in dataclasses.fields(self):
            _check_type(item, getattr(self, item.name))
            _check_bounds(item, getattr(self, item.name))
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


def _check_together(recipe: Recipe) -> None:
    """Refuse settings that contradict each other."""
    given = vars(recipe)

    def refuse(message, *names):
        received = ", ".join(f"{name}={given[name]!r}" for name in names)
        raise UserError(f"{message} Received: {received}")

    davidnet, muon = recipe.network == "davidnet", recipe.optimizer == "muon"
    if recipe.warmup_epochs is not None and recipe.warmup_epochs > recipe.epochs:
        message = "The warm-up cannot be longer than the run; lower warmup_epochs or raise epochs."
        refuse(message, "warmup_epochs", "epochs")
    for name, skipped_by in (("start_rate", 0), ("end_rate", recipe.epochs)):
        if given[name] and recipe.warmup_epochs == skipped_by:
            message = f"With this warm-up the rate is never {name}; leave {name} out, or give another warmup_epochs."
            refuse(message, name, "warmup_epochs")
    if recipe.alternating_flip and not recipe.flip:
        refuse("Alternating is a way to flip; leave flip on for it.", "alternating_flip", "flip")
    if davidnet and recipe.activation != "relu":
        message = f"DavidNet's activation is relu; choose network=fastnet for {recipe.activation}."
        refuse(message, "activation")
    for name in ("whitening", "identity_start"):
        if davidnet and not given[name]:
            refuse(f"Only FastNet has this part to leave out; leave {name} on for DavidNet.", name)
    for name, default in (("whiten_epochs", 3), ("whiten_rate", None)):
        if given[name] != default and (davidnet or not recipe.whitening):
            refuse(f"Nothing whitens in this network; leave {name} out.", name)
    if not davidnet and recipe.dropout:
        refuse("FastNet has no dropout; set it to 0.", "dropout")
    if muon and None in (recipe.bias_rate, recipe.head_rate):
        message = "Muon's rate is for convolutions only; give bias_rate and head_rate too, as RECIPES['fast'] does."
        refuse(message, "bias_rate", "head_rate")
    if muon and recipe.l2 > MAX_MUON_DECAY:
        message = (
            "With muon, weight decay times batch size is the share that each step takes off all weights but the "
            f"convolutions'; keep it at {MAX_MUON_DECAY} or less, as RECIPES['fast'] does with 2e-6."
        )
        refuse(message, "weight_decay", "batch_size")


def _check_type(item: dataclasses.Field, value: Any) -> None:
    """Refuse a value of another type: recipes come from JSON files and keyword arguments too."""
    choices = get_args(item.type) if get_origin(item.type) is Literal else ()
    allowed = (str,) if choices else get_args(item.type) or (item.type,)
    if float in allowed:
        allowed += (int,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and item.type is not bool):
        kinds = " or ".join("None" if kind is type(None) else kind.__name__ for kind in allowed)
        raise UserError(f"A recipe's {item.name} must be of type {kinds}. Received: {item.name}={value!r}")
    if choices and value not in choices:
        raise UserError(f"A recipe's {item.name} is one of {', '.join(choices)}. Received: {item.name}={value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"A recipe's {item.name} must be finite. Received: {item.name}={value}")


def _check_bounds(item: dataclasses.Field, value: Any) -> None:
    """Refuse a number outside the field's range."""
    bounds = item.metadata["bounds"]
    if value is not None and not all(HOLDS[word](value, bound) for word, bound in bounds.items()):
        text = " and ".join(f"{word} {bound}" for word, bound in bounds.items())
        raise UserError(f"A recipe's {item.name} must be {text}. Received: {item.name}={value}")


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
