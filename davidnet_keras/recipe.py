"""What a run is: every setting of the training in one frozen value, and the named recipes."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal, get_args, get_origin

from davidnet_keras.errors import UserError

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Network = Literal["davidnet", "fastnet"]
OptimizerName = Literal["sgd", "muon"]
Activation = Literal["relu", "gelu", "silu", "hard_gelu"]
Views = Literal["one", "mirror", "mirror_and_shifts"]

MAX_EPOCHS = 1_000_000
MAX_BATCH_SIZE = 1_000_000
MAX_WIDTH = 4096
MAX_SHARE = 0.1  # of the weights, at a step of muon: sgd's decay, 5e-4, is a slip there


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
    network: Network = setting("davidnet", "davidnet: ResNet-9; fastnet: airbench94's, a third of the arithmetic")
    activation: Activation = setting("relu", "between the layers of fastnet; davidnet has relu")
    optimizer: OptimizerName = setting("sgd", "sgd: Nesterov momentum; muon: orthogonal updates for convolutions")
    learning_rate: float = setting(
        0.4,
        "peak rate for a mean loss; the optimizer, which sees the sum, gets it divided by the batch size. With muon: "
        "that of the convolutions, as it is",
        above=0,
    )
    bias_rate: float | None = setting(
        None, "peak rate of biases (batch norms' beta too) for a mean loss; None: the learning rate", above=0
    )
    head_rate: float | None = setting(
        None, "peak rate of the last layer for a mean loss; None: the learning rate", above=0
    )
    warmup_epochs: float | None = setting(
        None, "epochs from rate 0 to the peak; None: (epochs + 1) // 5, at least 1, at most half the run", at_least=0
    )
    start_rate: float = setting(0.0, "rate that the warm-up begins with, as a share of the peak", at_least=0, at_most=1)
    end_rate: float = setting(0.0, "rate that the run ends with, as a share of the peak", at_least=0, at_most=1)
    momentum: float = setting(0.9, "Nesterov momentum; with muon: the convolutions'", at_least=0, below=1)
    weight_decay: float = setting(
        5e-4,
        "L2 decay of a mean loss; the gradient of the sum gets it times the batch size. With muon: times the batch "
        "size, the share that a step at the peak rates takes off all weights but the convolutions'",
        at_least=0,
    )
    label_smoothing: float = setting(0.0, "share of each label spread over all classes", at_least=0, below=1)
    width: int = setting(64, "channels of the first layer", at_least=1, at_most=MAX_WIDTH)
    dropout: float = setting(0.05, "share of each convolution's outputs set to zero", at_least=0, below=1)
    logit_scale: float | None = setting(
        None, "factor on the logits; None: 1/8 in davidnet, 1 / channels of the last layer in fastnet", above=0
    )
    whitening: bool = setting(True, "fastnet's first convolution whitens; without: a plain one with a norm, trained")
    whiten_epochs: int = setting(3, "epochs in which fastnet's first bias is trained", at_least=1, at_most=MAX_EPOCHS)
    whiten_rate: float | None = setting(
        None, "peak rate of fastnet's first bias for a mean loss; None: that of the biases", above=0
    )
    identity_start: bool = setting(True, "fastnet's kernels begin as the identity; without: drawn, all of them")
    crop_padding: int = setting(
        4, "pixels of reflection around a picture before the random crop", at_least=0, at_most=31
    )
    flip: bool = setting(True, "mirror each picture left to right with probability 1/2")
    alternating_flip: bool = setting(False, "with flip: mirror every other epoch instead, from a random start")
    cutout: int = setting(0, "side in pixels of the square cut out of each picture; 0: none", at_least=0, at_most=32)
    test_views: Views = setting(
        "one", "how the finished model looks at test pictures: once; mirrored too (2); moved by a pixel too (6)"
    )
    hold_out: int = setting(
        0, "training pictures kept back to be tested on in place of the test set, for choosing settings", at_least=0
    )
    precision: Precision = setting("auto", "arithmetic of the layers; auto: what this hardware has instructions for")
    deterministic: bool = setting(
        False, "the same bits from the same seed: only kernels that add in a fixed order, slower on a GPU"
    )
    seed: int = setting(0, "of weights, shuffle, augmentation and dropout", at_least=0, at_most=2**31 - 1)

    def __post_init__(self):
        for item in dataclasses.fields(self):
            check_type(item, getattr(self, item.name))
            check_bounds(item, getattr(self, item.name))
        check_together(self)

    @property
    def peak_rate(self):
        """The optimizer's rate at the top of the triangle: per unit of the summed loss's gradient, muon's as it is."""
        return self.learning_rate / self.rate_scale

    @property
    def rate_scale(self):
        """How many times the optimizer's rate the recipe's is; muon's updates do not depend on the loss's size."""
        return 1 if self.optimizer == "muon" else self.batch_size

    @property
    def tested_on(self):
        """The pictures that the accuracies are of, in a word."""
        return "held-out" if self.hold_out else "test"

    @property
    def drawn_by(self):
        """What the batches of an epoch follow from, beside the data."""
        return [self.batch_size, self.seed]

    @property
    def l2(self):
        """The decay's coefficient in the gradient of the summed loss."""
        return self.weight_decay * self.batch_size


def check_together(recipe):
    """Refuse settings that do not go together."""
    if recipe.warmup_epochs is not None and recipe.warmup_epochs > recipe.epochs:
        raise UserError(
            "The warm-up cannot be longer than the run; lower warmup_epochs or raise epochs. "
            f"Received: warmup_epochs={recipe.warmup_epochs}, epochs={recipe.epochs}"
        )
    for name, spared in (("start_rate", 0), ("end_rate", recipe.epochs)):
        if getattr(recipe, name) and recipe.warmup_epochs == spared:
            raise UserError(
                f"With this warm-up the rate never is {name}; leave that out, or give another warmup_epochs. "
                f"Received: {name}={getattr(recipe, name)}, warmup_epochs={recipe.warmup_epochs}"
            )
    if recipe.alternating_flip and not recipe.flip:
        raise UserError(
            "Alternating is a way to flip; leave flip on for it. Received: alternating_flip=True, flip=False"
        )
    if recipe.network == "davidnet" and recipe.activation != "relu":
        raise UserError(
            f"DavidNet's activation is relu; choose another network for {recipe.activation}. "
            f"Received: activation={recipe.activation!r}"
        )
    for name in ("whitening", "identity_start"):
        if recipe.network == "davidnet" and not getattr(recipe, name):
            raise UserError(f"That is a part of FastNet; DavidNet has none to leave out. Received: {name}=False")
    for name, default in (("whiten_epochs", 3), ("whiten_rate", None)):
        if getattr(recipe, name) != default and not (recipe.network == "fastnet" and recipe.whitening):
            raise UserError(
                f"Nothing whitens in this network; leave {name} out. Received: {name}={getattr(recipe, name)}"
            )
    if recipe.network == "fastnet" and recipe.dropout:
        raise UserError(f"FastNet has no dropout; set it to 0. Received: dropout={recipe.dropout}")
    if recipe.optimizer == "muon" and None in (recipe.bias_rate, recipe.head_rate):
        raise UserError(
            "Muon's rate is for convolutions only; give bias_rate and head_rate too, as RECIPES['fast'] does. "
            f"Received: bias_rate={recipe.bias_rate}, head_rate={recipe.head_rate}"
        )
    if recipe.optimizer == "muon" and recipe.l2 > MAX_SHARE:
        raise UserError(
            f"With muon, weight decay times batch size is the share that each step takes off the weights beside the "
            f"convolutions'; keep it at {MAX_SHARE} or less, as RECIPES['fast'] does with 2e-6. "
            f"Received: weight_decay={recipe.weight_decay}, batch_size={recipe.batch_size}"
        )


def check_type(item, value):
    """Refuse what is no value of the field: recipes come from JSON files and from keyword arguments too."""
    kinds = {
        str: (str,),
        bool: (bool,),
        int: (int,),
        float: (int, float),
        float | None: (int, float, type(None)),
    }
    choices = get_args(item.type) if get_origin(item.type) is Literal else ()
    allowed = (str,) if choices else kinds[item.type]
    if not isinstance(value, allowed) or (isinstance(value, bool) and item.type is not bool):
        raise UserError(f"A recipe's {item.name} cannot be that. Received: {item.name}={value!r}")
    if choices and value not in choices:
        raise UserError(f"A recipe's {item.name} is one of {', '.join(choices)}. Received: {item.name}={value!r}")
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


# Source: KellerJordan/cifar10-airbench, `airbench94_muon.py`. Otherwise than there: the activation; the first bias
# begins at 0 and fades on top of the schedule; arithmetic in the layers' precision throughout; a smaller last batch,
# where there is one, is a step too.
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
    logit_scale=1 / 256,  # at any width: the rates above go with it
    crop_padding=2,
    alternating_flip=True,
    test_views="mirror_and_shifts",
)
RECIPES = {"davidnet": Recipe(), "fast": FAST}
