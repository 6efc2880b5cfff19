"""Training callbacks for any Keras 3 project, on any backend."""

from importlib import import_module

_MODULES = {
    "AverageWeights": "averaged_weights",
    "BatchLearningRateScheduler": "scheduler",
    "BatchMomentumScheduler": "scheduler",
    "Cyclical": "schedules",
    "DawnbenchLog": "dawnbench",
    "EpochTable": "epoch_table",
    "HistoryCSV": "history",
    "LearningRateFinder": "learning_rate_finder",
    "LearningRateSweep": "learning_rate_sweep",
    "Lookahead": "averaged_weights",
    "OneCycleCosine": "one_cycle",
    "OneCycleTriangle": "one_cycle",
    "PiecewiseCosine": "schedules",
    "PiecewiseLinear": "schedules",
    "PlotCurves": "plot_curves",
    "Throughput": "throughput",
    "WarmupDecay": "schedules",
    "atomic_write": "atomic",
    "find_learning_rate": "learning_rate_finder",
    "one_cycle_cosine": "one_cycle_schedules",
    "one_cycle_momentum": "one_cycle_schedules",
    "one_cycle_triangle": "one_cycle_schedules",
    "plot_confusion": "figures.evaluation_figure",
    "plot_history": "figures.history",
    "plot_learning_rate_sweep": "figures.learning_rate",
    "plot_mistakes": "figures.evaluation_figure",
    "plot_runs": "figures.runs",
    "plot_schedule": "figures.learning_rate",
    "read_history": "history_file",
}

__all__ = list(_MODULES)


def __getattr__(name):
    # Lazy, so that the schedules alone import neither keras nor matplotlib.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value  # the next look-up is an ordinary one
    return value


def __dir__():
    return sorted({*globals(), *__all__})
