"""Training: the loop, its callbacks, its checkpoints."""

from xpcnn.training.history import History
from xpcnn.training.trainer import Trainer

__all__ = ["History", "Trainer"]
