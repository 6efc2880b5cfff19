# The public names with their types, for type checkers; `__init__.py` imports them lazily.
from .atomic import atomic_write as atomic_write
from .averaged_weights import AverageWeights as AverageWeights
from .averaged_weights import Lookahead as Lookahead
from .dawnbench import DawnbenchLog as DawnbenchLog
from .epoch_table import EpochTable as EpochTable
from .figures.evaluation_figure import plot_confusion as plot_confusion
from .figures.evaluation_figure import plot_mistakes as plot_mistakes
from .figures.history import plot_history as plot_history
from .figures.learning_rate import plot_learning_rate_sweep as plot_learning_rate_sweep
from .figures.learning_rate import plot_schedule as plot_schedule
from .figures.runs import plot_runs as plot_runs
from .history import HistoryCSV as HistoryCSV
from .history_file import read_history as read_history
from .learning_rate_finder import LearningRateFinder as LearningRateFinder
from .learning_rate_finder import find_learning_rate as find_learning_rate
from .learning_rate_sweep import LearningRateSweep as LearningRateSweep
from .one_cycle_schedules import one_cycle_cosine as one_cycle_cosine
from .one_cycle_schedules import one_cycle_momentum as one_cycle_momentum
from .one_cycle_schedules import one_cycle_triangle as one_cycle_triangle
from .plot_curves import PlotCurves as PlotCurves
from .scheduler import BatchLearningRateScheduler as BatchLearningRateScheduler
from .scheduler import BatchMomentumScheduler as BatchMomentumScheduler
from .scheduler import OneCycleCosine as OneCycleCosine
from .scheduler import OneCycleTriangle as OneCycleTriangle
from .schedules import Cyclical as Cyclical
from .schedules import PiecewiseCosine as PiecewiseCosine
from .schedules import PiecewiseLinear as PiecewiseLinear
from .schedules import WarmupDecay as WarmupDecay
from .throughput import Throughput as Throughput

__all__: list[str]
