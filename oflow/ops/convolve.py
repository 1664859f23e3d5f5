"""What users call to convolve: conv2d with PyTorch's arguments, conv1d, and their transposes."""

from __future__ import annotations

from typing import Any

from oflow.errors import ShapeError
from oflow.ops.arithmetic import add
from oflow.ops.columns import Pair, margins, pair
from oflow.ops.convolution import conv2d_grad_input, convolve
from oflow.ops.shape import reshape
from oflow.ops.tensor import Tensor, user_line

Padding = int | tuple[Any, Any] | str
"""A number, (rows, columns), ((above, below), (left, right)), "valid" (none) or "same"."""


def _settings(kernel: tuple[int, ...], stride: int | Pair, padding: Padding, dilation: int | Pair, groups: int) -> dict[str, Any]:
    """The operator's attributes; those that have their default value are left out."""
    given = {
        "stride": pair(stride), "padding": _margins(kernel, padding, pair(stride), pair(dilation)),
        "dilation": pair(dilation), "groups": groups,
    }  # fmt: skip
    default = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    return {name: value for name, value in given.items() if value != default[name]}


def _margins(kernel: tuple[int, ...], padding: Padding, stride: Pair, dilation: Pair) -> Any:
    if padding == "valid":
        return 0, 0
    if padding == "same":
        if stride != (1, 1):
            raise ShapeError(f'padding="same" needs a stride of 1, got {stride}', line=user_line())
        extra = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        found = tuple((n // 2, n - n // 2) for n in extra)
    elif isinstance(padding, str):
        raise ShapeError(f'padding is a number, a pair, "same" or "valid", not {padding!r}', line=user_line())
    else:
        found = margins(padding)
    return tuple(side[0] for side in found) if all(a == b for a, b in found) else found


def conv2d(
    x: Tensor, w: Tensor, bias: Tensor | None = None, *, stride: int | Pair = 1, padding: Padding = 0,
    dilation: int | Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of images x (n, groups ci, h, w) with w (groups co, ci, kh, kw), plus bias (groups co,) where given.

    Returns (n, groups co, ho, wo) with ho = (h + above + below - dilation (kh - 1) - 1) // stride + 1. stride, dilation: a number or
    (rows, columns). padding: zeros around each image, as a number, (rows, columns), ((above, below), (left, right)), "valid", or
    "same" (ho = h; stride 1; the odd zero comes last). Output channel c reads the input channels of group c // co. ci = 1 is
    a depthwise convolution. Raises ShapeError where shapes, groups or dtypes do not fit.
    """
    y: Tensor = convolve(x, w, **_settings(w.shape[2:] if w.ndim == 4 else (1, 1), stride, padding, dilation, groups))
    return y if bias is None else add(y, reshape(bias, (-1, 1, 1)))


def conv_transpose2d(
    x: Tensor, w: Tensor, bias: Tensor | None = None, *, stride: int | Pair = 1, padding: int | tuple[Any, Any] = 0,
    output_padding: int | Pair = 0, dilation: int | Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The transpose of conv2d: x (n, groups ci, h, w), w (groups ci, co, kh, kw) -> (n, groups co, ho, wo).

    ho = (h - 1) stride - above - below + dilation (kh - 1) + output_padding + 1; output_padding (below stride or dilation) chooses among
    the sizes that conv2d maps to h. Raises ShapeError where shapes do not fit.
    """
    if x.ndim != 4 or w.ndim != 4:
        raise ShapeError(f"wants images (n, ci, h, w) and weights (ci, co, kh, kw), got {x.type} and {w.type}", line=user_line())
    steps, apart, sides, more = pair(stride), pair(dilation), margins(padding), pair(output_padding)
    image = tuple(
        (n - 1) * steps[i] - sum(sides[i]) + apart[i] * (k - 1) + more[i] + 1
        for i, (n, k) in enumerate(zip(x.shape[2:], w.shape[2:], strict=True))
    )
    y: Tensor = conv2d_grad_input(x, w, image=image, **_settings(w.shape[2:], stride, padding, dilation, groups))
    return y if bias is None else add(y, reshape(bias, (-1, 1, 1)))


def conv1d(
    x: Tensor, w: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int | Pair | str = 0, dilation: int = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of signals x (n, groups ci, l) with w (groups co, ci, k), plus bias (groups co,): (n, groups co, lo).

    padding: zeros on both sides, (before, after), "valid" or "same". Computed as conv2d of images of one row.
    """
    if x.ndim != 3 or w.ndim != 3:
        raise ShapeError(f"wants signals (n, ci, l) and weights (co, ci, k), got {x.type} and {w.type}", line=user_line())
    sides: Padding = padding if isinstance(padding, str) else ((0, 0), pair(padding))
    rows = (reshape(x, (*x.shape[:2], 1, x.shape[2])), reshape(w, (*w.shape[:2], 1, w.shape[2])))
    y = conv2d(*rows, bias, stride=(1, stride), padding=sides, dilation=(1, dilation), groups=groups)
    return reshape(y, (*y.shape[:2], y.shape[3]))
