"""Every error that xpcnn raises on purpose: one base class, one class per kind of cause; and its one warning.

Messages follow one pattern: what was given, what was expected, what to do.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "DistributedError",
    "InputWarning",
    "ShapeError",
    "TrainingError",
    "XpcnnError",
]


class XpcnnError(Exception):
    """Base of all errors that xpcnn raises on purpose; catching it catches them all."""


class DeviceError(XpcnnError):
    """A device that cannot be used, or arrays of two devices meeting in one operation."""


class DistributedError(XpcnnError):
    """Processes that train together and do not agree, or one of which is gone."""


class ShapeError(XpcnnError, ValueError):
    """An array whose shape or dtype does not fit the operation, layer or network it was given to."""


class DataError(XpcnnError, ValueError):
    """A data file or array that is missing, damaged or not what its name says."""


class CheckpointError(XpcnnError):
    """A parameter file or checkpoint that is damaged or does not fit the network."""


class ConfigError(XpcnnError, ValueError):
    """An option, name or configuration value that xpcnn does not know or cannot accept."""


class TrainingError(XpcnnError):
    """A run that cannot go on: a loss that is no longer finite, or memory that ran out."""


class InputWarning(UserWarning):
    """Input that can be worked with but is most likely not what was meant, such as pictures that were not scaled."""
