"""The embedded data set: reproducible, balanced, and readable by shape only."""

import numpy as np
import pytest

from davidnet_keras.data import shapes
from davidnet_keras.data.shapes import SHAPES_CLASSES, distance_tables, load_shapes, outlines, signed_distance


@pytest.fixture(autouse=True)
def fresh_keras():
    """Nothing of Keras's state matters here, and clearing it for every test takes longer than the tests."""


@pytest.fixture(scope="module")
def drawn():
    return load_shapes(train=1_000, test=500)


def test_shapes_and_types(drawn):
    for (x, y), count in zip(drawn, (1_000, 500), strict=True):
        assert x.shape == (count, 32, 32, 3) and x.dtype == np.uint8 and x.flags.c_contiguous
        assert x.ctypes.data % 64 == 0  # TensorFlow holds it without a copy
        assert y.shape == (count,) and y.dtype == np.int64


@pytest.mark.parametrize(("train", "test"), [(1, 1), (3, 51), (50, 49), (101, 2)])
def test_any_number_of_images(train, test):
    (x_train, y_train), (x_test, y_test) = load_shapes(train, test)
    assert len(x_train) == len(y_train) == train and len(x_test) == len(y_test) == test


def test_a_larger_set_begins_with_the_smaller(drawn):
    (x, y), (x_test, y_test) = load_shapes(train=130, test=60)
    (x_more, y_more), (x_test_more, y_test_more) = drawn
    np.testing.assert_array_equal(x, x_more[:130])
    np.testing.assert_array_equal(y, y_more[:130])
    np.testing.assert_array_equal(x_test, x_test_more[:60])
    np.testing.assert_array_equal(y_test, y_test_more[:60])


def test_the_global_random_state_neither_matters_nor_changes():
    np.random.seed(1)  # noqa: NPY002 - the legacy state is the point
    first, drawn_after = load_shapes(20, 1)[0][0], np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.random() == drawn_after  # noqa: NPY002
    np.testing.assert_array_equal(first, load_shapes(20, 1)[0][0])


def test_seeds_differ():
    images = [load_shapes(20, 1, seed)[0][0].tobytes() for seed in (0, 1, 2, 2**40)]
    assert len(set(images)) == 4


def test_all_images_differ_also_between_training_and_test(drawn):
    images = [image.tobytes() for x, _ in drawn for image in x]
    assert len(set(images)) == 1_500


def test_classes_are_balanced_and_mixed(drawn):
    for _, y in drawn:
        np.testing.assert_array_equal(np.bincount(y, minlength=10), len(y) // 10)
        assert len(set(y[:50].tolist())) == 10 and not np.array_equal(y[:50], y[50:100])


def test_images_use_the_range_without_being_flat(drawn):
    x = drawn[0][0].astype(float)
    assert 90 < x.mean() < 165 and x.std() > 55
    assert x.std(axis=(1, 2)).mean(axis=1).min() > 8


@pytest.mark.parametrize("features", ["mean colour", "colour spread", "pixels"])
def test_class_cannot_be_read_from_colour_or_single_pixels(drawn, features):
    """A ridge classifier on them stays far below the 60 % that a linear model must not reach (chance: 10 %)."""
    (x_train, y_train), (x_test, y_test) = drawn

    def values(x):
        x = x / 255
        if features == "pixels":
            return np.c_[x[:, ::2, ::2].reshape(len(x), -1), np.ones(len(x))]
        x = x.mean((1, 2)) if features == "mean colour" else x.std((1, 2))
        return np.c_[x, x**2, np.ones(len(x))]

    inputs = values(x_train)
    weights = np.linalg.solve(inputs.T @ inputs + 3 * np.eye(inputs.shape[1]), inputs.T @ np.eye(10)[y_train])
    accuracy = np.mean((values(x_test) @ weights).argmax(axis=1) == y_test)
    assert accuracy < 0.35


def test_nothing_but_the_outline_depends_on_the_class(monkeypatch):
    circles = np.repeat(distance_tables()[:1], 10, axis=0)
    monkeypatch.setattr(shapes, "distance_tables", lambda: circles)
    (x_ten_classes, y), _ = load_shapes(100, 1)
    monkeypatch.setattr(shapes, "SHAPES_CLASSES", ("circle",))
    (x_one_class, _), _ = load_shapes(100, 1)
    assert len(set(y.tolist())) == 10
    np.testing.assert_array_equal(x_ten_classes, x_one_class)


def test_class_can_be_read_from_the_shape():
    """The drawn distances, compared with those of every class drawn alike, are nearest to the right one."""
    labels = np.tile(np.arange(10), shapes.BLOCK // 10)

    def distances(labels):
        rng = np.random.Generator(np.random.PCG64(5))
        return shapes._distances(
            lambda low, high: rng.uniform(low, high, (shapes.BLOCK, 1)).astype(np.float32), labels
        )[0]

    drawn = distances(labels)
    errors = [np.abs(drawn - distances(np.full(shapes.BLOCK, k))).mean(axis=1) for k in range(10)]
    np.testing.assert_array_equal(np.argmin(errors, axis=0), labels)
    assert np.partition(errors, 1, axis=0)[1].min() > 0.2  # pixels; no two classes look alike


def test_shapes_lie_inside_the_image():
    rng = np.random.Generator(np.random.PCG64(6))
    labels = np.tile(np.arange(10), shapes.BLOCK // 10)
    distance, shadow = shapes._distances(
        lambda low, high: rng.uniform(low, high, (shapes.BLOCK, 1)).astype(np.float32), labels
    )
    inside = (distance < 0).reshape(-1, 32, 32)
    assert inside.sum(axis=(1, 2)).min() > 40
    border = inside[:, [0, -1]].sum() + inside[:, :, [0, -1]].sum()
    assert border < 0.02 * inside.sum()
    assert shadow.min() >= 0 and shadow.max() <= 1


def test_no_class_is_the_mirror_image_of_another():
    inside = distance_tables() < 0
    for first in range(10):
        for second in range(10):
            mirrored = inside[second][:, ::-1]
            overlap = (inside[first] & mirrored).sum() / (inside[first] | mirrored).sum()
            if first != second:
                assert overlap < 0.9, (SHAPES_CLASSES[first], SHAPES_CLASSES[second])


def test_tables_are_in_the_order_of_the_classes():
    assert tuple(outlines()) == SHAPES_CLASSES
    tables = distance_tables()
    centre = tables[:, 111:113, 111:113].mean(axis=(1, 2))
    assert centre[SHAPES_CLASSES.index("circle")] == pytest.approx(-0.88, abs=0.02)
    assert centre[SHAPES_CLASSES.index("cross")] == pytest.approx(-0.36 * 2**0.5, abs=0.02)
    assert centre[SHAPES_CLASSES.index("crescent")] > 0  # the middle lies in the bay


def test_signed_distance_of_a_square():
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    x, y = np.meshgrid(np.linspace(-2, 2, 21), np.linspace(-2, 2, 21))
    outside = np.hypot(np.maximum(np.abs(x) - 1, 0), np.maximum(np.abs(y) - 1, 0))
    inside = np.minimum(np.maximum(np.abs(x), np.abs(y)) - 1, 0)
    np.testing.assert_allclose(signed_distance(corners, x, y), outside + inside, atol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [{"train": 0}, {"train": -5}, {"train": 2.5}, {"test": 0}, {"test": "many"}, {"seed": -1}, {"seed": None}],
)
def test_bad_numbers_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=rf"`{name}` must be a whole number.*Received: {name}="):
        load_shapes(**arguments)


def test_numpy_integers_will_do():
    (x, _), _ = load_shapes(np.int64(3), np.uint8(2), np.int32(0))
    np.testing.assert_array_equal(x, load_shapes(3, 2)[0][0])
