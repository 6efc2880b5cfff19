"""What a sweep suggests, and how it is drawn."""

import json

import numpy as np
import pytest

from davidnet_callbacks import LearningRateSweep
from davidnet_callbacks.learning_rate_sweep import middle_of_longest_descent, smoothed

SCALES = ("exponential", "linear")


def sweep_of(losses, scale="exponential"):
    rates = np.geomspace(1e-3, 1.0, len(losses)) if scale == "exponential" else np.linspace(0.0, 1.0, len(losses))
    return LearningRateSweep(tuple(rates.tolist()), tuple(losses), tuple(losses), scale)


def test_the_suggestions_are_where_they_should_be():
    losses = [3.0, 3.0, 3.0, 2.9, 2.8, 2.5, 1.5, 1.0, 0.9, 1.1, 4.0, 2.0]  # skipped: the first
    sweep = sweep_of(losses)
    assert sweep.suggestions["steepest"] == sweep.rates[5]
    assert sweep.suggestions["minimum/10"] == pytest.approx(sweep.rates[8] / 10)
    assert sweep.suggestions["valley"] == sweep.rates[5]  # the middle of the descent 2 ... 8


def test_the_axis_of_the_plot_decides_what_is_steep():
    losses = (3.0, 2.0, 1.5, 1.2)
    rates = (0.01, 0.1, 0.3, 0.4)
    steepest = {scale: LearningRateSweep(rates, losses, losses, scale).suggestions["steepest"] for scale in SCALES}
    assert steepest == {"exponential": 0.3, "linear": 0.01}


def test_the_longest_descent_may_be_noisy():
    assert middle_of_longest_descent(np.array([5.0, 4.0, 4.5, 3.0, 3.5, 2.0, 6.0])) == 1  # of 0, 1, 3, 5
    assert middle_of_longest_descent(np.array([1.0, 2.0, 3.0])) == 0


def test_a_loss_that_never_falls_suggests_nothing():
    sweep = sweep_of([1.0, 1.1, 1.2, 1.3])
    assert set(sweep.suggestions.values()) == {None}
    assert "nothing to suggest" in [text.get_text() for text in sweep.plot().axes[0].texts][-1]


def test_the_first_average_is_the_first_loss():
    assert smoothed(0.0, 3.0, 0.9, 1) == (pytest.approx(0.3), pytest.approx(3.0))


def test_the_result_is_json():
    sweep = sweep_of([3.0, 3.0, 2.0, 1.0, 2.0])
    plain = json.loads(json.dumps(sweep.as_dict()))
    assert plain["rates"] == list(sweep.rates)
    assert plain["suggestions"] == sweep.suggestions
    assert {"losses", "smoothed_losses", "scale"} < set(plain)


@pytest.mark.parametrize("scale", SCALES)
def test_the_plot_marks_and_names_the_suggestions(scale, tmp_path):
    figure = sweep_of([3.0, 3.0, 2.9, 2.0, 1.0, 2.0, 50.0], scale).plot("A sweep")
    figure.savefig(tmp_path / "lr_find.png")
    ax = figure.axes[0]
    texts = " ".join(text.get_text() for text in ax.texts)
    assert all(name in texts for name in ("steepest", "valley", "minimum/10"))
    assert ax.get_xscale() == ("log" if scale == "exponential" else "linear")
    assert ax.get_ylim()[1] < 10  # the blow-up does not hide the descent
    assert ax.get_xlabel() == "learning rate"
