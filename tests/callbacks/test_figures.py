"""The figures show what is in the history, readably."""

import io
import math
import types
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import same_color
from matplotlib.text import Text

from davidnet_callbacks import one_cycle_triangle, plot_history, plot_runs, plot_schedule
from davidnet_callbacks.figures.style import BLUE, MUTED, VERMILLION, spread

HISTORY = {
    "epoch": [1, 2, 3],
    "learning_rate": [0.4, 0.2, 0.0],
    "accuracy": [0.5, 0.6, 0.7],
    "loss": [1.5, 1.0, 0.5],
    "val_accuracy": [0.4, 0.65, 0.6],
    "val_loss": [1.6, 1.1, 0.9],
    "seconds": [1.0, 2.0, 3.0],
}


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def labels(ax):
    return [text.get_text() for text in ax.texts]


def drawn(figure):
    """Draw for real: warnings are errors, so missing glyphs or endless limits would fail here."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_accuracy_stands_above_loss_and_the_rate_beneath():
    assert list(panels(drawn(plot_history(HISTORY)))) == ["top-1 accuracy (%)", "loss", "learning rate"]


def test_training_and_validation_share_a_panel_and_differ_in_more_than_colour():
    train, validation, _ = panels(plot_history(HISTORY))["top-1 accuracy (%)"].lines
    assert train.get_ydata() == pytest.approx([50, 60, 70])
    assert validation.get_ydata() == pytest.approx([40, 65, 60])
    assert same_color(train.get_color(), BLUE) and same_color(validation.get_color(), VERMILLION)
    assert train.get_linestyle() != validation.get_linestyle()
    assert train.get_marker() != validation.get_marker()


def test_lines_are_labelled_with_the_last_and_the_best_value():
    axes = panels(plot_history(HISTORY))
    assert labels(axes["top-1 accuracy (%)"]) == ["train 70.00 %", "validation 60.00 %\nbest 65.00 % (epoch 2)"]
    assert labels(axes["loss"]) == ["train 0.500", "validation 0.900"]
    assert labels(axes["learning rate"]) == ["0 (highest 0.4)"]


def test_labels_stand_beside_their_points_and_do_not_overlap():
    figure = drawn(plot_history({"loss": [1.0, 0.5], "val_loss": [1.0, 0.5001], "a": [1, 2], "val_a": [1, 2]}))
    for ax in figure.axes:
        lower, upper = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
        assert lower.y1 <= upper.y0 + 1
        assert abs((lower.y1 + upper.y0) / 2 - ax.transData.transform((2, ax.lines[0].get_ydata()[-1]))[1]) < 30
        assert upper.x1 < figure.bbox.x1


def test_all_panels_share_the_axis_of_epochs():
    axes = plot_history(HISTORY, epochs=24).axes
    assert {ax.get_xlim() for ax in axes} == {(0, 24)}


def test_no_validation_no_rate_and_one_epoch_will_do():
    figure = drawn(plot_history({"loss": [1.0]}, "A title"))
    assert list(panels(figure)) == ["loss"]
    assert figure.texts[0].get_text() == "A title"


def test_the_return_value_of_fit_will_do():
    returned = types.SimpleNamespace(history={"loss": [2.0, 1.0], "mae": [2.0, 1.0]})
    assert list(panels(plot_history(returned))) == ["loss", "mae"]


def test_what_a_later_fit_returned_has_its_epochs_and_its_numbers():
    returned = types.SimpleNamespace(
        epoch=[6, 7], history={"loss": [2.0, 1.0], "f1_score": [np.ones(3), np.zeros(3)], "mae": [2.0, 1.0]}
    )
    figure = drawn(plot_history(returned))
    assert list(panels(figure)) == ["loss", "mae"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [7, 8]
    assert list(plot_runs([returned]).axes[0].lines[0].get_xdata()) == [7, 8]


def test_epochs_may_begin_later_and_columns_may_be_arrays():
    figure = drawn(plot_history({"epoch": np.array([11, 12]), "loss": np.array([2.0, 1.0])}))
    assert list(figure.axes[0].lines[0].get_xdata()) == [11, 12]


def test_nan_and_infinity_are_left_out():
    figure = drawn(plot_history({"loss": [1.0, math.nan, 2.0], "val_loss": [math.inf, math.nan, math.nan]}))
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 3]
    assert labels(figure.axes[0]) == ["train 2.000"]
    drawn(plot_history({"loss": [math.nan], "learning_rate": [math.nan]}))


def test_an_accuracy_in_percent_is_not_multiplied_again():
    assert labels(plot_history({"accuracy": [50.0, 60.0]}).axes[0]) == ["train 60.00 %"]


def test_top5_is_not_called_top1():
    assert list(panels(plot_history({"top_5_accuracy": [0.5]}))) == ["top 5 accuracy (%)"]


@pytest.mark.parametrize("history", [{}, {"epoch": [1]}, {"loss": []}, {"loss": [1.0], "val_loss": []}])
def test_a_history_with_nothing_to_draw_is_refused(history):
    with pytest.raises(ValueError, match="Received: history with "):
        plot_history(history)


def test_a_log_axis_leaves_out_what_is_not_positive():
    figure = drawn(plot_history({"loss": [1.0, 0.0, 0.01], "val_loss": [0.0, 0.0, 0.0]}, log=("loss",)))
    assert figure.axes[0].get_yscale() == "log"
    assert [list(line.get_xdata()) for line in figure.axes[0].lines] == [[1, 3]]


def test_a_log_axis_has_plain_numbers():
    figure = drawn(plot_history(HISTORY | {"learning_rate": [0.4, 0.2, 0.1]}, log=("val_loss", "learning_rate")))
    assert [ax.get_yscale() for ax in figure.axes] == ["linear", "log", "log"]
    low, high = figure.axes[1].get_ylim()
    shown = [
        text.get_text()
        for text, at in zip(figure.axes[1].get_yticklabels(), figure.axes[1].get_yticks(), strict=True)
        if low <= at <= high
    ]
    assert shown == ["0.5", "1"]


def test_a_log_axis_of_nothing_positive_is_drawn_empty():
    drawn(plot_history({"loss": [0.0, -1.0]}, log="loss"))


def test_an_unknown_name_for_a_log_axis_is_refused():
    with pytest.raises(ValueError, match=r"\(accuracy, loss, learning_rate\)\. Received: log=\['los'\]"):
        plot_history(HISTORY, log=("los",))


def test_a_second_run_is_drawn_behind_the_first_in_grey():
    other = {"loss": [2.0, 1.0, 0.5, 0.4], "val_loss": [2.0, 1.0, 0.5, 0.45], "accuracy": [10.0, 20.0, 30.0, 40.0]}
    axes = panels(drawn(plot_history(HISTORY, compare=other, compare_label="before")))
    loss, accuracy = axes["loss"], axes["top-1 accuracy (%)"]
    assert loss.get_xlim()[1] == 4
    assert [line.get_zorder() < 2 for line in loss.lines] == [True, True, False, False]
    assert list(loss.lines[1].get_ydata()) == other["val_loss"]
    assert labels(loss) == ["before: 0.450", "train 0.500", "validation 0.900"]
    assert labels(accuracy)[0] == "before: 40.00 %"  # each run's own factor
    assert same_color(loss.texts[0].get_color(), MUTED)


def test_over_a_second_run_the_labels_stand_outside_of_the_panel():
    figure = drawn(plot_history(HISTORY, compare={"loss": [1.0] * 9, "accuracy": [0.1] * 9}))
    for ax in figure.axes[:2]:
        # Of the text alone, without the line that leads to it.
        assert all(Text.get_window_extent(text).x0 > 0.98 * ax.bbox.x1 for text in ax.texts)


def test_a_momentum_has_a_panel_too():
    figure = drawn(plot_history(HISTORY | {"momentum": [0.95, 0.85, 0.95]}))
    assert list(panels(figure))[2:] == ["learning rate", "momentum"]


def test_what_clocks_measure_is_not_drawn():
    assert list(panels(plot_history({"loss": [1.0], "images_per_second": [5.0], "train_seconds": [1.0]}))) == ["loss"]


def test_the_best_value_is_marked_where_the_name_tells_which_it_is():
    figure = drawn(plot_history({"val_auc": [0.5, 0.9, 0.8], "val_mae": [3.0, 1.0, 2.0], "val_lift": [1.0, 2.0, 1.5]}))
    assert [labels(ax)[0].partition("\n")[2] for ax in figure.axes] == [
        "best 0.900 (epoch 2)",
        "best 1.000 (epoch 2)",
        "",
    ]


def test_no_state_of_pyplot_is_touched():
    import subprocess
    import sys

    program = (
        "from davidnet_callbacks import plot_history; plot_history({'loss': [1.0]}).savefig('/dev/null', format='png');"
        "import sys; assert 'matplotlib.pyplot' not in sys.modules; assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_schedule_is_drawn_batch_by_batch_with_its_peak():
    figure = drawn(plot_schedule(one_cycle_triangle(0.4, 24), 24, 98))
    line = figure.axes[0].lines[0]
    assert len(line.get_xdata()) == 24 * 98 + 1
    assert line.get_ydata()[1] == pytest.approx(0.08 / 98)
    assert labels(figure.axes[0]) == ["peak 0.4 after 5 epochs"]


def test_a_long_schedule_is_thinned_and_keeps_its_end():
    line = plot_schedule(lambda progress: 1 + progress, 1000, 1000).axes[0].lines[0]
    assert len(line.get_xdata()) < 10_000
    assert line.get_xdata()[-1] == 1000


@pytest.mark.parametrize(("epochs", "steps"), [(0, 98), (24, 0)])
def test_a_schedule_of_no_batches_is_refused(epochs, steps):
    with pytest.raises(ValueError, match="Received: epochs="):
        plot_schedule(one_cycle_triangle(0.4, 24), epochs, steps)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 10)), max_size=5))
def test_labels_that_fit_are_spread_within_the_panel(places):
    centres = spread(places, 0, 100)
    boxes = sorted((centre - half, centre + half) for centre, (_, half) in zip(centres, places, strict=True))
    assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(boxes))
    assert not boxes or (boxes[0][0] >= -1e-6 and boxes[-1][1] <= 100 + 1e-6)


def test_labels_with_room_stay_where_they_are():
    assert spread([(50, 5), (20, 5)], 0, 100) == [50, 20]
