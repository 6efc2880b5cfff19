import statistics

import pytest

from davidnet_keras.runs.mean_interval import mean_interval


def test_mean_deviation_and_interval_of_five_values():
    values = [0.9046, 0.9043, 0.9031, 0.9052, 0.9039]
    n, mean, deviation, interval = mean_interval(values)
    assert (n, mean) == (5, pytest.approx(statistics.mean(values)))
    assert deviation == pytest.approx(statistics.stdev(values))
    half = 2.776445 * deviation / 5**0.5  # NIST/SEMATECH, table 1.3.6.7.2, has 2.776
    assert interval == pytest.approx((mean - half, mean + half))


def test_one_value_has_no_spread():
    assert mean_interval([0.5]) == (1, 0.5, None, None)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    import numpy as np

    samples = np.random.default_rng(0).normal(3, 2, (4000, 5))
    held = [low <= 3 <= high for low, high in (mean_interval(list(sample)).interval for sample in samples)]
    assert abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.5, 0.5]) == (2, 0.5, 0.0, (0.5, 0.5))
