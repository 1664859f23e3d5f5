"""The compiled loop and its parts: numba code over a worker's world."""
