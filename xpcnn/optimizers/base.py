"""What all optimizers share: the loop over parameters, clipping, weight decay, scratch memory, and state that saves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import ClassVar

import numpy as np

from xpcnn.device import Array, asnumpy, get_array_module
from xpcnn.errors import CheckpointError, ConfigError, ShapeError
from xpcnn.flat import FlatArrays
from xpcnn.ops.cuda.optimizers import Rules
from xpcnn.optimizers.one_launch import update_flat

__all__ = ["Optimizer", "number"]

# On the host, big arrays are updated in pieces: scratch stays small, and Adam on 16 million elements takes a quarter
# less time than whole. On a GPU each piece would be a launch, so arrays go whole.
_PIECE = 131072


def number(name: str, value: float, low: float = 0.0, below: float = math.inf) -> float:
    """`value` as a Python float in [low, below); ConfigError names the parameter otherwise."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not (low <= result < below):
        limit = f"a finite number of at least {low:g}" if below == math.inf else f"a number in [{low:g}, {below:g})"
        raise ConfigError(f"{name} is {value!r}; it must be {limit}")
    return result


class Optimizer:
    """Base of the optimizers: a subclass names its state arrays in `slots` and writes one rule, `_apply`.

    lr: the learning rate, a plain attribute that schedules set between updates.
    weight_decay: this much of each parameter is added to its gradient (L2); AdamW decays apart from it instead.
    clip_value: gradients are first limited to [-clip_value, clip_value], element by element.
    clip_norm: then all gradients are scaled together so that the norm over all of them is at most this. The norm's
        squares are summed in float64 on the device; nothing waits for the device.

    Parameters stay in their dtype. All arithmetic goes into arrays made at the first update. Constructor raises
    ConfigError for a value out of range.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    decay_in_gradient: ClassVar[bool] = True

    def __init__(self, lr: float, weight_decay: float, clip_norm: float | None, clip_value: float | None) -> None:
        self.lr = number("lr", lr)
        self.weight_decay = number("weight_decay", weight_decay)
        self.clip_norm = None if clip_norm is None else number("clip_norm", clip_norm, math.ulp(0.0))
        self.clip_value = None if clip_value is None else number("clip_value", clip_value, math.ulp(0.0))
        self._t = 0  # updates done
        self._state: dict[str, dict[str, Array]] = {slot: {} for slot in self.slots}
        self._loaded = False  # state from a checkpoint that has not met the parameters yet
        self._scratch: dict[tuple[int, str], Array] = {}
        self._scalars: tuple[Array, Array] | None = None
        self._xp: ModuleType | None = None
        self._joined_in: FlatArrays | None = None  # whose parameters the arrays of `_joined` hold the state of
        self._joined: list[Array] = []

    def update(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> None:
        """Changes the arrays of `params` in place by one step; `grads` has one for each, of the same shape.

        Arrays are NumPy's or CuPy's, float32 or float64; `grads` is left as it was and may hold more names.
        Raises ConfigError for a missing gradient or a bad `lr`, ShapeError for shapes or dtypes that do not fit,
        DeviceError for arrays of two devices, CheckpointError where a loaded state is another network's.
        """
        lr = number("lr", self.lr)
        xp = self._prepare(params, grads)
        self._t += 1
        flat = _flat_of(params, grads)
        together = self._together(xp, params, grads, flat)
        if flat is not None and xp is not np and type(self).launch is not Optimizer.launch:
            update_flat(self, lr, flat, self._joined)
            return
        scale = None if self.clip_norm is None else self._clip_scale(xp, together, self.clip_norm)
        for param, grad, *state in together:
            factor = None if scale is None else scale.astype(param.dtype)
            for p, g, *s in _pieces(xp, param, grad, *state):
                room = self._room(xp, 1, p)
                self._apply(xp, lr, p, self._gradient(xp, p, g, factor, room), room, *s)

    def _apply(self, xp: ModuleType, lr: float, p: Array, g: Array, room: Array, *state: Array) -> None:
        """One step of `p` in place; `g` is only read, `room` is scratch of p's shape and dtype."""
        raise NotImplementedError

    def launch(self, lr: float, p: Array, g: Array, state: Sequence[Array], rules: Rules, done: Array | None) -> None:
        """`_apply` by one kernel, for all parameters side by side on a GPU.

        done: (1,) int64, how many updates were made before, where some are skipped without the host knowing.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Array]:
        """Copies of all that the next update depends on besides parameters: "t" and such names as "m.W1".

        The arrays are on the device where the parameters are; `lr` and other settings are not among them.
        """
        arrays = {f"{slot}.{name}": array.copy() for slot, held in self._state.items() for name, array in held.items()}
        return {"t": np.array(self._t, dtype=np.int64), **arrays}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Goes on exactly where `state_dict` was taken; arrays of another device move at the next update.

        Raises CheckpointError, having changed nothing, for names, shapes or dtypes that are not this optimizer's.
        One that has made no update yet does not know its parameters: its next update checks against them.
        """
        if "t" not in state:
            raise CheckpointError('the optimizer state has no "t" (updates done); it is not a state of this optimizer')
        steps = asnumpy(state["t"])
        if steps.shape != () or steps.dtype.kind not in "iu" or steps < 0:
            raise CheckpointError(f'the optimizer state\'s "t" is {steps!r}, not a count of updates')
        loaded: dict[str, dict[str, Array]] = {slot: {} for slot in self.slots}
        for key, array in state.items():
            if key == "t":
                continue
            slot, dot, name = key.partition(".")
            if not dot or slot not in loaded:
                expected = ", ".join(f"{slot}.<parameter>" for slot in self.slots) or "nothing else"
                raise CheckpointError(f'{type(self).__name__} keeps no {key!r}; its state is "t" and {expected}')
            loaded[slot][name] = array
        untouched = steps == 0 and not any(loaded.values())  # taken before the first update: no arrays yet
        for slot, arrays in loaded.items():
            if untouched:
                break
            known = {name: (array.shape, array.dtype) for name, array in self._state[slot].items()}
            other = next(iter(loaded.values()))
            _check_names(slot, arrays, known or other)
            for name, (shape, dtype) in known.items():
                _check_array(f"{slot}.{name}", arrays[name], shape, dtype)
        self._t = int(steps)
        self._state = {slot: {name: array.copy() for name, array in held.items()} for slot, held in loaded.items()}
        self._loaded, self._joined_in = not untouched, None

    def _prepare(self, params: Mapping[str, Array], grads: Mapping[str, Array]) -> ModuleType:
        """Checks the arrays against each other and has state of the same names, shapes and device; gives `xp`."""
        for name, param in params.items():
            if name not in grads:
                raise ConfigError(f"parameter {name!r} has no gradient; there are {', '.join(grads) or 'none'}")
            if grads[name].shape != param.shape:
                raise ShapeError(f"parameter {name!r} is {param.shape}, its gradient {grads[name].shape}")
            if param.dtype.kind != "f" or grads[name].dtype.kind != "f":
                raise ShapeError(f"parameter {name!r} is {param.dtype}, its gradient {grads[name].dtype}; use float32")
        xp = get_array_module(*params.values(), *(grads[name] for name in params))
        if xp is not self._xp:  # the first update, or the network has moved
            self._xp, self._scalars, self._scratch, self._joined_in = xp, None, {}, None
        for slot, held in self._state.items():
            if self._loaded:
                _check_names(slot, held, params)
            for name, param in params.items():
                if name not in held:
                    held[name] = xp.zeros(param.shape, dtype=param.dtype)
                    continue
                _check_array(f"{slot}.{name}", held[name], param.shape, param.dtype, loaded=self._loaded)
                if get_array_module(held[name]) is not xp:
                    held[name] = xp.asarray(asnumpy(held[name]))
        self._loaded = False
        return xp

    def _together(
        self, xp: ModuleType, params: Mapping[str, Array], grads: Mapping[str, Array], flat: FlatArrays | None
    ) -> list[tuple[Array, ...]]:
        """(parameter, gradient, *state) of each, or one of all where they lie side by side (see FlatArrays)."""
        if flat is not None:
            if self._joined_in is not flat:
                self._joined_in, self._joined = flat, [self._join(xp, flat, params, slot) for slot in self.slots]
            return [(flat.params, flat.grads, *self._joined)]
        return [(p, grads[name], *(self._state[slot][name] for slot in self.slots)) for name, p in params.items()]

    def _join(self, xp: ModuleType, flat: FlatArrays, params: Mapping[str, Array], slot: str) -> Array:
        """The state of one slot moved into one array, laid out as the parameters are."""
        whole = xp.zeros(flat.size, dtype=flat.params.dtype)
        views = flat.views_of(whole, params)
        for name, view in views.items():
            view[...] = self._state[slot][name]
        self._state[slot] = views
        return whole

    def _gradient(self, xp: ModuleType, p: Array, g: Array, factor: Array | None, room: Array) -> Array:
        """The clipped and decayed gradient: `g` itself where there is nothing to do, else scratch 0."""
        result = self._limit(xp, g, p)
        if factor is not None:
            result = xp.multiply(result, factor, out=self._room(xp, 0, p))
        if self.decay_in_gradient and self.weight_decay:
            xp.multiply(p, self.weight_decay, out=room)
            result = xp.add(result, room, out=self._room(xp, 0, p))
        return result

    def _limit(self, xp: ModuleType, g: Array, p: Array) -> Array:
        if self.clip_value is None:
            return g
        limited = xp.maximum(g, -self.clip_value, out=self._room(xp, 0, p))
        return xp.minimum(limited, self.clip_value, out=limited)

    def _clip_scale(self, xp: ModuleType, together: list[tuple[Array, ...]], most: float) -> Array:
        """min(1, most / norm) as a 0-d float64 array on the device; NaN where a gradient is NaN.

        A norm above 1.8e19 overflows float32 squares and counts as infinite: that step then moves nothing.
        """
        if self._scalars is None:
            self._scalars = xp.zeros((), dtype=np.float64), xp.zeros((), dtype=np.float64)
        total, part = self._scalars
        total.fill(0.0)
        for param, grad, *_ in together:
            for p, g in _pieces(xp, param, grad):
                squares = self._room(xp, 1, p)
                limited = self._limit(xp, g, p)
                xp.multiply(limited, limited, out=squares)
                xp.sum(squares, dtype=np.float64, out=part)
                xp.add(total, part, out=total)
        xp.sqrt(total, out=total)
        xp.maximum(total, most, out=total)  # so that a norm within the limit gives exactly 1
        xp.divide(most, total, out=total)
        return total

    def _room(self, xp: ModuleType, which: int, like: Array) -> Array:
        """Scratch of the shape and dtype of `like`, out of one buffer for all parameters."""
        key = which, like.dtype.str
        held = self._scratch.get(key)
        if held is None or held.size < like.size:
            held = self._scratch[key] = xp.empty(like.size, dtype=like.dtype)
        return held[: like.size].reshape(like.shape)


def _flat_of(params: object, grads: object) -> FlatArrays | None:
    """What both are views of, if they are."""
    flat = getattr(params, "flat", None)
    return flat if isinstance(flat, FlatArrays) and getattr(grads, "flat", None) is flat else None


def _pieces(xp: ModuleType, *arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays of one shape, cut alike into flat pieces on the host where that can be done without copying."""
    size = arrays[0].size
    if xp is not np or size <= _PIECE or not all(array.flags.c_contiguous for array in arrays):
        yield arrays
        return
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, size, _PIECE):
        yield tuple(array[start : start + _PIECE] for array in flat)


def _check_names(slot: str, held: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    if held.keys() != wanted.keys():
        lacks, extra = sorted(wanted.keys() - held.keys()), sorted(held.keys() - wanted.keys())
        raise CheckpointError(
            f'the optimizer state "{slot}" is for other parameters: '
            f"missing {', '.join(lacks) or 'none'}; unknown {', '.join(extra) or 'none'}"
        )


def _check_array(key: str, array: Array, shape: tuple[int, ...], dtype: np.dtype, loaded: bool = True) -> None:
    if array.shape != shape or array.dtype != dtype:
        kind = CheckpointError if loaded else ShapeError
        raise kind(f"the optimizer state {key!r} is {array.shape} {array.dtype}, the parameter {shape} {dtype}")
