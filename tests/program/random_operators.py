"""All generators of random steps: to add a function to random programs, add a generator to one of these files."""

from tests.program import random_elementwise, random_moves, random_reductions
from tests.program.random_generators import GENERATORS, Generator

__all__ = ["GENERATORS", "Generator", "random_elementwise", "random_moves", "random_reductions"]
