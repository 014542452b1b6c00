"""Several processes that train one network: who they are, and sums over what they have."""

from xpcnn.communication.communicator import Alone, Communicator, Pending
from xpcnn.communication.lifeline import Lifeline
from xpcnn.communication.world import world

__all__ = ["Alone", "Communicator", "Lifeline", "Pending", "world"]
