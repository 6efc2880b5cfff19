"""What the parser accepts, shows and refuses."""

import dataclasses
import re

import pytest

from davidnet_keras import Recipe
from davidnet_keras.cli.main import BAD_INPUT, main
from davidnet_keras.cli.train import parse


def printed(capsys, *argv):
    """What the command line prints before it exits with code 0 (standard output) or 2 (standard error)."""
    with pytest.raises(SystemExit) as end:
        main(argv)
    out, err = capsys.readouterr()
    return err if end.value.code == BAD_INPUT else out


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["--epoch", "3"], "--epochs"),
        (["--lr", "0.1"], "--learning-rate"),
        (["--bs=64"], "--batch-size"),
        (["--batchsize", "64"], "--batch-size"),
        (["--batch", "64"], "--batch-size"),
        (["--no-fliip"], "--no-flip"),
        (["--recipe", "fastt"], "fast"),
        (["--dataset", "cifar-10"], "cifar10"),
        (["evaluate", "run", "--ouput", "x"], "--output"),
        (["predict", "run", "a.png", "--jason"], "--json"),
        (["lr-find", "--high", "3"], "--highest"),
    ],
)
def test_a_near_miss_names_what_was_meant(capsys, argv, meant):
    sentence = printed(capsys, *argv)
    assert sentence.endswith(f"did you mean {meant}?\n") and sentence.count("\n") == 1


def test_a_command_that_is_nearly_right_is_named(capsys):
    assert main(["evalute", "run"]) == BAD_INPUT
    assert capsys.readouterr().err.strip() == "davidnet_keras: There is no command evalute; did you mean evaluate?"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--nonsense", "3"], "There is no flag --nonsense; see"),
        (["--epochs", "x"], "--epochs: must be a whole number. Received: x"),
        (["--epochs", "1e1"], "--epochs: must be a whole number. Received: 1e1"),
        (["--learning-rate", "fast"], "--learning-rate: must be a number. Received: fast"),
        (["--precision", "int8"], "--precision: there is no int8; choose auto, float32, mixed_bfloat16, mixed_float16"),
        (["--epochs"], "--epochs: its value is missing"),
        (["--flip=False"], "--flip/--no-flip: takes no value"),
        (["--flip", "False"], "'False' is neither a flag nor"),
        (["--epochs", "3", "evaluate"], "a command comes before its flags"),
        (["evaluate"], "arguments are required: RUN"),
        (["lr-find", "--epochs", "3"], "There is no flag --epochs; see"),
    ],
)
def test_a_refusal_is_one_sentence(capsys, argv, words):
    sentence = printed(capsys, *argv)
    assert sentence.startswith("davidnet_keras: ") and words in sentence and sentence.count("\n") == 1


def test_values_as_people_write_them():
    argv = "--learning_rate=1e-1 --batch-size 1_0 --data-dir None --bias-rate None --no_flip --seed 1 --seed 2"
    options, recipe = parse(argv.split())
    assert (recipe.learning_rate, recipe.batch_size, recipe.flip, recipe.seed) == (0.1, 10, False, 2)
    assert options.data_dir is None and recipe.bias_rate is None
    assert options.given == {"learning_rate", "batch_size", "data_dir", "bias_rate", "flip", "seed"}


@pytest.mark.parametrize("value", ["-1", "-1e-3", "-.5"])
def test_a_negative_number_is_a_value(capsys, value):
    assert main(["--learning-rate", value]) == BAD_INPUT
    assert f"learning_rate={float(value)}" in capsys.readouterr().err


def flags(text):
    return set(re.findall(r"^  (?:-h, )?(--[\w-]+)", text, re.MULTILINE))


def test_help_is_a_dozen_flags_in_groups_and_help_all_every_setting(capsys):
    few, everything = printed(capsys, "--help"), printed(capsys, "--help-all")
    settings = {"--" + item.name.replace("_", "-") for item in dataclasses.fields(Recipe) if item.name != "name"}
    assert settings <= flags(everything)
    assert {"--recipe", "--epochs", "--learning-rate", "--data-dir", "--run-dir", "--resume"} < flags(few)
    assert 12 <= len(flags(few) - {"--help", "--help-all"}) <= 15
    for rare in ("start-rate", "end-rate", "whiten-rate", "whitening", "identity-start", "logit-scale"):
        assert f"--{rare}" not in few and f"--{rare}" in everything
    for heading in ("data:", "run folder:", "run:", "optimizer:", "examples:"):
        assert f"\n{heading}\n" in few
    for example in ("--recipe fast ", "--data-dir ~/cifar ", "--resume runs/mine "):
        assert example in few.split("examples:")[1]


@pytest.mark.parametrize("command", ["evaluate", "predict", "lr-find", "plot"])
def test_every_command_has_a_help(capsys, command):
    text = printed(capsys, command, "--help")
    assert text.startswith(f"usage: python -m davidnet_keras {command} ") and "--help" in flags(text)
