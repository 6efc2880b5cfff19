"""The confusion matrix and the mistakes of any classifier, drawn."""

import io

import numpy as np
import pytest

from davidnet_callbacks import plot_confusion, plot_mistakes


def size(figure):
    """Draw for real, where warnings are errors; the width in dots."""
    figure.savefig(io.BytesIO(), format="png")
    return figure.bbox.width


def test_an_empty_class_and_no_mistake_can_be_drawn():
    assert size(plot_confusion(np.diag([3, 0, 2]), ("a", "b", "c"), "title")) > 300
    figure = plot_mistakes([], 0, "5 pictures")
    assert size(figure) > 300
    assert figure.texts[0].get_text() == "No mistake in 5 pictures"


@pytest.mark.parametrize("classes", [10, 100])
def test_a_cell_for_every_pair_of_classes_and_its_number_where_it_fits(classes):
    confusion = np.full((classes, classes), 7)
    figure = plot_confusion(confusion, [f"class_{i}" for i in range(classes)], "title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("7") == (classes**2 if classes == 10 else 0)
    assert figure.axes[0].images[0].get_array().shape == (classes, classes, 3)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][1] == "class 1"


def test_recall_is_beside_the_row_and_precision_below_the_column():
    texts = plot_confusion([[9, 1], [3, 7]], ["cat", "dog"]).axes[0].texts
    shares = {(text.get_text(), text.get_position()[1] > 1.5) for text in texts if "%" in text.get_text()}
    assert shares == {("90 %", False), ("70 %", False), ("75 %", True), ("88 %", True)}


def test_without_a_title_there_is_no_gap_for_one():
    titled, untitled = (plot_confusion(np.eye(2, dtype=int), ["a", "b"], title) for title in ("title", None))
    assert titled.get_figheight() - untitled.get_figheight() == pytest.approx(0.3)
    assert len(titled.texts) == len(untitled.texts) + 1


@pytest.mark.parametrize(("shape", "names"), [((2, 3), "ab"), ((2, 2), "abc"), ((4,), "ab"), ((0, 0), "")])
def test_a_matrix_that_does_not_fit_the_names_is_refused(shape, names):
    with pytest.raises(ValueError, match=rf"row and a column.*len\(names\)={len(names)}"):
        plot_confusion(np.zeros(shape, int), names)


def test_mistakes_are_drawn_with_both_names():
    picture = np.zeros((32, 32, 3), np.uint8)
    figure = plot_mistakes([(picture, "aquarium_fish", "ray", 0.87)] * 9, 100, "1,000 pictures")
    assert len(figure.axes) == 9
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "The 9 surest of 100 mistakes in 1,000 pictures"
    assert texts.count("aquarium fish") == texts.count("ray 87 %") == 9


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (5, 9, 3)])
def test_grey_and_coloured_pictures_names_with_dollars_and_no_total(shape):
    figure = plot_mistakes([(np.random.default_rng(0).random(shape), "$5", "$6$", 0.5)])
    assert size(figure) > 300
    assert figure.texts[0].get_text() == "The only mistake in the test pictures"
    assert size(plot_confusion(np.eye(2, dtype=int), ["$5", "a$b$"], "$")) > 0
