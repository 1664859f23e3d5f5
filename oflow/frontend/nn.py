"""`of.nn`: everything a model is declared with."""

from oflow.frontend.layers import GELU, Embedding, LayerNorm, Linear, ModuleList, ReLU, RMSNorm, Sequential
from oflow.frontend.module import Buffer, Module, Parameter, parameter_aliases, parameter_names
from oflow.frontend.recommender import EmbeddingBag
from oflow.frontend.transformer import GEGLU, Attention, Dropout, SwiGLU
from oflow.frontend.vision import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    GroupNorm,
    InstanceNorm2d,
    MaxPool2d,
)

__all__ = [
    "GEGLU", "GELU", "AdaptiveAvgPool2d", "Attention", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Buffer", "Conv2d",
    "ConvTranspose2d", "Dropout", "Embedding", "EmbeddingBag", "GroupNorm", "InstanceNorm2d", "LayerNorm", "Linear", "MaxPool2d", "Module",
    "ModuleList", "Parameter", "RMSNorm", "ReLU", "Sequential", "SwiGLU", "parameter_aliases", "parameter_names",
]  # fmt: skip
