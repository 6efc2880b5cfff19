"""Training callbacks for any Keras 3 project, on any backend."""

from importlib import import_module

_MODULES = {
    "BatchLearningRateScheduler": "scheduler",
    "DawnbenchLog": "dawnbench",
    "EpochTable": "epoch_table",
    "HistoryCSV": "history",
    "OneCycleTriangle": "one_cycle",
    "PiecewiseLinear": "schedules",
    "PlotCurves": "plot_curves",
    "atomic_write": "atomic",
    "one_cycle_triangle": "schedules",
    "plot_history": "history_figure",
    "plot_schedule": "schedule_figure",
    "read_history": "history",
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
