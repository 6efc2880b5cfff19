"""Several runs over one another: seeds of one setting become their mean with a band."""

import io
import types
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.text import Text

from davidnet_callbacks import plot_runs
from davidnet_callbacks.history_file import write_history

A = {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "val_accuracy": [0.1, 0.2, 0.3], "accuracy": [0.2, 0.3, 0.4]}
B = {"epoch": [1, 2, 3], "loss": [5.0, 4.0, 2.0], "val_accuracy": [0.3, 0.4, 0.6], "accuracy": [0.2, 0.3, 0.4]}


def folder(path, columns):
    path.mkdir(parents=True)
    write_history(path / "history.csv", columns)
    return path


def panels(figure):
    figure.savefig(io.BytesIO(), format="png")  # draw for real: warnings are errors
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def labels(ax):
    return [text.get_text() for text in ax.texts]


def test_each_run_of_a_list_has_a_line_named_after_its_folder(tmp_path):
    axes = panels(plot_runs([folder(tmp_path / "a", A), folder(tmp_path / "b", B) / "history.csv"]))
    assert list(axes) == ["validation top-1 accuracy (%)", "training loss"]
    first, second = axes["training loss"].lines
    assert list(first.get_ydata()) == A["loss"] and list(second.get_ydata()) == B["loss"]
    assert first.get_color() != second.get_color()
    assert labels(axes["training loss"]) == ["a\n1.000", "b\n2.000"]
    assert labels(axes["validation top-1 accuracy (%)"]) == ["a\n30.00 %", "b\n60.00 %"]


def test_folders_of_the_same_name_are_told_apart_by_the_ones_above(tmp_path):
    runs = [str(folder(tmp_path / "x/run", A)), folder(tmp_path / "y/run", B)]
    assert labels(plot_runs(runs).axes[1]) == ["x/run\n1.000", "y/run\n2.000"]


@pytest.mark.parametrize("form", ["dict", "pairs"])
def test_runs_of_one_label_become_their_mean_with_a_band(form):
    runs = {"dict": {"both": [A, B], "one": A}, "pairs": [("both", A), ("one", A), ("both", B)]}[form]
    ax = panels(plot_runs(runs, metrics=["loss"]))["training loss"]
    assert list(ax.lines[0].get_ydata()) == [4.0, 3.0, 1.5]
    outline = ax.collections[0].get_paths()[0].vertices
    for x, mean, deviation in zip([1, 2, 3], [4.0, 3.0, 1.5], np.sqrt([2.0, 2.0, 0.5]), strict=True):  # n - 1
        at_x = outline[outline[:, 0] == x, 1]
        assert (at_x.min(), at_x.max()) == pytest.approx((mean - deviation, mean + deviation))
    assert labels(ax) == ["both\n1.500 ± 0.707 (n = 2)", "one\n1.000"]
    assert len(ax.collections) == 1


def test_a_mean_ends_where_the_first_of_its_runs_does_and_skips_what_one_lacks():
    longer = {"loss": [1.0, float("nan"), 1.0, 1.0]}
    assert list(plot_runs({"x": [A, longer]}, metrics=["loss"]).axes[0].lines[0].get_xdata()) == [1, 3]


def test_a_run_without_the_metric_is_left_out_of_its_panel():
    axes = panels(plot_runs({"x": [A, {"loss": [1.0]}], "y": {"loss": [1.0]}}))
    assert labels(axes["validation top-1 accuracy (%)"]) == ["x\n30.00 %"]


def test_metrics_are_named_by_their_keys_in_the_order_given():
    axes = panels(plot_runs([types.SimpleNamespace(history=A)], metrics=("loss", "accuracy"), log=("loss",)))
    assert list(axes) == ["training loss", "training top-1 accuracy (%)"]
    assert [ax.get_yscale() for ax in axes.values()] == ["log", "linear"]


def test_a_logarithmic_axis_leaves_out_what_is_not_positive():
    ax = plot_runs([{"loss": [0.0, 1.0, 0.1]}], log="loss").axes[0]
    assert list(ax.lines[0].get_xdata()) == [2, 3]


def test_labels_stand_to_the_right_of_the_panel_within_the_figure():
    names = ["a rather long name of a setting that needs several lines", "b", "c", "d", "e", "f", "g", "h"]
    figure = plot_runs({name: {"loss": [1.0] * length} for length, name in enumerate(names, 2)})
    (ax,) = panels(figure).values()
    # Of the text alone, without the line that leads to it.
    boxes = sorted((Text.get_window_extent(text) for text in ax.texts), key=lambda box: box.y0)
    assert all(box.x0 > 0.98 * ax.bbox.x1 and box.x1 < figure.bbox.x1 for box in boxes)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in pairwise(boxes))
    assert len({(line.get_color(), str(line.get_linestyle())) for line in ax.lines}) == len(names)


def test_one_run_of_one_epoch_will_do(tmp_path):
    assert labels(panels(plot_runs(folder(tmp_path / "a", {"epoch": [1], "loss": [1.0]})))["training loss"]) == [
        "a\n1.000"
    ]


def test_a_panel_without_a_number_is_drawn_empty():
    panels(plot_runs([{"loss": [float("nan")]}]))


@pytest.mark.parametrize("runs", [[], {}, {"x": []}, ["a", "b/../a"], {"x": ["a", "a/"]}])
def test_no_run_and_the_same_run_twice_are_refused(runs):
    with pytest.raises(ValueError, match=r"each once\. Received: runs="):
        plot_runs(runs)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: run=3"):
        plot_runs([3])
    with pytest.raises(ValueError, match=r"Received: metrics=\['mae'\]"):
        plot_runs([A], metrics=["loss", "mae"])
    with pytest.raises(ValueError, match=r"Received: log=\['mae'\]"):
        plot_runs([A], log="mae")
    with pytest.raises(FileNotFoundError):
        plot_runs([tmp_path])
    (tmp_path / "history.csv").write_text("no history")
    with pytest.raises(ValueError, match="Received: path="):
        plot_runs([tmp_path])
