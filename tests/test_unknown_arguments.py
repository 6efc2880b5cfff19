"""An argument that a constructor does not have is refused by its name; none is swallowed."""

import inspect
import re

import keras
import pytest

import davidnet_callbacks
import davidnet_keras

INPUTS = keras.Input((2,))
REQUIRED = {  # what each constructor cannot do without
    "AveragedWeights": lambda: {"file": "averaged.keras"},
    "BatchLearningRateScheduler": lambda: {"schedule": lambda epochs: 0.1},
    "Muon": lambda: {"learning_rate": 0.1},
    "MomentumSGD": lambda: {"learning_rate": 0.1},
    "SumLossModel": lambda: {"inputs": INPUTS, "outputs": keras.layers.Dense(1)(INPUTS)},
    "TestTimeAugmentation": lambda: {
        "model": keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    },
    "ConvBN": lambda: {"filters": 2},
    "ConvPoolBlock": lambda: {"filters": 2},
    "Dropout": lambda: {"rate": 0.1},
}
PUBLIC = {
    name: getattr(package, name)
    for package in (davidnet_keras, davidnet_callbacks)
    for name in package.__all__
    if isinstance(getattr(package, name), type) and not issubclass(getattr(package, name), (Exception, tuple))
}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_an_unknown_argument_is_refused_by_name(name):
    with pytest.raises((TypeError, ValueError), match="nonsense"):
        PUBLIC[name](**REQUIRED.get(name, dict)(), nonsense=4)


def test_the_constructors_that_pass_arguments_on_are_among_them():
    open_ended = [
        name
        for name, each in PUBLIC.items()
        if any(one.kind is one.VAR_KEYWORD for one in inspect.signature(each).parameters.values())
    ]
    assert {"DavidNet", "FastNet", "SumLossModel", "TestTimeAugmentation", "Muon", "MomentumSGD"} <= set(open_ended)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"widht": 4}, "did you mean width?"),
        ({"classes": 5}, "did you mean num_classes?"),
        ({"input_shape": (64, 64, 3)}, "it has num_classes, width, logit_scale, dropout, l2, dtype, name, trainable."),
    ],
)
def test_davidnet_names_the_nearest_argument_or_all(arguments, hint):
    (name,) = arguments
    with pytest.raises(TypeError, match=re.escape(f"DavidNet has no argument {name}; {hint}")):
        davidnet_keras.DavidNet(**arguments)
