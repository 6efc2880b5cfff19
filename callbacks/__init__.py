"""Training callbacks for any Keras 3 project, on any backend."""

from importlib import import_module

_NAMES = {
    "atomic": ["atomic_write"],
    "averaged_weights": ["AverageWeights", "Lookahead"],
    "dawnbench": ["DawnbenchLog"],
    "epoch_table": ["EpochTable"],
    "figures.evaluation_figure": ["plot_confusion", "plot_mistakes"],
    "figures.history": ["plot_history"],
    "figures.learning_rate": ["plot_learning_rate_sweep", "plot_schedule"],
    "figures.runs": ["plot_runs"],
    "history": ["HistoryCSV"],
    "history_file": ["read_history"],
    "learning_rate_finder": ["LearningRateFinder", "find_learning_rate"],
    "learning_rate_sweep": ["LearningRateSweep"],
    "one_cycle_schedules": ["one_cycle_cosine", "one_cycle_momentum", "one_cycle_triangle"],
    "plot_curves": ["PlotCurves"],
    "schedules": ["Cyclical", "PiecewiseCosine", "PiecewiseLinear", "WarmupDecay"],
    "scheduler": ["BatchLearningRateScheduler", "BatchMomentumScheduler", "OneCycleCosine", "OneCycleTriangle"],
    "throughput": ["Throughput"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name):
    # Lazy, so that the schedules alone import neither keras nor matplotlib.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value  # the next look-up is an ordinary one
    return value


def __dir__():
    return sorted({*globals(), *__all__})
