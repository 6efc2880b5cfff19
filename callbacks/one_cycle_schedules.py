"""One-cycle schedules: up to a peak, and down to the end of the run."""

from .arguments import finite_number, positive_number, share
from .schedules import PiecewiseCosine, PiecewiseLinear


def one_cycle_triangle(
    peak: float, epochs: float, warmup_epochs: float | None = None, start: float = 0.0, end: float = 0.0
) -> PiecewiseLinear:
    """Make the schedule 0 -> `peak` -> 0: straight up during the warm-up, straight down to the end.

    Args:
        peak: the highest rate.
        epochs: length of the whole run, in epochs.
        warmup_epochs: when the peak is reached, in epochs. 0 starts at the peak; `epochs` never comes down. Default:
            max(1, (epochs + 1) // 5), but at most half of the run.
        start, end: the first and the last rate, as shares of the peak, 0 to 1. Default: 0.

    Raises:
        ValueError: an argument out of range, such as a warm-up longer than the run.

    Source: the reference notebook's schedule, with knots 0, (epochs + 1) // 5, epochs; Smith and Topin, 2017,
        "Super-Convergence". airbench94 has a warm-up of 0.23 of the run, start=0.2 and end=0.07.
    """
    peak = positive_number("peak", peak, "The peak rate")
    epochs = positive_number("epochs", epochs, "The length of a run")
    if warmup_epochs is None:
        warmup_epochs = min(max(1, (epochs + 1) // 5), epochs / 2)
    warmup = finite_number("warmup_epochs", warmup_epochs)
    if not 0 <= warmup <= epochs:
        received = f"warmup_epochs={warmup}, epochs={epochs}"
        raise ValueError(f"The warm-up must last from 0 epochs to the whole run. Received: {received}")
    first, last = peak * share("start", start), peak * share("end", end)
    if warmup == 0:
        return PiecewiseLinear((0, epochs), (peak, last))
    if warmup == epochs:
        return PiecewiseLinear((0, epochs), (first, peak))
    return PiecewiseLinear((0, warmup, epochs), (first, peak, last))


def one_cycle_cosine(
    peak: float,
    epochs: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    steps_per_epoch: int | None = None,
) -> PiecewiseCosine:
    """Make the schedule `peak / div_factor` -> `peak` -> `peak / div_factor / final_div_factor`, in half cosines.

    Args:
        peak: the highest rate; fastai's `lr_max`.
        epochs: length of the whole run, in epochs.
        pct_start: share of the run until the peak, 0 to 1. Default: 0.3 (fastai's: 0.25).
        div_factor: the peak divided by the first rate. Default: 25.
        final_div_factor: the first rate divided by the last. fastai's `div_final` is `div_factor * final_div_factor`,
            1e5 by default. Default: 1e4.
        steps_per_epoch: batches per epoch. With it, the rates are torch's: the last *step* has the last rate, and the
            peak comes one step earlier. Default: none; the cycle then lasts to the end of the last step, as in fastai.

    Raises:
        ValueError: an argument out of range, or a run of a single step.

    Source: `torch.optim.lr_scheduler.OneCycleLR`; fastai's `fit_one_cycle`; Smith and Topin, 2017.
    """
    peak = positive_number("peak", peak, "The peak rate")
    initial = peak / positive_number("div_factor", div_factor, "The divisor of the peak")
    final = initial / positive_number("final_div_factor", final_div_factor, "The divisor of the first rate")
    return _cosine_cycle(initial, peak, final, epochs, pct_start, steps_per_epoch)


def one_cycle_momentum(
    epochs: float,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    pct_start: float = 0.3,
    steps_per_epoch: int | None = None,
) -> PiecewiseCosine:
    """Make the momentum's schedule that goes with `one_cycle_cosine`: low while the rate is high.

    Args:
        epochs, pct_start, steps_per_epoch: as for `one_cycle_cosine`.
        base_momentum: the momentum at the rate's peak, in [0, 1). Default: 0.85.
        max_momentum: the momentum at both ends, in [0, 1). Default: 0.95.

    Raises:
        ValueError: an argument out of range.

    Source: `torch.optim.lr_scheduler.OneCycleLR`; Smith, 2018, "A disciplined approach to neural network
        hyper-parameters".
    """
    for name, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
        if not 0 <= finite_number(name, value) < 1:
            raise ValueError(f"Momentum must be at least 0 and below 1. Received: {name}={value}")
    return _cosine_cycle(max_momentum, base_momentum, max_momentum, epochs, pct_start, steps_per_epoch)


def _cosine_cycle(initial, middle, final, epochs, pct_start, steps_per_epoch):
    end = epochs = positive_number("epochs", epochs, "The length of a run")
    turn = share("pct_start", pct_start) * epochs
    if steps_per_epoch is not None:
        step = 1 / positive_number("steps_per_epoch", steps_per_epoch, "The number of steps per epoch")
        if epochs < 1.5 * step:
            received = f"epochs={epochs}, steps_per_epoch={steps_per_epoch}"
            raise ValueError(f"A cycle needs two steps or more; train for longer. Received: {received}")
        end, turn = epochs - step, turn - step  # torch counts from step 0 to step n - 1
    if turn <= 0:  # a turn before the first step leaves that step a little way down, in torch too
        return PiecewiseCosine((turn, end), (middle, final))
    if turn >= end:
        return PiecewiseCosine((0, end), (initial, middle))
    return PiecewiseCosine((0, turn, end), (initial, middle, final))
