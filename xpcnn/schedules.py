"""Learning rates over a run: pure functions of the step, so that a resumed run needs only its step number.

`lr_at(step)` is the rate for the update that comes after `step` updates (the first is step 0). Steps after the last
one keep its rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xpcnn.errors import ConfigError

__all__ = ["Constant", "Cosine", "OneCycle", "Schedule", "StepDecay", "WarmUp", "make_schedule"]


class Schedule(Protocol):
    """Anything that gives a learning rate for a step."""

    def lr_at(self, step: int) -> float:
        """The rate for the update number `step`, counted from 0; ConfigError for a negative one."""


@dataclass(frozen=True)
class Constant:
    """The same rate throughout."""

    base_lr: float

    def lr_at(self, step: int) -> float:
        _check_step(step)
        return self.base_lr


@dataclass(frozen=True)
class StepDecay:
    """base_lr * factor ** (step // every)."""

    base_lr: float
    every: int
    factor: float = 0.1

    def lr_at(self, step: int) -> float:
        _check_step(step)
        return self.base_lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """From base_lr at step `start` down half a cosine to final_lr at `total_steps` (SGDR, arXiv:1608.03983, eq. 5)."""

    base_lr: float
    total_steps: int
    final_lr: float = 0.0
    start: int = 0

    def lr_at(self, step: int) -> float:
        _check_step(step)
        way = (step - self.start) / (self.total_steps - self.start)
        return _ease(self.base_lr, self.final_lr, min(max(way, 0.0), 1.0))


@dataclass(frozen=True)
class OneCycle:
    """Up from base_lr / div to base_lr in the first `rise` of the run, then down to base_lr / div / final_div.

    Both ways along half a cosine; the last step has the lowest rate (Smith and Topin, arXiv:1708.07120; the numbers
    are PyTorch's OneCycleLR).
    """

    base_lr: float
    total_steps: int
    rise: float = 0.3
    div: float = 25.0
    final_div: float = 1e4

    def lr_at(self, step: int) -> float:
        _check_step(step)
        low, last = self.base_lr / self.div, self.total_steps - 1
        top = self.rise * self.total_steps - 1.0
        if step < top:
            return _ease(low, self.base_lr, step / top)
        way = (step - top) / (last - top) if last > top else 1.0
        return _ease(self.base_lr, low / self.final_div, min(way, 1.0))


@dataclass(frozen=True)
class WarmUp:
    """A straight line up to the rate that `after` has when the line ends; from then on `after` itself.

    Step 0 has 1/steps of that rate, step `steps` - 1 all of it (Goyal et al., arXiv:1706.02677, 2.2).
    """

    after: Schedule
    steps: int

    def lr_at(self, step: int) -> float:
        _check_step(step)
        if step >= self.steps:
            return self.after.lr_at(step)
        return self.after.lr_at(self.steps) * (step + 1) / self.steps


def make_schedule(spec: str, base_lr: float, total_steps: int, steps_per_epoch: int) -> Schedule:
    """The schedule that `spec` describes: a name, then options after a colon.

    constant                              base_lr throughout
    step:epochs=5,factor=0.1              times factor every so many epochs (or steps=...)
    cosine:final=0                        down to the rate `final` (absolute) at the end of the run
    onecycle:rise=0.3,div=25,final_div=1e4
    warmup:steps=500                      a warm-up (or epochs=...), then constant
    Also constant, step and cosine take warmup=500 (steps) or warmup_epochs=1.

    Raises ConfigError for an unknown name or option (listing the known), or a value out of range.
    """
    if not (_is_number(base_lr) and base_lr >= 0.0):
        raise ConfigError(f"base_lr is {base_lr!r}; it must be a finite number of at least 0")
    for name, count in (("total_steps", total_steps), ("steps_per_epoch", steps_per_epoch)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"{name} is {count!r}; it must be a whole number of at least 1")
    word, options = _parse(spec)
    maker = _MAKERS.get(word)
    if maker is None:
        raise ConfigError(f'no schedule is called {word!r}; there are {", ".join(_MAKERS)}, as in "cosine:warmup=500"')
    read = _Options(spec, options, total_steps, steps_per_epoch)
    schedule = maker(float(base_lr), read)
    read.refuse_unread()
    return schedule


class _Options:
    """The options of one spec, taken out one by one; what is left at the end is unknown."""

    def __init__(self, spec: str, values: dict[str, float], total_steps: int, steps_per_epoch: int) -> None:
        self.spec, self.values = spec, values
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.known: list[str] = []

    def take(self, name: str, default: float, low: float = 0.0, high: float = math.inf) -> float:
        self.known.append(name)
        value = self.values.pop(name, default)
        if not low <= value <= high:
            limit = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
            raise ConfigError(f"schedule {self.spec!r}: {name} is {value:g}; it must be {limit}")
        return value

    def take_steps(self, steps: str, epochs: str, default: int) -> int:
        """A duration given in steps or in epochs, as a whole number of steps."""
        self.known += [steps, epochs]
        if steps in self.values and epochs in self.values:
            raise ConfigError(f"schedule {self.spec!r}: give {steps} or {epochs}, not both")
        count: float = default
        if epochs in self.values:
            count = self.values.pop(epochs) * self.steps_per_epoch
        count = self.values.pop(steps, count)
        if count < 0 or (default > 0 and round(count) < 1):
            raise ConfigError(f"schedule {self.spec!r}: that is {count:g} steps; give at least 1")
        return round(count)

    def take_warm_up(self) -> int:
        return self.check_warm_up(self.take_steps("warmup", "warmup_epochs", 0))

    def check_warm_up(self, steps: int) -> int:
        if steps >= self.total_steps:
            raise ConfigError(
                f"schedule {self.spec!r}: the warm-up of {steps} steps leaves nothing of a run of {self.total_steps}"
            )
        return steps

    def refuse_unread(self) -> None:
        if self.values:
            known = ", ".join(self.known)
            raise ConfigError(f"schedule {self.spec!r}: unknown option {', '.join(self.values)}; there are {known}")


def _make_constant(base_lr: float, read: _Options) -> Schedule:
    return _warmed(Constant(base_lr), read.take_warm_up())


def _make_step(base_lr: float, read: _Options) -> Schedule:
    # Without options: the customary tenfold drop at each third of the run.
    every = read.take_steps("steps", "epochs", max(1, math.ceil(read.total_steps / 3)))
    return _warmed(StepDecay(base_lr, every, read.take("factor", 0.1)), read.take_warm_up())


def _make_cosine(base_lr: float, read: _Options) -> Schedule:
    steps = read.take_warm_up()
    return _warmed(Cosine(base_lr, read.total_steps, read.take("final", 0.0), start=steps), steps)


def _make_one_cycle(base_lr: float, read: _Options) -> Schedule:
    return OneCycle(
        base_lr,
        read.total_steps,
        read.take("rise", 0.3, 0.0, 1.0),
        read.take("div", 25.0, 1.0),
        read.take("final_div", 1e4, 1.0),
    )


def _make_warm_up(base_lr: float, read: _Options) -> Schedule:
    default = min(read.steps_per_epoch, max(1, read.total_steps - 1))
    return _warmed(Constant(base_lr), read.check_warm_up(read.take_steps("steps", "epochs", default)))


_MAKERS: dict[str, Callable[[float, _Options], Schedule]] = {
    "constant": _make_constant,
    "step": _make_step,
    "cosine": _make_cosine,
    "onecycle": _make_one_cycle,
    "warmup": _make_warm_up,
}


def _warmed(schedule: Schedule, steps: int) -> Schedule:
    return WarmUp(schedule, steps) if steps else schedule


def _parse(spec: str) -> tuple[str, dict[str, float]]:
    if not isinstance(spec, str):
        raise ConfigError(f'a schedule is a text such as "cosine:warmup=500", not {spec!r}')
    word, _, rest = spec.strip().lower().partition(":")
    options: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not equals or not math.isfinite(value) or name in options:
            raise ConfigError(f"schedule {spec!r}: {part!r} is not option=number, given once")
        options[name] = value
    return word.strip(), options


def _ease(begin: float, end: float, way: float) -> float:
    """From begin (way 0) to end (way 1) along half a cosine."""
    return end + (begin - end) * (1.0 + math.cos(math.pi * way)) / 2.0


def _check_step(step: int) -> None:
    if step < 0:
        raise ConfigError(f"a schedule was asked for step {step}; steps count from 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
