"""What runs on a kind of device: memory and kernels, keyed by operator name."""

from oflow.backends.arena import Memory
from oflow.backends.numpy import link
from oflow.backends.reference import evaluate

__all__ = ["Memory", "evaluate", "link"]
