"""Training and validation metrics find each other by name."""

from davidnet_callbacks.metric_names import better, is_accuracy, paired_metrics, top1_validation_key


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


def test_what_schedulers_and_clocks_log_is_no_metric():
    keys = ["loss", "learning_rate", "momentum", "images_per_second", "train_seconds", "seconds_to_target"]
    assert [pair.name for pair in paired_metrics(keys)] == ["loss"]


def test_the_number_that_keras_appends_does_not_change_what_a_metric_is():
    assert is_accuracy("accuracy_1") and is_accuracy("dense_accuracy_2") and not is_accuracy("top_5")
    assert better("auc_3") is max


def test_which_way_is_better_is_told_by_the_name_or_not_at_all():
    assert {better(name) for name in ("accuracy", "top_5_accuracy", "auc", "f1_score", "head_recall", "iou")} == {max}
    assert {better(name) for name in ("loss", "head_loss", "mae", "mean_squared_error", "root_mean_squared_error")} == {
        min
    }
    assert better("lift") is None and better("sauce") is None
