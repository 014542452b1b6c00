"""How a batch goes through a network; layers do not know which way was taken."""

from xpcnn.executors.eager import EagerExecutor

__all__ = ["EagerExecutor"]
