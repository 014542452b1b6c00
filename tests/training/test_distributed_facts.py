"""Configurations in words that are the same in every process, and the first difference between them."""

import numpy as np
import pytest

from tests.communication.together import together
from xpcnn.data.augment import parse_augment
from xpcnn.errors import DistributedError
from xpcnn.layers import SoftmaxWithLoss
from xpcnn.optimizers import Adam
from xpcnn.training.distributed_facts import agree, checksum, described


class Part:
    def __init__(self, value):
        self.value, self._hidden = value, object()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        (0.1, "0.1"),
        ("a", "'a'"),
        ((1, [2.0]), "(1, (2.0))"),
        ({"lr": 0.1}, "{'lr': 0.1}"),
        (np.float32(2.0), "float32 () "),
        (len, "len"),
        (Part, "Part"),
        (Part(Part(3)), "Part(value=Part(value=3))"),
        (Part(Part(Part(Part(3)))), "Part(value=Part(value=Part(value=Part)))"),
        (object(), "object"),
    ],
)
def test_words(value, words):
    found = described(value)
    assert found.startswith(words)
    assert " at 0x" not in found


def test_what_changes_a_run_changes_the_words():
    assert described(Adam(lr=0.1)) != described(Adam(lr=0.2))
    assert described(Adam(lr=0.1)) == described(Adam(lr=0.1))
    assert described(SoftmaxWithLoss(weights=[1.0, 2.0])) != described(SoftmaxWithLoss(weights=[1.0, 3.0]))
    assert described(parse_augment("shift=1,flip")) != described(parse_augment("shift=2,flip"))
    assert described(parse_augment("shift=1,flip")) == described(parse_augment("shift=1,flip"))


def test_the_checksum_sees_every_byte_and_name():
    a = np.zeros((3, 4), np.float32)
    b = a.copy()
    b[2, 3] = -0.0
    assert checksum({"a": a}) == checksum({"a": a.copy(order="F")})
    assert len({checksum({"a": a}), checksum({"a": b}), checksum({"b": a})}) == 3


def test_the_first_difference_is_named_on_all_ranks():
    def work(ranks):
        said = {"same": {"x": 1}, "data": {"training": "ab" if ranks.rank == 2 else "cd"}}
        if ranks.rank == 3:
            said["data"]["test"] = "extra"
        with pytest.raises(DistributedError) as caught:
            agree(ranks, said)
        return str(caught.value)

    expected = "rank 2 on c differs from rank 0 on a in its data: training is 'ab' there and 'cd' on rank 0; "
    assert all(text.startswith(expected) for text in together(4, work, hosts="abcd"))

    def lacking(ranks):
        with pytest.raises(DistributedError, match="its data: test is 'none' there and 'x' on rank 0"):
            agree(ranks, {"data": {"test": "x"} if ranks.rank == 0 else {}})

    together(2, lacking)
    together(3, lambda ranks: agree(ranks, {"data": {"test": "x"}}))
