"""David Page's ResNet-9 in Keras: the model, its train step, its data and `train`."""

import importlib

from davidnet_keras.registration import register_with_keras

_HOMES = {
    "hard_gelu": "layers.activations",
    "AlternatingFlip": "data.alternating_flip",
    "Augmentation": "data.augmentation",
    "Cutout": "data.augmentation",
    "Normalization": "layers.normalization",
    "build_model": "models.build",
    "BatchOrigin": "data.random_batch_layer",
    "RandomBatchLayer": "data.random_batch_layer",
    "RandomCrop": "data.augmentation",
    "RandomFlip": "data.augmentation",
    "CIFAR10_CLASSES": "data.datasets",
    "CIFAR100_CLASSES": "data.datasets",
    "CIFAR100_COARSE_CLASSES": "data.datasets",
    "load_cifar10": "data.cifar",
    "load_cifar100": "data.cifar",
    "DataError": "errors",
    "inference_flops": "models.cost",
    "training_flops": "models.cost",
    "Dropout": "layers.dropout",
    "tune_tensorflow": "kernels.environment",
    "UserError": "errors",
    "evaluate_run": "runs.evaluate",
    "ConvBN": "layers.conv_bn",
    "FusedBatchNormalization": "layers.batch_normalization",
    "ResidualBlock": "layers.conv_bn",
    "SmoothedCrossentropy": "training.losses",
    "DavidNet": "models.davidnet",
    "load_model": "runs.model_file",
    "MomentumSGD": "training.momentum_sgd",
    "read_picture": "data.pictures",
    "steps_per_epoch": "data.pipeline",
    "test_dataset": "data.pipeline",
    "train_dataset": "data.pipeline",
    "choose_precision": "precision",
    "predict_pictures": "runs.predict",
    "RECIPES": "recipe",
    "Recipe": "recipe",
    "SHAPES_CLASSES": "data.datasets",
    "load_shapes": "data.shapes",
    "Interrupted": "runs.stop_signals",
    "SumLossModel": "training.sum_loss",
    "TestTimeAugmentation": "models.averaged_views",
    "resume": "runs.resume",
    "FastNet": "models.fastnet",
    "Muon": "training.muon",
    "ParameterGroup": "training.parameter_group",
    "PartialIdentity": "layers.initializers",
    "PatchWhitening": "layers.whitening",
    "ConvPoolBlock": "layers.conv_pool_block",
    "resume_runs": "runs.series",
    "train_runs": "runs.series",
    "train": "runs.train",
}
__all__ = sorted(_HOMES)


# `import davidnet_keras` is enough for `keras.saving.load_model` to find the model's classes.
register_with_keras()


def __getattr__(name):
    # Lazy, so that `--help` and the recipes do not wait for TensorFlow.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__():
    return __all__
