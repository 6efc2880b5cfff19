"""`python -m davidnet_keras lr-find` finds rates in the unit that --learning-rate takes."""

import csv

import pytest

from davidnet_keras.cli.main import BAD_INPUT, DONE, main

TINY = ["lr-find", "--dataset", "shapes", "--batch-size", "16", "--width", "1", "--precision", "float32", "--steps=12"]


def test_it_writes_a_picture_and_the_numbers_and_prints_what_they_suggest(tmp_path, capsys, few_pictures):
    picture = tmp_path / "new/sweep.png"
    assert main([*TINY, "--lowest", "0.01", "--highest", "1", "--output", str(picture)]) == DONE
    assert picture.read_bytes().startswith(b"\x89PNG")
    with open(picture.with_suffix(".csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["learning_rate", "loss", "smoothed_loss"]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[0] == pytest.approx(0.01)  # of a mean loss: the optimizer's is a sixteenth
    assert rates[1] / rates[0] == pytest.approx(100 ** (1 / 11))
    assert 1 < float(rows[0]["loss"]) < 4  # near ln 10: no summed loss
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["steepest", "valley", "minimum/10"]
    assert str(picture) in printed[3] and "--learning-rate" in printed[3]


def test_rates_of_their_own_keep_their_proportion_to_the_recipes(tmp_path, capsys, few_pictures):
    picture = str(tmp_path / "sweep.png")
    own = ["--recipe", "fast", "--batch-size", "32", "--whiten-rate", "53"]
    assert main([*TINY, *own, "--output", picture]) == DONE
    found = [line.split() for line in capsys.readouterr().out.splitlines() if "--bias-rate" in line]
    assert found
    for _, rate, _, _, bias_rate, _, head_rate, flag, whiten_rate in found:
        assert float(bias_rate) == pytest.approx(float(rate) * 106 / 0.24, rel=0.01)
        assert float(head_rate) == pytest.approx(float(rate) * 1340 / 0.24, rel=0.01)
        assert flag == "--whiten-rate" and float(whiten_rate) == pytest.approx(float(rate) * 53 / 0.24, rel=0.01)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--lowest", "0"], "lowest=0.0"),
        (["--highest", "1e-9"], "highest=1e-09"),
        (["--steps", "3"], "steps=3"),
        (["--output", "sweep.gif"], "output='sweep.gif'"),
        (["--batch-size", "100000"], "lower it"),
        (["--momentum", "1"], "momentum=1.0"),
        (["--dataset", "cifar10", "--data-dir", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(tmp_path, capsys, monkeypatch, few_pictures, flags, words):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, *flags]) == BAD_INPUT
    printed = capsys.readouterr().err.strip()
    assert words in printed and "\n" not in printed
    assert not list(tmp_path.iterdir())


def test_what_a_sweep_has_no_use_for_is_no_flag(capsys):
    with pytest.raises(SystemExit) as end:
        main([*TINY, "--epochs", "3"])
    assert end.value.code == BAD_INPUT
