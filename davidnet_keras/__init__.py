"""David Page's ResNet-9 in Keras: the model, its train step, its data and `train`."""

import importlib

# Module -> the public names that it defines.
_NAMES = {
    "data.augmentation": ("AlternatingFlip", "Augmentation", "Cutout", "RandomCrop", "RandomFlip"),
    "data.cifar": ("load_cifar10", "load_cifar100"),
    "data.class_names": ("CIFAR100_CLASSES", "CIFAR100_COARSE_CLASSES", "CIFAR10_CLASSES", "SHAPES_CLASSES"),
    "data.pictures": ("read_picture",),
    "data.pipeline": ("steps_per_epoch", "test_dataset", "train_dataset"),
    "data.random_batch_layer": ("BatchOrigin", "RandomBatchLayer"),
    "data.shapes": ("load_shapes",),
    "errors": ("DataError", "UserError"),
    "kernels.environment": ("tune_tensorflow",),
    "layers.activations": ("hard_gelu",),
    "layers.batch_normalization": ("FusedBatchNormalization",),
    "layers.blocks": ("ConvBN", "ConvPoolBlock", "ResidualBlock"),
    "layers.dropout": ("Dropout",),
    "layers.initializers": ("PartialIdentity",),
    "layers.normalization": ("Normalization",),
    "layers.whitening": ("PatchWhitening",),
    "models.averaged_views": ("TestTimeAugmentation",),
    "models.build": ("build_model",),
    "models.cost": ("inference_flops", "training_flops"),
    "models.davidnet": ("DavidNet",),
    "models.fastnet": ("FastNet",),
    "precision": ("choose_precision",),
    "recipe": ("RECIPES", "Recipe"),
    "runs.evaluate": ("evaluate_run",),
    "runs.model_file": ("load_model",),
    "runs.predict": ("predict_pictures",),
    "runs.resume": ("resume",),
    "runs.series": ("resume_runs", "train_runs"),
    "runs.stop_signals": ("Interrupted",),
    "runs.train": ("train",),
    "training.losses": ("SmoothedCrossentropy",),
    "training.optimizers": ("MomentumSGD", "Muon", "ParameterGroup"),
    "training.sum_loss": ("SumLossModel",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOMES)
# Modules that need no TensorFlow.
_PORTABLE = (
    "data.cifar",
    "data.class_names",
    "data.pictures",
    "data.shapes",
    "errors",
    "kernels.environment",
    "recipe",
)


def __getattr__(name: str) -> object:
    # Lazy, so that `--help` and the recipes do not wait for TensorFlow.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] not in _PORTABLE:
        importlib.import_module(f"{__name__}.kernels.environment").check_backend()
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
