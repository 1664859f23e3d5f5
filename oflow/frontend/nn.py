"""`of.nn`: everything a model is declared with."""

from oflow.frontend.layers import GELU, Conv2d, Embedding, LayerNorm, Linear, ModuleList, ReLU, RMSNorm, Sequential
from oflow.frontend.module import Buffer, Module, Parameter, parameter_aliases, parameter_names

__all__ = [
    "GELU", "Buffer", "Conv2d", "Embedding", "LayerNorm", "Linear", "Module", "ModuleList", "Parameter", "RMSNorm", "ReLU",
    "Sequential", "parameter_aliases", "parameter_names",
]  # fmt: skip
