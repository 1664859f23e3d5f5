"""Windows of images, and the columns that a convolution multiplies (im2col): what the kernels of convolutions and pooling share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from oflow.errors import ShapeError
from oflow.ops.blocks import carve
from oflow.ops.op import Attributes

Pair = tuple[int, int]
Shape = tuple[int, ...]
Margins = tuple[Pair, Pair]
"""Zeros around an image: ((above, below), (left, right))."""


def pair(value: int | tuple[int, int]) -> Pair:
    """(rows, columns) from one number for both, or from two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def margins(padding: int | tuple[Any, Any]) -> Margins:
    """Zeros around an image from one number, from (rows, columns), or from ((above, below), (left, right))."""
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    return pair(rows), pair(columns)


def windows(n: int, size: int, stride: int, padding: int | Pair = 0, dilation: int = 1) -> int:
    """How many windows of `size` elements, `dilation` apart, fit into n elements between margins. Raises ShapeError for none."""
    before, after = pair(padding)
    reach = dilation * (size - 1) + 1
    if n + before + after < reach or min(stride, dilation) < 1 or min(before, after) < 0:
        raise ShapeError(
            f"a window of {size}, stride {stride}, padding {padding}, dilation {dilation} does not fit into {n} elements"
        )
    return (n + before + after - reach) // stride + 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the windows of a convolution lie."""

    stride: Pair
    margins: Margins
    dilation: Pair

    @classmethod
    def of(cls, attrs: Attributes) -> Geometry:
        return cls(pair(attrs.get("stride", 1)), margins(attrs.get("padding", 0)), pair(attrs.get("dilation", 1)))

    def results(self, image: Shape, kernel: Shape) -> Pair:
        """(ho, wo) for an image (h, w) and a kernel (kh, kw)."""
        high, wide = (windows(image[i], kernel[i], self.stride[i], self.margins[i], self.dilation[i]) for i in (0, 1))
        return high, wide

    def padded(self, image: Shape) -> Shape:
        return image[0], image[1] + sum(self.margins[0]), image[2] + sum(self.margins[1])


# ------------------------------------------------------------ im2col


class Columns:
    """The workspace of one image (groups ci, h, w): the padded image and its columns (groups, ci kh kw, ho wo)."""

    def __init__(
        self, workspace: np.ndarray, image: Shape, kernel: Shape, result: Shape, groups: int, attrs: Attributes, dtype: np.dtype
    ) -> None:
        where = Geometry.of(attrs)
        (above, _), (left, _) = where.margins
        self.padded = carve(workspace, 0, where.padded(image), dtype)
        self.columns = carve(workspace[self.padded.nbytes :], 0, (image[0], *kernel, *result), dtype)
        self.depth, self.area = image[0] // max(1, groups) * math.prod(kernel), math.prod(result)
        self.matrices = self.columns.reshape(groups, self.depth, self.area)
        self.rest = workspace[self.padded.nbytes + self.columns.nbytes :]
        self.inner = self.padded[:, above : above + image[1], left : left + image[2]]
        self.kernel, self.result, self.stride, self.dilation = kernel, result, where.stride, where.dilation
        self.padded[...] = 0

    def _window(self, i: int, j: int) -> np.ndarray:
        (high, wide), (down, right) = self.result, self.stride
        i, j = i * self.dilation[0], j * self.dilation[1]
        return self.padded[:, i : i + down * high : down, j : j + right * wide : right]

    def gather(self, image: np.ndarray) -> np.ndarray:
        """im2col: columns (groups, ci kh kw, ho wo) of the image."""
        np.copyto(self.inner, image)
        for i, j in np.ndindex(self.kernel):
            np.copyto(self.columns[:, i, j], self._window(i, j))
        return self.matrices

    def scatter(self, image: np.ndarray) -> None:
        """The transpose of `gather`: adds the columns up into the image."""
        self.padded[...] = 0
        for i, j in np.ndindex(self.kernel):
            window = self._window(i, j)
            np.add(window, self.columns[:, i, j], out=window)
        np.copyto(image, self.inner)

    def of_results(self, y: np.ndarray) -> np.ndarray:
        """View of results (n, co, ho, wo) as (n, groups, co of a group, ho wo)."""
        groups = len(self.matrices)
        return y.reshape(y.shape[0], groups, y.shape[1] // max(1, groups), self.area)

    def of_weights(self, w: np.ndarray) -> np.ndarray:
        """View of weights (co, ci, kh, kw) as (groups, co of a group, ci kh kw)."""
        groups = len(self.matrices)
        return w.reshape(groups, w.shape[0] // max(1, groups), self.depth)


def columns_nbytes(image: Shape, kernel: Shape, result: Shape, attrs: Attributes, itemsize: int) -> int:
    columns = image[0] * math.prod(kernel) * math.prod(result)
    return (math.prod(Geometry.of(attrs).padded(image)) + columns) * itemsize
