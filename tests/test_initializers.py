"""Initial weights: their spread by the papers' formulas, their words, and one draw for both dtypes."""

import math

import numpy as np
import pytest

from xpcnn.errors import ConfigError
from xpcnn.initializers import WORDS, initial_weight
from xpcnn.rng import generator

SHAPE, FAN_IN, FAN_OUT = (300, 400), 300, 400


def draw(how, shape=SHAPE, fan_in=FAN_IN, fan_out=FAN_OUT, seed=0, dtype="float32"):
    return initial_weight(shape, fan_in, fan_out, how, generator(seed, "W1"), dtype)


VARIANCES = {
    0.01: 1e-4,
    2: 4.0,
    "he": 2 / 300,
    "relu": 2 / 300,
    "xavier": 1 / 300,
    "sigmoid": 1 / 300,
    "glorot": 2 / 700,
    "he_uniform": 2 / 300,
    "glorot_uniform": 2 / 700,
}


@pytest.mark.parametrize(("how", "variance"), VARIANCES.items())
def test_mean_and_variance(how, variance):
    """120,000 draws: the mean's standard error is sd/346, the variance's at most 0.41 % of it; 5 of each allowed."""
    w = draw(how, dtype="float64")
    assert abs(w.mean()) < 5 * math.sqrt(variance) / 346
    assert w.var() == pytest.approx(variance, rel=0.0205)


@pytest.mark.parametrize("how", ["he", "xavier", "glorot", 0.5])
def test_normal_words_are_normal(how):
    """The fourth moment of a normal is 3 variance^2, of a uniform 1.8; its standard error here is 1 %."""
    w = draw(how, dtype="float64")
    assert np.mean(w**4) / w.var() ** 2 == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(("how", "limit"), [("he_uniform", math.sqrt(6 / 300)), ("glorot_uniform", math.sqrt(6 / 700))])
def test_uniform_words_fill_their_range(how, limit):
    w = draw(how, dtype="float64")
    assert 0.999 * limit < np.abs(w).max() <= limit


@pytest.mark.parametrize(
    ("one", "other"), [("relu", "he"), ("sigmoid", "xavier"), (" RELU ", "he"), ("Glorot", "glorot")]
)
def test_words_of_one_meaning(one, other):
    np.testing.assert_array_equal(draw(one), draw(other))


@pytest.mark.parametrize("how", [*WORDS, 0.01])
def test_a_seed_gives_one_draw_for_both_dtypes(how):
    single, double = draw(how), draw(how, dtype="float64")
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert single.shape == double.shape == SHAPE
    assert single.flags.c_contiguous
    np.testing.assert_array_equal(single, double.astype(np.float32))
    np.testing.assert_array_equal(draw(how), single)
    if how != "zeros":
        assert not np.array_equal(draw(how, seed=1), single)


@pytest.mark.parametrize("shape", [(30, 1, 5, 5), (16, 64), (64, 16), (8, 8), (4, 2, 1, 1)])
def test_orthogonal(shape):
    """Products of 64 terms of unit rows in float64: 1e-14 and little more."""
    w = draw("orthogonal", shape=shape, dtype="float64").reshape(shape[0], -1)
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-13)


def test_zero_and_no_elements():
    assert not draw("zeros").any()
    assert not draw(0.0).any()
    assert draw("he", shape=(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("how", ["kaiming", "", "0.01"])
def test_an_unknown_word_lists_the_known(how):
    with pytest.raises(
        ConfigError, match="he, relu, xavier, sigmoid, glorot, he_uniform, glorot_uniform, orthogonal, z"
    ):
        draw(how)


@pytest.mark.parametrize("how", [-0.1, math.nan, math.inf, True, None, [1]])
def test_a_bad_deviation(how):
    with pytest.raises(ConfigError, match="standard deviation"):
        draw(how)


def test_bad_fans_shapes_and_dtypes():
    with pytest.raises(ConfigError, match="fan_in is 0"):
        draw("he", fan_in=0)
    with pytest.raises(ConfigError, match="fan_out is -1"):
        draw("glorot", fan_out=-1)
    with pytest.raises(ConfigError, match="two axes"):
        draw("orthogonal", shape=(5,))
    for dtype in ("int32", "float16", "nonsense"):
        with pytest.raises(ConfigError, match="float32"):
            draw("he", dtype=dtype)
