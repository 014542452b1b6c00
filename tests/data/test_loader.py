import gc
import threading

import numpy as np
import pytest

from xpcnn.data.augment import parse_augment
from xpcnn.data.dataset import as_float
from xpcnn.data.loader import Loader
from xpcnn.errors import ConfigError, DataError

X = np.random.default_rng(0).integers(0, 256, (53, 2, 5, 4), dtype=np.uint8)
T = np.arange(53)


def loader(**options):
    return Loader(X, T, **({"batch_size": 10, "seed": 4, "scale": 1 / 255} | options))


def running():
    return [thread for thread in threading.enumerate() if thread.name == "xpcnn-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert running() == []


def assert_same(left, right):
    left, right = list(left), list(right)
    assert len(left) == len(right)
    for (x, t), (other_x, other_t) in zip(left, right, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(t, other_t)
        assert x.dtype == other_x.dtype


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_whole_passes(prefetch):
    made = loader(prefetch=prefetch)
    orders = []
    for epoch in range(3):
        batches = list(made.epoch(epoch))
        assert [len(x) for x, _ in batches] == [10, 10, 10, 10, 10, 3]
        order = np.concatenate([t for _, t in batches])
        assert sorted(order.tolist()) == T.tolist()  # each once
        x = np.concatenate([x for x, _ in batches])
        np.testing.assert_array_equal(x, as_float(X)[order])
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2] != T.tolist()


@pytest.mark.parametrize(
    ("n", "size", "drop_last", "expected"),
    [(50, 10, False, 5), (50, 10, True, 5), (53, 10, False, 6), (53, 10, True, 5), (3, 10, False, 1), (1, 1, True, 1)],
)
def test_length(n, size, drop_last, expected):
    made = Loader(X[:n], T[:n], size, drop_last=drop_last)
    assert len(made) == expected
    assert len(list(made.epoch(0))) == expected


def test_without_shuffling():
    t = np.concatenate([t for _, t in loader(shuffle=False).epoch(3)])
    np.testing.assert_array_equal(t, T)


@pytest.mark.parametrize("augment", [None, "shift=1,rotate=20,flip"])
def test_any_batch_alone(augment):
    """Prefetching, starting in mid-epoch and making one batch all give the same bits."""
    options = {"augment": parse_augment(augment)} if augment else {}
    whole = list(loader(prefetch=0, **options).epoch(7))
    assert_same(whole, loader(prefetch=3, **options).epoch(7))
    assert_same(whole, [loader(**options).batch(7, number) for number in reversed(range(6))][::-1])
    for start in (1, 5, 6):
        for prefetch in (0, 2):
            assert_same(whole[start:], loader(prefetch=prefetch, **options).epoch(7, start))
    other = next(loader(prefetch=0, seed=5, **options).epoch(7))
    assert other[1].tolist() != whole[0][1].tolist()


def test_augmentation_differs_by_batch_and_epoch():
    drawn = []

    def note(x, rng):
        drawn.append(rng.integers(2**62))
        return x

    for epoch in range(2):
        list(loader(augment=note, prefetch=0).epoch(epoch))
    assert len(set(drawn)) == len(drawn) == 12


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scale(dtype):
    x = np.arange(256, dtype=np.uint8).reshape(256, 1)
    options = {"batch_size": 256, "shuffle": False, "dtype": dtype}
    t = np.arange(256)

    def first(x, **more):
        return next(iter(list(Loader(x, t, **options, **more).epoch(0))))[0]

    np.testing.assert_array_equal(first(x, scale=1 / 255), as_float(x, dtype))
    np.testing.assert_array_equal(first(x), x.astype(dtype))
    np.testing.assert_array_equal(first(x, scale=0.3), x.astype(dtype) * 0.3)
    np.testing.assert_array_equal(first(x, scale=0.0), np.zeros((256, 1)))
    np.testing.assert_array_equal(first(x.astype(dtype), scale=0.5), x)  # floats are as they should be already
    assert all(first(x, scale=scale).dtype == dtype for scale in (None, 1 / 255, 0.3))
    assert first(x.astype(np.float64)).dtype == dtype


def test_batches_own_their_memory():
    x = X.astype(np.float32)
    kept = x.copy()
    for prefetch in (0, 2):
        for batch, labels in Loader(x, T, 10, prefetch=prefetch, shuffle=False).epoch(0):
            batch[...] = -1
            labels[...] = -1
    np.testing.assert_array_equal(x, kept)
    assert T.tolist() == list(range(53))


def test_one_hot_and_flat():
    made = Loader(X.reshape(53, -1), np.eye(53, dtype=np.float32), 20, seed=1)
    for x, t in made.epoch(0):
        assert x.shape[1:] == (40,)
        np.testing.assert_array_equal(x, X.reshape(53, -1)[t.argmax(axis=1)])


def test_an_error_in_the_thread_comes_out():
    calls = []

    def fail(x, rng):
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError("in the thread")
        return x

    got = []
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        got.extend(loader(augment=fail).epoch(0))
    assert running() == []


def test_wrong_augment():
    for prefetch in (0, 2):
        with pytest.raises(DataError, match="augment turned float32"):
            list(loader(augment=lambda x, rng: x[:, :1], prefetch=prefetch).epoch(0))
        with pytest.raises(DataError, match="float64"):
            list(loader(augment=lambda x, rng: x.astype(np.float64), prefetch=prefetch).epoch(0))


def test_break_ends_the_thread():
    made = loader(prefetch=1)
    for _ in made.epoch(0):
        break
    gc.collect()
    assert running() == []


def test_exception_and_close_end_the_thread():
    batches = loader(prefetch=2).epoch(0)
    next(batches)
    assert len(running()) == 1
    batches.close()
    assert running() == []
    batches = loader(prefetch=2).epoch(0)
    next(batches)
    with pytest.raises(KeyError):
        batches.throw(KeyError("consumer"))
    assert running() == []


def test_no_thread_before_it_is_needed():
    batches = loader(prefetch=2).epoch(0)
    assert running() == []
    del batches
    batches = loader(prefetch=0).epoch(0)
    next(batches)
    assert running() == []


def test_prefetch_is_bounded():
    """With room for two, the thread makes at most two, and one more that it holds, ahead of the consumer."""
    made, enough = [], threading.Semaphore(0)

    def note(x, rng):
        made.append(1)
        enough.release()
        return x

    batches = Loader(X, T, 1, augment=note, prefetch=2).epoch(0)
    next(batches)
    for _ in range(4):  # the one taken, two in the queue, one in hand
        assert enough.acquire(timeout=10)
    batches.close()  # says stop before it makes room, so a fifth is never begun
    assert len(made) == 4


def test_leaving_early_many_times():
    made = Loader(X, T, 1, prefetch=1)
    for taken in range(100):
        batches = made.epoch(0)
        for _ in range(taken % 5 + 1):
            next(batches)
        batches.close()
        assert running() == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ConfigError),
        ({"prefetch": -1}, ConfigError),
        ({"dtype": "int32"}, ConfigError),
        ({"batch_size": 54, "drop_last": True}, ConfigError),
    ],
)
def test_wrong_options(options, error):
    with pytest.raises(error, match="given|leave nothing"):
        loader(**options)


def test_wrong_arrays():
    with pytest.raises(DataError, match="53 samples and 52 labels"):
        Loader(X, T[:-1])
    with pytest.raises(DataError, match="0 samples"):
        Loader(X[:0], T[:0])
    with pytest.raises(DataError, match="x is a list"):
        Loader([1], T[:1])


def test_wrong_places():
    made = loader()
    for epoch, start in ((-1, 0), (0, -1), (0, 7)):
        with pytest.raises(ConfigError, match="start"):
            made.epoch(epoch, start)
    assert list(made.epoch(0, 6)) == []
    for number in (-1, 6):
        with pytest.raises(ConfigError, match="batches 0 to 5"):
            made.batch(0, number)


# -- parts of batches, for several processes -----------------------------------------------------------------------


@pytest.mark.parametrize("augment", [None, lambda x, rng: x + rng.random(x.shape, dtype=np.float32)])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_the_parts_of_all_ranks_are_the_batches_of_one(ranks, augment):
    x, t = np.arange(46, dtype=np.uint8).reshape(23, 2), np.arange(23)
    options = {"batch_size": 7, "seed": 4, "scale": 1 / 255, "augment": augment}

    def part(rank):
        return lambda n: slice(n * rank // ranks, n * (rank + 1) // ranks)

    whole = list(Loader(x, t, **options).epoch(3))
    each = [list(Loader(x, t, part=part(rank), **options).epoch(3)) for rank in range(ranks)]
    assert [len(labels) for _, labels in whole] == [7, 7, 7, 2]
    for number, (pictures, labels) in enumerate(whole):
        parts = [batches[number] for batches in each]
        assert np.concatenate([p for p, _ in parts]).tobytes() == pictures.tobytes()
        assert all(p.dtype == np.float32 and p.shape[1:] == (2,) for p, _ in parts)
        assert all((all_labels == labels).all() for _, all_labels in parts)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_every_third_batch(prefetch):
    x, t = np.arange(46.0, dtype=np.float32).reshape(23, 2), np.arange(23)
    loader = Loader(x, t, batch_size=4, prefetch=prefetch)
    whole = list(loader.epoch(1))
    for start in (0, 1, 2, 5, 6):
        found = list(loader.epoch(1, start, 3))
        assert [labels.tolist() for _, labels in found] == [labels.tolist() for _, labels in whole[start::3]]
