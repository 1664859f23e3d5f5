"""Random operators: known answers of the generator, the same draws for every part of a tensor, and what they look like in the mean."""

from __future__ import annotations

import numpy as np
import pytest

import oflow as of
from oflow.ops import REGISTRY, philox
from tests.ops.shards import whole

SEED = 20260

# philox4x64-10 of Random123's kat_vectors: counter, key, result
KNOWN = [
    ((0,) * 4, (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
    (
        (2**64 - 1,) * 4, (2**64 - 1,) * 2,
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]  # fmt: skip


def rounds(counter, key):
    """Philox4x64-10, written out from the paper."""
    x, (k0, k1) = list(counter), key
    for _ in range(10):
        a, b = x[0] * 0xD2E7470EE14C6C93, x[2] * 0xCA5A826395121157
        x = [(b >> 64) ^ x[1] ^ k0, b % 2**64, (a >> 64) ^ x[3] ^ k1, a % 2**64]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % 2**64, (k1 + 0xBB67AE8584CAA73B) % 2**64
    return tuple(x)


def node(x, name="dropout", seed=1, step=0, stream="a", **attrs):
    """What the operator makes of an array."""
    operands = [x, np.asarray(seed), np.asarray(step), *map(np.arange, x.shape)]
    return whole(REGISTRY[name], operands, {"name": stream, "shape": x.shape, **attrs})[0]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_generator_gives_the_known_answers(counter, key, expected):
    assert rounds(counter, key) == expected


def test_stream_is_philox_of_block_and_step():
    seed, step, name = 2**62 + 3, 11, "layer"
    bits = philox.stream(seed, name, step, 8)
    expected = [word for block in range(3) for word in rounds((block, step, 0, 0), (philox._hash(name), seed))]
    assert bits(0, 12).tolist() == expected
    assert bits(5, 4).tolist() == expected[5:9]
    assert philox.stream(seed, name, step, 4)(3, 4).tolist() == np.array(expected, "<u8").view("<u4")[3:7].tolist()
    assert philox.stream(seed, name, step, 16)(2, 2).reshape(-1).tolist() == expected[4:8]


@pytest.mark.parametrize("shape", [(50, 40, 50), (100_000,), (10, 10_000), (3000, 3), (7, 1, 9), ()])
@pytest.mark.parametrize("name", ["dropout", "rand_like", "randn_like"])
def test_any_region_draws_its_part_of_the_whole(name, shape):
    random = np.random.default_rng(SEED)
    x = np.ones(shape, "float32")
    attrs = {"p": 0.3} if name == "dropout" else {}
    expected = node(x, name, **attrs)
    for _ in range(8):
        ends = [(0, n) if random.random() < 0.4 else sorted(random.integers(0, n + 1, 2)) for n in shape]
        region = tuple(slice(a, b) for a, b in ends)
        part = x[region]
        operands = [part, np.asarray(1), np.asarray(0), *(np.arange(a, b) for a, b in ends)]
        found = whole(REGISTRY[name], operands, {"name": "a", "shape": shape, **attrs})[0]
        np.testing.assert_array_equal(found, expected[region], err_msg=f"{region} (seed {SEED})")


def test_dropout_keeps_the_mean_and_the_share():
    x = np.ones((400, 500))
    for p in (0.1, 0.5, 0.9):
        y = node(x, p=p)
        assert set(np.unique(y)) == {0.0, 1 / (1 - p)}
        sigma = np.sqrt(p * (1 - p) / x.size)
        assert abs((y == 0).mean() - p) < 5 * sigma
        assert abs(y.mean() - 1) < 5 * sigma / (1 - p)


def test_what_is_dropped_is_zero_even_where_it_was_infinite():
    y = node(np.full((1000,), np.inf), p=0.5)
    assert set(np.unique(y)) == {0.0, np.inf}


def test_uniform_and_normal_numbers_look_like_it():
    x = np.zeros((1000, 300))
    u, n = node(x, "rand_like"), node(x, "randn_like")
    assert 0 <= u.min() < 1e-4 and 1 - 1e-4 < u.max() < 1
    counts, _ = np.histogram(u, 64, (0, 1))
    expected = u.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 130, "chi-square with 63 degrees of freedom"
    moments = [(n**k).mean() for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.06)


def test_float32_numbers_stay_below_one():
    u = node(np.zeros((2_000_000,), "float32"), "rand_like")
    assert u.dtype == np.float32 and u.max() < 1
    np.testing.assert_allclose(u[:1000], node(np.zeros((2_000_000,)), "rand_like")[:1000], atol=2**-23)


def test_seeds_steps_names_and_neighbours_are_independent():
    x = np.zeros((200, 500))
    draws = {
        "base": node(x, "rand_like"), "seed": node(x, "rand_like", seed=2), "step": node(x, "rand_like", step=1),
        "name": node(x, "rand_like", stream="b"),
    }  # fmt: skip
    base = draws["base"] - 0.5
    limit = 5 / np.sqrt(x.size) / 12
    for what, other in draws.items():
        if what != "base":
            assert abs((base * (other - 0.5)).mean()) < limit, what
    for shift in (1, 2, 4, 500):
        flat = base.reshape(-1)
        assert abs((flat[shift:] * flat[:-shift]).mean()) < limit, f"{shift} apart"


def test_errors_name_the_line():
    with pytest.raises(of.TraceError, match=r"test_random\.py.*p=1\.5"):
        of.compile(lambda x: of.dropout(x, 1.5), of.spec((3,)))
    with pytest.raises(of.TraceError, match="p=-1"):
        of.nn.Dropout(-1)
    with pytest.raises(of.ShapeError, match="floats"):
        of.compile(lambda x: of.dropout(x), of.spec((3,), "int64"))


def test_edges_of_p():
    x = np.arange(6, dtype="float32")
    spec = of.spec((6,))
    np.testing.assert_array_equal(of.compile(lambda x: of.dropout(x, 0.0), spec)(x), x)
    np.testing.assert_array_equal(of.compile(lambda x: of.dropout(x, 1.0), spec)(x), 0 * x)
    np.testing.assert_array_equal(of.compile(lambda x: of.dropout(x, 0.5, training=False), spec)(x), x)


def test_bernoulli_draws_ones_with_the_given_chance():
    p = np.broadcast_to(np.array([0.0, 0.2, 0.7, 1.0], "float32"), (20_000, 4)).copy()
    drawn = of.compile(lambda p: of.bernoulli(p), of.spec(p.shape))(p)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(0), p[0], atol=5 * 0.5 / np.sqrt(len(p)))
