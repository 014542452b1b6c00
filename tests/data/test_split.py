import numpy as np

from xpcnn.data.split import stratified_split


def test_parts_of_every_class():
    labels = np.repeat([0, 1, 2, 3], [50, 10, 2, 1])
    kept, held_out = stratified_split(labels, 0)
    assert sorted([*kept, *held_out]) == list(range(63))
    assert np.bincount(labels[held_out], minlength=4).tolist() == [10, 2, 1, 0]
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()


def test_seed():
    labels = np.zeros(100, int)
    first, again, other = (stratified_split(labels, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_fraction():
    labels = np.zeros(10, int)
    assert len(stratified_split(labels, 0, 0.0)[1]) == 1
    assert len(stratified_split(labels, 0, 1.0)[0]) == 1
    assert len(stratified_split(labels[:0], 0)[1]) == 0
