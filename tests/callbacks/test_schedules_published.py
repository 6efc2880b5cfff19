"""Each schedule against its published definition, value by value."""

import math
import warnings

import numpy as np
import pytest

from davidnet_callbacks import Cyclical, PiecewiseCosine, WarmupDecay, one_cycle_cosine, one_cycle_momentum

STEPS = 7  # an epoch


def torch_values(make, steps):
    """The rates and momenta that a torch scheduler gives to `steps` steps."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=0.1, momentum=0.9)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates, momenta = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the optimizer makes no steps
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            momenta.append(optimizer.param_groups[0]["momentum"])
            scheduler.step()
    return rates, momenta


def at_steps(schedule, steps):
    return [schedule(step / STEPS) for step in range(steps)]


@pytest.mark.parametrize("epochs", [1, 5, 24])
@pytest.mark.parametrize("options", [{}, {"pct_start": 0.25, "div_factor": 10.0, "final_div_factor": 100.0}], ids=str)
def test_one_cycle_cosine_is_torch_s_one_cycle_step_by_step(epochs, options):
    def make(module, optimizer):
        return module.OneCycleLR(optimizer, 0.4, epochs=epochs, steps_per_epoch=STEPS, **options)

    rates, momenta = torch_values(make, epochs * STEPS)
    schedule = one_cycle_cosine(0.4, epochs, steps_per_epoch=STEPS, **options)
    np.testing.assert_allclose(at_steps(schedule, epochs * STEPS), rates, rtol=1e-9, atol=1e-13)
    momentum = one_cycle_momentum(epochs, pct_start=options.get("pct_start", 0.3), steps_per_epoch=STEPS)
    np.testing.assert_allclose(at_steps(momentum, epochs * STEPS), momenta, rtol=1e-12)


@pytest.mark.parametrize("pct_start", [0.0, 0.01])
def test_a_cycle_without_a_way_up_is_torch_s_too(pct_start):
    def make(module, optimizer):
        return module.OneCycleLR(optimizer, 0.4, epochs=3, steps_per_epoch=STEPS, pct_start=pct_start)

    rates, _ = torch_values(make, 3 * STEPS)
    schedule = one_cycle_cosine(0.4, 3, pct_start, steps_per_epoch=STEPS)
    np.testing.assert_allclose(at_steps(schedule, 3 * STEPS), rates, rtol=1e-9, atol=1e-13)


def test_a_cycle_may_end_at_the_peak():
    schedule = one_cycle_cosine(0.4, 3, pct_start=1.0, steps_per_epoch=STEPS)  # where torch divides by zero
    assert [schedule(0), schedule(3 - 1 / STEPS), schedule(3)] == pytest.approx([0.4 / 25, 0.4, 0.4])


def one_cycle_by_hand(step, total, peak, pct_start=0.3, div=25.0, final_div=1e4):
    """The definition in torch's documentation, for where torch is not installed."""
    turn, end = pct_start * total - 1, total - 1
    start, stop, share = (peak / div, peak, step / turn) if step <= turn else (peak, peak / div / final_div, None)
    share = (step - turn) / (end - turn) if share is None else share
    return stop + (start - stop) / 2 * (1 + math.cos(math.pi * share))


def test_one_cycle_cosine_is_the_definition_written_out():
    schedule = one_cycle_cosine(0.4, 6, steps_per_epoch=STEPS)
    expected = [one_cycle_by_hand(step, 6 * STEPS, 0.4) for step in range(6 * STEPS)]
    np.testing.assert_allclose(at_steps(schedule, 6 * STEPS), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.4, 0.7, 1.0])
def test_without_steps_it_is_fastai_s_cycle(share):
    # fastai: combined_cos(0.25, peak/25, peak, peak/1e5), where cos goes by (1 + cos(pi * (1 - share))) / 2.
    def between(start, end, at):
        return start + (1 + math.cos(math.pi * (1 - at))) * (end - start) / 2

    peak = 0.4
    expected = (
        between(peak / 25, peak, share / 0.25) if share < 0.25 else between(peak, peak / 1e5, (share - 0.25) / 0.75)
    )
    schedule = one_cycle_cosine(peak, 10, pct_start=0.25, div_factor=25, final_div_factor=1e5 / 25)
    assert schedule(10 * share) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cyclical_is_torch_s_and_smith_s(mode):
    gamma = 0.99 if mode == "exp_range" else 1.0
    schedule = Cyclical(0.001, 0.006, 2, mode, gamma**STEPS)
    rates = at_steps(schedule, 15 * STEPS)

    def smith(iteration, stepsize=2 * STEPS):  # the paper's code, section 3.2 and its variants
        cycle = math.floor(1 + iteration / (2 * stepsize))
        x = abs(iteration / stepsize - 2 * cycle + 1)
        scale = {"triangular": 1, "triangular2": 1 / 2 ** (cycle - 1), "exp_range": gamma**iteration}[mode]
        return 0.001 + (0.006 - 0.001) * max(0, 1 - x) * scale

    np.testing.assert_allclose(rates, [smith(step) for step in range(15 * STEPS)], rtol=1e-9)

    def make(module, optimizer):
        return module.CyclicLR(optimizer, 0.001, 0.006, step_size_up=2 * STEPS, mode=mode, gamma=gamma)

    np.testing.assert_allclose(rates, torch_values(make, 15 * STEPS)[0], rtol=1e-9)


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_warm_up_and_decay_are_their_definitions(decay):
    schedule = WarmupDecay(0.4, 10, 3, decay, initial=0.1, final=0.02)
    for epoch in np.linspace(0, 12, 49):
        fallen = min(max((epoch - 3) / 7, 0), 1)
        left = {"cosine": (1 + math.cos(math.pi * fallen)) / 2, "linear": 1 - fallen, "constant": 1}[decay]
        expected = 0.1 + 0.3 * epoch / 3 if epoch < 3 else 0.02 + 0.38 * left
        assert schedule(epoch) == pytest.approx(expected, rel=1e-12)


def test_warm_up_and_cosine_are_keras_s_cosine_decay():
    keras = pytest.importorskip("keras")
    decay = keras.optimizers.schedules.CosineDecay(0.05, 7 * STEPS, 0.05, warmup_target=0.4, warmup_steps=3 * STEPS)
    schedule = WarmupDecay(0.4, 10, 3, initial=0.05, final=0.05 * 0.4)
    expected = [float(decay(step)) for step in range(10 * STEPS)]
    np.testing.assert_allclose(at_steps(schedule, 10 * STEPS), expected, rtol=1e-5)


def test_without_a_warm_up_it_starts_at_the_peak():
    assert WarmupDecay(0.4, 10)(0) == 0.4
    assert WarmupDecay(0.4, 10)(10) == 0


def test_a_single_knot_is_a_constant():
    assert PiecewiseCosine((1,), (0.3,))(0.5) == PiecewiseCosine((1,), (0.3,))(2) == 0.3


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: one_cycle_cosine(0, 4), "peak"),
        (lambda: one_cycle_cosine(1, 0), "epochs"),
        (lambda: one_cycle_cosine(1, 4, pct_start=1.5), "pct_start"),
        (lambda: one_cycle_cosine(1, 4, div_factor=0), "div_factor"),
        (lambda: one_cycle_cosine(1, 4, final_div_factor=-1), "final_div_factor"),
        (lambda: one_cycle_cosine(1, 1, steps_per_epoch=1), "steps_per_epoch"),
        (lambda: one_cycle_cosine(1, 1, steps_per_epoch=0), "steps_per_epoch"),
        (lambda: one_cycle_momentum(4, max_momentum=1.0), "max_momentum"),
        (lambda: one_cycle_momentum(4, base_momentum=-0.1), "base_momentum"),
        (lambda: WarmupDecay(0, 4), "peak"),
        (lambda: WarmupDecay(1, 0), "epochs"),
        (lambda: WarmupDecay(1, 4, 4), "warmup_epochs"),
        (lambda: WarmupDecay(1, 4, -1), "warmup_epochs"),
        (lambda: WarmupDecay(1, 4, decay="step"), "decay"),
        (lambda: WarmupDecay(1, 4, final=-1), "final"),
        (lambda: WarmupDecay("1", 4), "peak"),
        (lambda: Cyclical(0.2, 0.1, 1), "highest"),
        (lambda: Cyclical(-0.2, 0.1, 1), "lowest"),
        (lambda: Cyclical(0.1, 0.2, 0), "half_cycle_epochs"),
        (lambda: Cyclical(0.1, 0.2, 1, "sine"), "mode"),
        (lambda: Cyclical(0.1, 0.2, 1, "exp_range", 1.1), "gamma"),
        (lambda: Cyclical(0.1, 0.2, 1, gamma=0.9), "gamma"),
    ],
)
def test_bad_numbers_are_refused(make, name):
    with pytest.raises(ValueError, match=f"Received: .*{name}="):
        make()
