"""What happens beside training, one callback a file."""

from xpcnn.training.callbacks.base import Callback
from xpcnn.training.callbacks.checkpoints import Checkpoints
from xpcnn.training.callbacks.early_stopping import EarlyStopping
from xpcnn.training.callbacks.metrics import MetricsFiles
from xpcnn.training.callbacks.nan_guard import NanGuard
from xpcnn.training.callbacks.progress import Progress

__all__ = ["Callback", "Checkpoints", "EarlyStopping", "MetricsFiles", "NanGuard", "Progress"]
