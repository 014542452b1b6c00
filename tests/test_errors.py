"""The error classes: one base, and the built-in kinds that callers outside xpcnn would catch."""

from __future__ import annotations

import inspect

import pytest

from xpcnn import errors


def test_all_lists_every_class() -> None:
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value) and not name.startswith("_")}
    assert set(errors.__all__) == defined
    assert {"XpcnnError", "DeviceError", "ShapeError", "DataError", "CheckpointError", "ConfigError"} <= defined


def test_the_warning_is_the_users_and_no_error() -> None:
    assert issubclass(errors.InputWarning, UserWarning)
    assert not issubclass(errors.InputWarning, errors.XpcnnError)


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"XpcnnError", "InputWarning"}))
def test_the_base_catches_each(name: str) -> None:
    kind = getattr(errors, name)
    with pytest.raises(errors.XpcnnError, match="what was given"):
        raise kind("what was given")
    assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("name", "is_value_error"),
    [
        ("ShapeError", True),
        ("DataError", True),
        ("ConfigError", True),
        ("DeviceError", False),
        ("CheckpointError", False),
        ("TrainingError", False),
    ],
)
def test_wrong_values_are_value_errors_too(name: str, is_value_error: bool) -> None:
    assert issubclass(getattr(errors, name), ValueError) is is_value_error
