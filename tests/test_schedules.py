"""Schedules against hand-computed points, PyTorch, and each other."""

import math

import pytest

from xpcnn.errors import ConfigError
from xpcnn.schedules import Constant, Cosine, OneCycle, StepDecay, WarmUp, make_schedule

# Formulas are evaluated in Python floats on both sides: what differs is the order of a few roundings.
CLOSE = 1e-12


def rates(schedule, steps):
    return [schedule.lr_at(step) for step in steps]


@pytest.mark.parametrize(
    ("spec", "points"),
    [
        ("constant", {0: 0.1, 999: 0.1, 10**6: 0.1}),
        ("step:epochs=5,factor=0.1", {0: 0.1, 499: 0.1, 500: 0.01, 999: 0.01, 1000: 0.001}),
        ("step:epochs=0.5,factor=0.5", {49: 0.1, 50: 0.05, 100: 0.025}),
        ("step:steps=7, factor=1", {7: 0.1}),
        ("step", {333: 0.1, 334: 0.01, 668: 0.001}),
        ("cosine", {0: 0.1, 250: 0.05 + 0.05 * math.sqrt(0.5), 500: 0.05, 1000: 0.0, 5000: 0.0}),
        ("cosine:final=0.02", {0: 0.1, 500: 0.06, 1000: 0.02, 2000: 0.02}),
        ("cosine:warmup=500", {0: 0.0002, 249: 0.05, 499: 0.1, 500: 0.1, 750: 0.05, 1000: 0.0}),
        ("cosine:warmup_epochs=5", {0: 0.0002, 499: 0.1, 500: 0.1, 750: 0.05}),
        ("warmup:steps=4", {0: 0.025, 1: 0.05, 3: 0.1, 4: 0.1, 5: 0.1}),
        ("warmup:epochs=2", {0: 0.0005, 199: 0.1, 200: 0.1}),
        ("warmup", {0: 0.001, 99: 0.1}),
        ("constant:warmup=10", {4: 0.05, 10: 0.1}),
        ("step:steps=100,warmup=10", {0: 0.01, 9: 0.1, 99: 0.1, 100: 0.01}),
        (" Cosine ", {500: 0.05}),
    ],
)
def test_points_by_hand(spec, points):
    """1000 steps of 100 to the epoch from 0.1."""
    schedule = make_schedule(spec, 0.1, total_steps=1000, steps_per_epoch=100)
    assert rates(schedule, points) == pytest.approx(list(points.values()), rel=CLOSE, abs=1e-15)


def test_one_cycle_by_hand():
    """rise 0.5 of 101 steps: the top is at step 49.5, so steps 49 and 50 lie beside it; the ends are exact."""
    schedule = make_schedule("onecycle:rise=0.5,div=10,final_div=100", 1.0, 101, 10)
    assert schedule.lr_at(0) == pytest.approx(0.1, rel=CLOSE)
    assert schedule.lr_at(100) == schedule.lr_at(10**6) == pytest.approx(0.001, rel=CLOSE)
    assert schedule.lr_at(49) == pytest.approx(0.1 + 0.9 * (1 - math.cos(math.pi * 49 / 49.5)) / 2, rel=CLOSE)
    values = rates(schedule, range(101))
    assert values[:50] == sorted(values[:50])
    assert values[50:] == sorted(values[50:], reverse=True)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("rise", [0, 0.3, 1])
def test_one_cycle_of_very_short_runs_stays_in_its_range(total, rise):
    for rate in rates(OneCycle(1.0, total, rise=rise), range(total + 2)):
        assert 1 / 25 / 1e4 <= rate <= 1.0


@pytest.mark.parity
@pytest.mark.parametrize(
    ("spec", "make"),
    [
        ("cosine:final=0.001", lambda s, o: s.CosineAnnealingLR(o, T_max=40, eta_min=0.001)),
        ("step:epochs=2,factor=0.3", lambda s, o: s.StepLR(o, step_size=20, gamma=0.3)),
        ("onecycle", lambda s, o: s.OneCycleLR(o, max_lr=0.1, total_steps=40, cycle_momentum=False)),
        ("onecycle:rise=0.6,div=7", lambda s, o: s.OneCycleLR(o, 0.1, 40, pct_start=0.6, div_factor=7)),
        ("onecycle:final_div=30", lambda s, o: s.OneCycleLR(o, 0.1, 40, final_div_factor=30)),
    ],
)
def test_pytorch_has_the_same_rates(spec, make):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    theirs = make(torch.optim.lr_scheduler, optimizer)
    ours = make_schedule(spec, 0.1, total_steps=40, steps_per_epoch=10)
    for step in range(40):
        # PyTorch's cosine multiplies its way from step to step: 40 roundings of 1e-16, magnified near the end.
        assert ours.lr_at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < 39:
            theirs.step()


def test_any_schedule_can_be_warmed_up():
    schedule = WarmUp(OneCycle(1.0, 100), 5)
    assert schedule.lr_at(4) == OneCycle(1.0, 100).lr_at(5)
    assert schedule.lr_at(50) == OneCycle(1.0, 100).lr_at(50)


@pytest.mark.parametrize("spec", ["constant", "step", "cosine:warmup=7", "onecycle", "warmup:steps=3"])
def test_a_rate_depends_on_the_step_alone(spec):
    schedule = make_schedule(spec, 0.1, 50, 10)
    forwards = rates(schedule, range(50))
    assert [schedule.lr_at(step) for step in reversed(range(50))] == forwards[::-1]
    assert all(type(rate) is float for rate in forwards)
    with pytest.raises(ConfigError, match="-1"):
        schedule.lr_at(-1)


@pytest.mark.parametrize("schedule", [Constant(0.1), StepDecay(0.1, 5), Cosine(0.1, 10), OneCycle(0.1, 10)])
def test_schedules_are_values(schedule):
    assert schedule == type(schedule)(**vars(schedule))
    with pytest.raises(AttributeError):
        schedule.base_lr = 1.0


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("linear", "constant, step, cosine, onecycle, warmup"),
        ("", "constant, step, cosine, onecycle, warmup"),
        (None, "is a text"),
        ("cosine:min=1", "unknown option min; there are warmup, warmup_epochs, final"),
        ("onecycle:warmup=5", "unknown option warmup"),
        ("cosine:warmup", "option=number"),
        ("cosine:warmup=ten", "option=number"),
        ("cosine:warmup=inf", "option=number"),
        ("cosine:warmup=1,warmup=2", "given once"),
        ("cosine:warmup=1000", "leaves nothing"),
        ("warmup:steps=1000", "leaves nothing"),
        ("warmup:steps=0", "at least 1"),
        ("cosine:warmup=-1", "at least 1"),
        ("step:epochs=0", "at least 1"),
        ("step:epochs=1,steps=5", "not both"),
        ("step:factor=-1", "factor is -1"),
        ("onecycle:rise=2", "from 0 to 1"),
        ("onecycle:div=0.5", "at least 1"),
        ("cosine:final=-1", "at least 0"),
    ],
)
def test_bad_texts(spec, word):
    with pytest.raises(ConfigError, match=word):
        make_schedule(spec, 0.1, 1000, 100)


@pytest.mark.parametrize(
    ("lr", "total", "epoch", "word"),
    [
        (-1, 9, 9, "base_lr"),
        (math.nan, 9, 9, "base_lr"),
        ("a", 9, 9, "base_lr"),
        (1, 0, 9, "total"),
        (1, 9, 0.5, "epoch"),
    ],
)
def test_bad_numbers(lr, total, epoch, word):
    with pytest.raises(ConfigError, match=word):
        make_schedule("constant", lr, total, epoch)
