"""Kernels work in the slots and workspaces they are given: on large operands they allocate only small blocks."""

import tracemalloc

import numpy as np
import pytest

from oflow.ops import REGISTRY
from oflow.ops.op import Shards
from oflow.types import freeze
from tests.ops.shards import type_of

LIMIT = 256 << 10
"""Bytes at once; no single temporary is larger than 64 KiB."""


def floats(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype("float32")


def numbers(below, *shape):
    return np.random.default_rng(4).integers(0, below, shape)


X, WIDE = (4096, 512), (16, 50_000)
SCALAR = np.float32(0.1)
CASES = {
    "softmax": ((floats(*X),), {}),
    "softmax wide": ((floats(*WIDE),), {}),
    "softmax_grad": ((floats(*X), floats(*X)), {}),
    "layer_norm": ((floats(*X), floats(512), floats(512)), {}),
    "layer_norm wide": ((floats(*WIDE), floats(50_000), floats(50_000)), {}),
    "layer_norm_grad": ((floats(*X), floats(*X), floats(512)), {}),
    "rms_norm": ((floats(*X), floats(512)), {}),
    "rms_norm_grad": ((floats(*X), floats(*X), floats(512)), {}),
    "causal_attention": ((floats(2, 500, 8, 32), floats(2, 500, 8, 32), floats(2, 500, 8, 32)), {"scale": 0.2}),
    "causal_attention_grad": ((*[floats(2, 500, 8, 32)] * 5, floats(2, 8, 500)), {"scale": 0.2}),
    "causal_softmax": ((floats(32, 256, 256),), {"scale": 0.5}),
    "causal_softmax_grad": ((floats(32, 256, 256), floats(32, 256, 256)), {"scale": 0.5}),
    "softmax_cross_entropy": ((floats(*X), numbers(512, 4096)), {}),
    "softmax_cross_entropy_grad wide": ((floats(*WIDE), numbers(50_000, 16), abs(floats(16, 2)), floats(16)), {}),
    "embedding": ((numbers(3000, 64, 256), floats(3000, 128)), {"rows": 3000}),
    "embedding_grad": ((numbers(3000, 64, 256), floats(64, 256, 128)), {"rows": 3000}),
    "conv2d": ((floats(4, 16, 64, 64), floats(32, 16, 3, 3)), {"padding": 1}),
    "conv2d_grad_input": ((floats(4, 32, 64, 64), floats(32, 16, 3, 3)), {"padding": 1, "image": (64, 64)}),
    "conv2d_grad_weight": ((floats(4, 16, 64, 64), floats(4, 32, 64, 64)), {"padding": 1, "kernel": (3, 3)}),
    "max_pool2d": ((floats(4, 64, 64, 64),), {"size": 2}),
    "max_pool2d_grad": ((floats(4, 64, 32, 32), floats(4, 64, 64, 64), floats(4, 64, 32, 32)), {"size": 2}),
    "avg_pool2d": ((floats(4, 64, 64, 64),), {"size": 2}),
    "avg_pool2d_grad": ((floats(4, 64, 32, 32),), {"size": 2, "image": (64, 64)}),
    "conv2d groups": ((floats(4, 16, 64, 64), floats(32, 2, 3, 3)), {"padding": 1, "groups": 8, "dilation": 2}),
    "max_pool2d padded": ((floats(4, 64, 64, 64),), {"size": 3, "stride": 2, "padding": 1}),
    "class_sums": ((floats(*X), numbers(512, 4096), floats(4096)), {"classes": 512}),
    "class_sums_grad wide": ((floats(*WIDE), numbers(50_000, 16), *[floats(16)] * 3), {"classes": 50_000}),
    "weighted_embedding_bag": ((numbers(3000, 512, 8), floats(3000, 128), floats(512, 8)), {"rows": 3000, "padding_idx": 5}),
    "weighted_embedding_bag_grad": ((numbers(3000, 512, 8), floats(512, 128), floats(512, 8)), {"rows": 3000, "padding_idx": 5}),
    "embedding_bag_weight_grad": ((numbers(3000, 512, 8), floats(512, 128), floats(3000, 128)), {"rows": 3000}),
    "embedding_bag_max": ((numbers(3000, 512, 8), floats(3000, 128)), {"rows": 3000, "padding_idx": 5}),
    "embedding_bag_max_grad": ((numbers(3000, 512, 8), floats(512, 128), floats(512, 128), floats(3000, 128)), {"rows": 3000}),
    "segment_max": ((numbers(300, 4096), floats(4096, 128)), {"rows": 300}),
    "adamw_rows_update": ((*[abs(floats(3000, 128))] * 3, numbers(3000, 4096), floats(4096, 128), SCALAR, SCALAR), {"rows": 3000}),
    "rows_sum_squares": ((numbers(3000, 4096), floats(4096, 128)), {"rows": 3000}),
    "adagrad_update": ((floats(*X), abs(floats(*X)), floats(*X), SCALAR), {"weight_decay": 0.1}),
    "sgd_update": ((floats(*X), floats(*X), SCALAR), {"weight_decay": 0.1}),
    "momentum_update": ((floats(*X), floats(*X), floats(*X), SCALAR), {"weight_decay": 0.1}),
    "adamw_update": ((floats(*X), floats(*X), abs(floats(*X)), floats(*X), SCALAR, SCALAR), {"weight_decay": 0.1}),
    "assign": ((floats(*X), floats(*X)), {}),
    "sum_squares": ((floats(*X),), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_temporaries_are_small(case):
    op = REGISTRY[case.partition(" ")[0]]
    operands, attrs = CASES[case]
    operands = [np.asarray(x) for x in operands]
    ins = tuple(map(type_of, operands))
    outs = op.infer(ins, attrs)
    boxes = [tuple(tuple((0, n) for n in t.shape) for t in side) for side in (ins, outs)]
    local = dict(freeze(op.local_attrs(attrs, Shards(*boxes))))
    nbytes = op.workspace_nbytes(ins, outs, local)
    results = [np.ones(t.shape, t.dtype) for t in outs]
    passed = [x for i, x in enumerate(operands) if i not in op.inplace.values()]
    if nbytes:
        local["workspace"] = np.zeros(nbytes, "uint8")
    op.run(*results, *passed, **local)
    tracemalloc.start()
    op.run(*results, *passed, **local)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LIMIT, f"{case} allocates {peak} bytes"
