"""Training and validation metrics find each other by name."""

from davidnet_callbacks.metric_names import paired_metrics, top1_validation_key


def test_loss_comes_first_then_accuracy_then_the_others():
    keys = ["mae", "val_mae", "accuracy", "loss", "val_loss", "val_accuracy", "learning_rate", "epoch", "seconds"]
    assert [tuple(pair) for pair in paired_metrics(keys)] == [
        ("loss", "loss", "val_loss"),
        ("accuracy", "accuracy", "val_accuracy"),
        ("mae", "mae", "val_mae"),
    ]


def test_a_metric_may_be_measured_on_one_side_only():
    assert [tuple(pair) for pair in paired_metrics(["loss", "val_auc"])] == [
        ("loss", "loss", None),
        ("auc", None, "val_auc"),
    ]


def test_the_top1_accuracy_is_found_under_keras_s_names_and_top5_is_not_it():
    assert top1_validation_key(["val_top_k_categorical_accuracy", "val_sparse_categorical_accuracy"]) == (
        "val_sparse_categorical_accuracy"
    )
    assert top1_validation_key(["accuracy", "val_top_5_accuracy"]) is None
