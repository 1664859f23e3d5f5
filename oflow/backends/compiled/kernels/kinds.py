"""Numbers by which blocks name dtypes: forms write them, kernels read them. No numba here."""

SCALARS = {"float32": 1, "float64": 2, "int64": 3}
"""dtype of a scalar operand; 0 stands for an operand that is not given."""
