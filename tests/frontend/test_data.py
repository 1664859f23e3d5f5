"""Batches of one fixed shape."""

import numpy as np
import pytest

from oflow.errors import ShapeError
from oflow.frontend import data

X, Y = np.arange(20).reshape(10, 2), np.arange(10)


def test_pad_repeats_the_first_row_and_masks_it():
    x, y, mask = data.pad((X[:3], Y[:3]), 5)
    assert x.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [0, 1]]
    assert y.tolist() == [0, 1, 2, 0, 0]
    assert mask.tolist() == [True] * 3 + [False] * 2


def test_batches_drop_or_pad_the_rest():
    dropped = list(data.batches((X, Y), 4))
    assert [y.tolist() for _, y in dropped] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    padded = list(data.batches((X, Y), 4, last="pad"))
    assert [mask.sum() for *_, mask in padded] == [4, 4, 2]
    assert np.concatenate([y[mask] for _, y, mask in padded]).tolist() == Y.tolist()


def test_shuffled_epochs_are_fixed_by_the_seed():
    def rows(seed):
        return [y.tolist() for _, y in data.shuffled((X, Y), 5, seed=seed, epochs=2)]

    assert rows(3) == rows(3) != rows(4)
    first, second = np.concatenate(rows(3)[:2]), np.concatenate(rows(3)[2:])
    assert sorted(first) == sorted(second) == Y.tolist() and first.tolist() != second.tolist()


def test_a_run_can_go_on_where_it_stopped():
    feed = data.shuffled((X, Y), 3, epochs=3)
    assert len(feed) == 9 and len(feed[4:]) == 5
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(list(feed)[4:], feed[4:], strict=True))
    assert np.array_equal(feed[-1][0], feed[8][0])
    with pytest.raises(IndexError):
        feed[9]


def test_mistakes():
    with pytest.raises(ShapeError, match=r"\[10, 9\]"):
        data.batches((X, Y[:9]), 2)
    with pytest.raises(ShapeError, match="cannot be filled"):
        data.pad((X,), 5)
    with pytest.raises(ShapeError, match="do not fill"):
        data.shuffled((X,), 11)
    with pytest.raises(ShapeError, match="'drop'"):
        data.batches((X,), 2, last="keep")
