import dataclasses
import io
import json
import signal
import subprocess
import sys

import pytest
from run_folders import CONDITIONS

from davidnet_keras import RECIPES, UserError
from davidnet_keras.cli.main import BAD_INPUT, DONE, INTERRUPTED, main
from davidnet_keras.cli.train import parse
from davidnet_keras.runs.run_folder import RunFolder
from davidnet_keras.runs.series_folder import SeriesFolder

TINY = ["--dataset", "shapes", "--epochs", "1", "--batch-size", "32", "--width", "1", "--precision", "float32"]


def refused(capsys, *argv):
    """The one sentence with which the command line refuses these arguments."""
    assert main(argv) == BAD_INPUT
    printed = capsys.readouterr().err.strip()
    assert "\n" not in printed
    assert "Traceback" not in printed
    return printed


def test_help_explains_every_setting_and_does_not_import_tensorflow():
    program = (
        "import sys; sys.argv = ['davidnet', '--help-all']\n"
        "from davidnet_keras.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "assert code == 0, code\n"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'numpy'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for flag in ("--epochs", "--batch-size", "--data-dir", "--run-dir", "--resume", "--precision", "--weight-decay"):
        assert flag in done.stdout
    assert "default: 512" in done.stdout


def test_without_flags_it_is_the_davidnet_recipe_on_cifar10():
    place, recipe = parse([])
    assert recipe == RECIPES["davidnet"]
    assert (place.dataset, place.data_dir, place.run_dir, place.resume) == ("cifar10", None, None, None)


def test_flags_change_the_recipe():
    _, recipe = parse(["--recipe", "davidnet", "--epochs=3", "--no-flip", "--warmup-epochs", "0.5"])
    assert (recipe.name, recipe.epochs, recipe.flip, recipe.warmup_epochs) == ("davidnet", 3, False, 0.5)


def test_coarse_labels_are_chosen_by_a_flag(capsys):
    assert parse(["--dataset", "cifar100", "--labels", "coarse"])[0].dataset == "cifar100-coarse"
    assert parse(["--dataset", "cifar100"])[0].dataset == "cifar100"
    assert "Only cifar100 has coarse labels" in refused(capsys, "--labels", "coarse")


def test_what_is_not_named_on_resume_is_as_the_run_was_begun(tmp_path):
    begun = dataclasses.replace(RECIPES["fast"], name="mine", epochs=40, seed=7)
    with RunFolder.create(tmp_path / "run") as folder:
        folder.write_recipe(begun, **CONDITIONS)
    argv = ["--resume", str(tmp_path / "run"), "--warmup-epochs", "28", "--activation", "hard_gelu"]
    assert parse(argv)[1] == dataclasses.replace(begun, warmup_epochs=28.0)
    with SeriesFolder.create(tmp_path / "series") as series:
        series.write(begun, {}, runs=2, dataset="shapes", checkpoint_every=None)
    assert parse(["--resume", str(tmp_path / "series"), "--runs", "3"])[1] == begun
    assert parse(["--resume", str(tmp_path / "nowhere")])[1] == RECIPES["davidnet"]


def test_a_run_ends_with_one_line_of_result(tmp_path, capsys, monkeypatch):
    from davidnet_keras.runs import train as training

    history = {"val_accuracy": [0.25, 0.75, 0.5]}
    monkeypatch.setattr(training, "train", lambda *_, run_dir, **__: training.Run(None, history, run_dir))
    assert main([*TINY, "--run-dir", str(tmp_path / "run")]) == DONE
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Test accuracy 50.00 % (best 75.00 % after epoch 2), 0 min ")
    assert line.endswith(f"run folder {tmp_path / 'run'}, curves {tmp_path / 'run' / 'curves.png'}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "0"], "epochs=0"),
        (["--epochs", "-3"], "epochs=-3"),
        (["--epochs", "99999999999"], "epochs=99999999999"),
        (["--batch-size", "0"], "batch_size=0"),
        (["--batch-size", "100000"], "more than the 2500 training pictures"),
        (["--learning-rate", "nan"], "learning_rate=nan"),
        (["--data-dir", "/no/such/folder", "--dataset", "cifar10"], "/no/such/folder"),
        (["--resume", "/no/such/run"], "no run in /no/such/run"),
        (["--resume", "", "--run-dir", "x"], "leave out --run-dir"),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(capsys, tmp_path, flags, words):
    run_dir = [] if "--resume" in flags else ["--run-dir", str(tmp_path / "run")]
    assert words in refused(capsys, "--dataset", "shapes", *run_dir, *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags", [["--recipe", "slow"], ["--dataset", "mnist"], ["--precision", "int8"], ["--epochs", "x"], ["--nonsense"]]
)
def test_what_is_no_choice_gets_code_2(capsys, flags):
    with pytest.raises(SystemExit) as end:
        main(flags)
    assert end.value.code == BAD_INPUT
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out


def test_a_used_run_folder_and_a_file_in_its_place_are_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "cannot be made" in refused(capsys, *TINY, "--run-dir", str(tmp_path / "file" / "run"))
    assert "in use already" in refused(capsys, *TINY, "--run-dir", str(tmp_path))
    assert (tmp_path / "file").read_text() == "precious"


def test_an_interruption_says_how_to_go_on_and_resume_does(capsys, tmp_path, few_pictures, monkeypatch):
    from davidnet_keras.runs import train as training

    run = tmp_path / "my run"
    with monkeypatch.context() as patched:

        def interrupt(*_):
            raise KeyboardInterrupt

        patched.setattr(training.SaveCheckpoint, "on_epoch_begin", interrupt)
        assert main([*TINY, "--run-dir", str(run)]) == INTERRUPTED
    printed = capsys.readouterr().err
    assert f"python -m davidnet_keras --resume '{run}'" in printed
    assert "leave out --epochs, or start a new run" in refused(capsys, "--resume", str(run), "--epochs", "7")
    assert main(["--resume", str(run), "--epochs", "1"]) == DONE
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("Test accuracy ")
    for words in ("best", "after epoch 1", "0 min", str(run / "curves.png")):
        assert words in last
    assert json.loads((run / "recipe.json").read_text())["recipe"]["epochs"] == 1


def test_a_resumption_is_continued_with_all_that_it_was_asked_for(capsys, tmp_path, few_pictures, monkeypatch):
    from davidnet_keras.data import datasets
    from davidnet_keras.runs import train as training

    def interrupt(*_):
        raise KeyboardInterrupt

    run, asked = tmp_path / "run", ["--epochs", "3", "--change-recipe"]
    with monkeypatch.context() as patched:
        patched.setattr(training.SaveCheckpoint, "on_epoch_begin", interrupt)
        assert main([*TINY, "--run-dir", str(run)]) == INTERRUPTED
        patched.setattr(datasets, "load", interrupt)  # before the change is recorded
        assert main(["--resume", str(run), *asked]) == INTERRUPTED
        assert f"--resume {run} --epochs 3 --change-recipe" in capsys.readouterr().err
        assert main([*TINY, "--run-dir", str(run)]) == INTERRUPTED
        assert "Nothing was written" in capsys.readouterr().err  # not: continue that other run


def test_too_little_memory_is_a_sentence(capsys, tmp_path, monkeypatch):
    import tensorflow as tf

    from davidnet_keras.runs import train as training

    for error in (MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(training, "train", fail)
        assert "lower --batch-size or --width" in refused(capsys, *TINY, "--run-dir", str(tmp_path / "run"))


def test_a_name_that_the_terminal_cannot_show_is_shown_escaped(tmp_path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["--resume", str(tmp_path / "caf\udce9")]) == BAD_INPUT
    stream.flush()
    assert b"caf\\udce9" in stream.buffer.getvalue()


def test_sigterm_saves_and_gives_143_and_a_changed_recipe_must_be_asked_for(
    capsys, tmp_path, few_pictures, monkeypatch
):
    from davidnet_keras.runs import run_callbacks

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(
            run_callbacks.StopWhenDiverged, "on_epoch_begin", lambda *_: signal.raise_signal(signal.SIGTERM)
        )
        assert main([*TINY, "--run-dir", str(run), "--checkpoint-every", "1"]) == 143
    printed = capsys.readouterr().err
    assert f"Saved after 0 epochs and 1 batch. Continue with: python -m davidnet_keras --resume {run}" in printed
    assert [entry.name for entry in (run / "checkpoints").iterdir()] == ["epoch-0000-batch-000001.keras"]
    changed = ["--resume", str(run), "--epochs", "2", "--no-flip"]
    message = refused(capsys, *changed)
    assert "epochs=2, started with 1; flip=False, started with True" in message
    assert "resumed run keeps its pictures" in refused(capsys, "--resume", str(run), "--dataset", "cifar10")
    assert main([*changed, "--change-recipe"]) == DONE
    settings = json.loads((run / "recipe.json").read_text())
    assert settings["recipe"]["epochs"] == 2
    assert settings["changes"][0]["changed"] == {"epochs": [1, 2], "flip": [True, False]}
    assert settings["changes"][0]["after"] == "0 epochs and 1 batch"


def test_a_file_that_cannot_be_written_ends_the_run_with_a_sentence(capsys, tmp_path, few_pictures, monkeypatch):
    from davidnet_keras.runs import train as training

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.SaveCheckpoint, "on_epoch_begin", full)  # where nothing is compiled yet
    printed = refused(capsys, *TINY, "--run-dir", str(tmp_path / "run"))
    assert "No space left on device" in printed
    assert "--resume" in printed


def test_a_disk_that_is_full_from_the_start_says_to_start_again(capsys, tmp_path, few_pictures, monkeypatch):
    from davidnet_keras.runs import train as training

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.RunFolder, "write_recipe", full)
    printed = refused(capsys, *TINY, "--run-dir", str(tmp_path / "run"))
    assert "No space left on device. Fix that, then start again." in printed


def test_user_errors_are_value_errors():
    assert issubclass(UserError, ValueError)
