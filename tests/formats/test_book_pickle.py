"""The book's pickles: read in every protocol and spelling, and nothing in them is ever run."""

import io
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from xpcnn.errors import CheckpointError
from xpcnn.formats.book_pickle import load_params_pickle, load_pickle, save_params_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
OLD, NEW = b"numpy.core.multiarray", b"numpy._core.multiarray"


@pytest.fixture
def load(tmp_path):
    def load_bytes(data, **keywords):
        path = tmp_path / "file.pkl"
        path.write_bytes(data)
        return load_pickle(path, **keywords)

    return load_bytes


def _globals(*names):
    return [f"c{name.rpartition('.')[0]}\n{name.rpartition('.')[2]}\n".encode() for name in names]


RECONSTRUCT, NDARRAY, DTYPE, SCALAR, ENCODE, FROMBUFFER = _globals(
    "numpy.core.multiarray._reconstruct",
    "numpy.ndarray",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "_codecs.encode",
    "numpy._core.numeric._frombuffer",
)


def _value(value):
    """The opcodes that put a plain value on the stack."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _dtype(word, state=(3, "<", None, None, None, -1, -1, 0)):
    return DTYPE + _value((word, 0, 1)) + b"R" + _value(state) + b"b"


def _array(shape, dtype, raw, kind=NDARRAY):
    """An array as NumPy pickles it: _reconstruct(ndarray, (0,), "b"), then its state."""
    start = RECONSTRUCT + kind + _value((0,)) + b"C\x01b" + b"\x87R"
    return start + b"(" + _value(1) + _value(shape) + dtype + b"\x89" + b"B" + struct.pack("<I", len(raw)) + raw + b"tb"


# --- What must be read


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        {"W1": np.arange(6.0).reshape(2, 3), "b1": np.zeros(3, dtype=np.float32)},
        [np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2)],
        (np.zeros((0, 3)), np.array(2.5), np.arange(4, dtype=">i2"), np.array([True, False])),
        [np.float32(1.5), np.int64(-3), np.bool_(True), np.array(["ab", "이"]), np.array([b"ab"]), np.array([1 + 2j])],
        {"a": [1, 2.5, "이", b"\xff", None, True, 10**30], ("t"): (), 3: {"deep": [[1]]}},
        [],
        np.arange(5, dtype=np.uint8)[:1],
    ],
)
def test_every_protocol_gives_what_pickle_gives(load, protocol, value):
    got = load(pickle.dumps(value, protocol=protocol))
    _same(got, value)


def _same(got, wanted):
    assert type(got) is type(wanted)
    if isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for key in wanted:
            _same(got[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            _same(one, other)
    elif isinstance(wanted, np.ndarray):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(got, wanted)
        assert got.flags.writeable
        assert got.flags.owndata or got.base.flags.owndata
    else:
        assert got == wanted


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_both_spellings_of_numpy(load, protocol):
    """In protocols up to 3 a module's name stands as text, so one spelling can be put for the other."""
    data = pickle.dumps([np.arange(3.0), np.float64(2)], protocol=protocol)
    present, other = (NEW, OLD) if NEW in data else (OLD, NEW)
    for spelling in (present, other):
        _same(load(data.replace(present, spelling)), [np.arange(3.0), np.float64(2)])


def test_one_array_in_two_places_stays_one(load):
    array = np.arange(3.0)
    got = load(pickle.dumps({"a": array, "b": [array], "c": (array,)}))
    assert got["a"] is got["b"][0] is got["c"][0]


def test_a_list_that_holds_itself(load):
    value = [1]
    value.append(value)
    got = load(pickle.dumps(value))
    assert got[1] is got


# As Python 2.7 with NumPy 1.x writes {"data": uint8 array [1, 2, 255], "labels": [7]} with protocol 2: strings of
# bytes everywhere, the old module name.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87"
    b"Rq\x05(K\x01K\x03\x85cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
    b"\xffK\x00tb\x89U\x03\x01\x02\xfftbU\x06labelsq\x08]q\x09K\x07au."
)


@pytest.mark.parametrize("encoding", ["bytes", "latin1"])
def test_python_2_files(load, encoding):
    wanted = pickle.loads(PYTHON_2, encoding=encoding)
    _same(load(PYTHON_2, encoding=encoding), wanted)
    assert list(wanted.values())[1] == [7]


def test_python_2_text_names_the_way_out(load):
    with pytest.raises(CheckpointError, match="latin1"):
        load(PYTHON_2)


# --- Bytes and open files

VALUE = {"W": np.arange(6.0).reshape(2, 3), "n": [1, "a"]}


def _open_file(tmp_path, data, **more):
    path = tmp_path / "open.pkl"
    path.write_bytes(data)
    return open(path, "rb", **more)


def test_bytes_and_files(tmp_path):
    data = pickle.dumps(VALUE)
    _same(load_pickle(data), VALUE)
    _same(load_pickle(io.BytesIO(data)), VALUE)
    for buffering in (-1, 0):
        with _open_file(tmp_path, data, buffering=buffering) as file:
            _same(load_pickle(file), VALUE)
            assert not file.closed
    _same(load_pickle(PYTHON_2, encoding="bytes"), pickle.loads(PYTHON_2, encoding="bytes"))


def test_a_file_is_read_from_where_it_stands(tmp_path):
    with _open_file(tmp_path, b"header" + pickle.dumps(VALUE)) as file:
        file.seek(6)
        _same(load_pickle(file), VALUE)


class _Slow(io.BytesIO):
    """Gives at most 7 bytes at a time, as a pipe may."""

    def read(self, size=-1):
        return super().read(7 if size < 0 else min(size, 7))


def test_short_reads(tmp_path):
    _same(load_pickle(_Slow(pickle.dumps(VALUE))), VALUE)


class _Endless(io.RawIOBase):
    """A file without an end that counts what is taken from it."""

    taken = 0

    def read(self, size=-1):
        assert size >= 0, "all of an endless file"
        self.taken += size
        return bytes(size)


def test_limit(tmp_path):
    data = pickle.dumps(VALUE)
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    for limit in (len(data), len(data) + 1):
        for source in (path, data, io.BytesIO(data)):
            _same(load_pickle(source, limit=limit), VALUE)
    for source, name in ((path, "a.pkl"), (data, "the pickle"), (io.BytesIO(data), "the pickle")):
        with pytest.raises(CheckpointError, match=f"{name}.* more bytes than the limit of {len(data) - 1:,}"):
            load_pickle(source, limit=len(data) - 1)
    endless = _Endless()
    message = _limit(lambda: load_pickle(endless, limit=3 * 2**20), megabytes=10)
    assert "more bytes than the limit of 3,145,728" in message
    assert endless.taken == 3 * 2**20 + 1


def test_what_is_wrong_with_an_open_file_is_said_with_its_name(tmp_path):
    data = pickle.dumps(VALUE)
    with _open_file(tmp_path, data[:-9]) as file, pytest.raises(CheckpointError, match=r"open\.pkl.*damaged"):
        load_pickle(file)
    with pytest.raises(CheckpointError, match=r"open\.pkl.*closed"):
        load_pickle(file)
    path = tmp_path / "open.pkl"
    path.write_text("text")
    with path.open() as text, pytest.raises(CheckpointError, match=r'gives str, not bytes; open it with mode "rb"'):
        load_pickle(text)


@pytest.mark.parametrize("wrap", [bytes, io.BytesIO])
def test_bytes_and_files_are_as_safe(wrap):
    with pytest.raises(CheckpointError, match=r"the pickle: the file asks for (builtins|__builtin__)\.eval"):
        load_pickle(wrap(pickle.dumps(_Call(eval, "1/0"))))
    with pytest.raises(CheckpointError, match="the pickle: damaged"):
        load_pickle(wrap(b""))


# --- Parameter files


def test_plain_pickle_reads_what_we_write(tmp_path):
    path = tmp_path / "params.pkl"
    trap = "cnumpy._core.multiarray\n_reconstruct\n"  # the very bytes that are respelled, as a name and as data
    arrays = {trap: np.frombuffer(trap.encode(), dtype=np.uint8), "W1": np.arange(6.0).reshape(3, 2).T}
    save_params_pickle(path, arrays)
    data = path.read_bytes()
    assert data[:2] == b"\x80\x03"  # a protocol of every Python 3
    assert b"cnumpy.core.multiarray\n" in data
    with open(path, "rb") as file:  # the book's own code
        params = pickle.load(file)
    for got in (params, load_params_pickle(path)):
        assert list(got) == list(arrays)
        for name in arrays:
            np.testing.assert_array_equal(got[name], arrays[name])


@pytest.mark.parametrize("content", [[1], np.zeros(2), {"a": 1}, {1: np.zeros(2)}, {"a": np.float64(1)}, {"a": {}}])
def test_parameter_files_hold_named_arrays(tmp_path, content):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="array"):
        load_params_pickle(path)


# --- What must be refused


class _Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_Call(eval, "1/0"), r"(builtins|__builtin__)\.eval"),
        (_Call(__import__, "os"), r"(builtins|__builtin__)\.__import__"),
        (_Call(np.load, "x.npy", None, True), r"numpy\.load"),
        (_Call(np.zeros, 10**9), r"numpy\.zeros"),
        (io.BytesIO, r"_?io\.BytesIO"),
        (complex, r"(builtins|__builtin__)\.complex"),
    ],
)
def test_other_names_are_refused_by_name(load, protocol, value, name):
    with pytest.raises(CheckpointError, match=f"asks for {name}"):
        load(pickle.dumps({"W1": value}, protocol=protocol))


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'false'\ntR.",
        b"(S'false'\nios\nsystem\n.",
        b"(cos\nsystem\nS'false'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x05false\x85R.",
    ],
)
def test_every_way_of_naming_a_function(load, data):
    with pytest.raises(CheckpointError, match=r"os\.system"):
        load(data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "word"),
    [
        (np.array([{}, None], dtype=object), "object array"),
        (np.zeros(2, dtype=[("a", "f4"), ("b", "O")]), "dtype"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "dtype"),
        ({1, 2}, "set"),
        (np.ones(1).view(np.recarray), r"asks for numpy\.(rec\.)?recarray"),
    ],
)
def test_other_kinds_of_values(load, protocol, value, word):
    with pytest.raises(CheckpointError, match=word):
        load(pickle.dumps([value], protocol=protocol))


def _persistent(protocol):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "there" if value == "here" else None

    file = io.BytesIO()
    Pickler(file, protocol).dump(["here"])
    return file.getvalue()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_outside_objects(load, protocol):
    with pytest.raises(CheckpointError, match="outside object"):
        load(_persistent(protocol))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\x82\x01.", "extension"),
        (b"\x83\x01\x00.", "extension"),
        (b"\x80\x05\x97.", "outside the file"),
        (NDARRAY + b".", "Constructor"),
        (NDARRAY + _value((10**12,)) + b"R.", "calls numpy.ndarray"),
        (NDARRAY + _value((10**12,)) + b"\x81.", "damaged"),
        (RECONSTRUCT + b"}" + _value("__defaults__") + _value((1,)) + b"sb.", "tries to change"),
        (NDARRAY + b"N}" + _value("call") + _value(1) + b"s\x86b.", "tries to change"),
        (ENCODE + _value(("abc", "unicode_escape")) + b"R.", "encodes text"),
        (ENCODE + _value(("abc", "rot13")) + b"R.", "encodes text"),
        (_array((1,), _dtype("f8"), bytes(8), kind=DTYPE) + b".", "special class"),
        (b"}" + NDARRAY + b"Ns.", "unhashable|plain"),
        (b"}" + _value((1, 2)) + b"Ns.", "not a plain value"),
        (b"(" + _value((1, 2)) + b"Nd.", "not a plain value"),
        (b"}(" + _value((1, 2)) + b"Nu.", "not a plain value"),
        (b"}" + _array((1,), _dtype("f8"), bytes(8)) + b"Ns.", "unhashable|plain"),
    ],
)
def test_tricks(load, data, word):
    with pytest.raises(CheckpointError, match=word):
        load(data)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (_array((2**50,), _dtype("f8"), bytes(8)), "declares shape"),
        (_array((2**40, 2**40), _dtype("f8"), bytes(8)), "declares shape"),
        (_array((-1, -1), _dtype("f8"), bytes(8)), "shape is damaged"),
        (_array((True,), _dtype("f8"), bytes(8)), "shape is damaged"),
        (_array((1.0,), _dtype("f8"), bytes(8)), "shape is damaged"),
        (_array((1,) * 65, _dtype("f8"), bytes(8)), "shape is damaged"),
        (_array((2**60,), _dtype("S0"), b""), "declares shape"),
        (_array((2,), _dtype("S999999999"), bytes(8)), "declares shape"),
        (_array((1,), _dtype("f8"), bytes(9)), "declares shape"),
        (_array((1,), _dtype("O8"), bytes(8)), "object array"),
        (_array((1,), _dtype("O"), bytes(8)), "object array"),
        (_array((1,), _dtype("|O8"), bytes(8)), "object array"),
        (_array((1,), _dtype("f8", (3, "?", None, None, None, -1, -1, 0)), bytes(8)), "byte order"),
        (_array((1,), _dtype("f8", (3, "<", None, ("a",), {}, -1, -1, 0)), bytes(8)), "structured"),
        (_array((1,), _dtype("f8,O"), bytes(8)), "dtype"),
        (_array((1,), _dtype("i9"), bytes(9)), "damaged"),
        (_array((1,), _value("f8"), bytes(8)), "dtype is missing"),
        (RECONSTRUCT + NDARRAY + _value((2**50,)) + b"C\x01b\x87R", "no content"),
        (SCALAR + _dtype("f8") + b"C\x04abcd" + b"\x86R", "declares shape"),
        (FROMBUFFER + b"(C\x08abcdefgh" + _dtype("f8") + _value((2**50,)) + _value("C") + b"tR", "declares shape"),
        (FROMBUFFER + b"(C\x08abcdefgh" + _dtype("f8") + _value((1,)) + _value("A") + b"tR", "order"),
        (FROMBUFFER + b"(C\x08abcdefgh" + _dtype("f8") + _value((1,)) + _value("K") + _value((5,)) + b"tR", "order"),
    ],
)
def test_arrays_that_do_not_fit_their_bytes(load, data, word):
    with pytest.raises(CheckpointError, match=word):
        load(data + b".")


def test_the_hand_made_array_is_right_where_nothing_is_wrong(load):
    """So that the refusals above are refusals of what they name."""
    assert load(_array((2,), _dtype("f8"), struct.pack("<2d", 1.5, -2.0)) + b".").tolist() == [1.5, -2.0]
    assert load(FROMBUFFER + b"(C\x08" + bytes(8) + _dtype("f8") + _value((1,)) + _value("C") + b"tR.").tolist() == [
        0.0
    ]
    assert load(SCALAR + _dtype("f4") + b"C\x04" + bytes(4) + b"\x86R.") == 0.0


def _limit(call, megabytes):
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 2**20
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"Nr\xff\xff\xff\x7f.",  # a memo number: the C unpickler would make a table of 32 GiB
        b"Np2000000000\n.",
        b"\x8e" + struct.pack("<Q", 2**60) + b"abc.",  # BINBYTES8
        b"\x8d" + struct.pack("<Q", 2**60) + b"abc.",  # BINUNICODE8
        b"\x96" + struct.pack("<Q", 2**40) + b"abc.",  # BYTEARRAY8
        b"B\xff\xff\xff\x7fabc.",
        b"\x8b\xff\xff\xff\x7fabc.",  # LONG4
        b"\x95" + struct.pack("<Q", 2**60) + b"N.",  # FRAME
    ],
)
def test_lengths_that_are_not_there(load, data):
    _limit(lambda: load(data), megabytes=4)


def test_one_text_turned_into_bytes_again_and_again(load):
    """10 bytes of the file for each further megabyte: stopped at the size of the file."""
    text = _value("x" * 2**20)
    again = b"h\xc0h\xc1h\xc2\x86R0"
    data = ENCODE + b"q\xc00" + text + b"q\xc10" + _value("latin1") + b"q\xc20" + again * 500 + b"N."
    assert "more bytes than the file has" in _limit(lambda: load(data), megabytes=16)


def test_one_buffer_for_many_arrays(load):
    raw = b"B" + struct.pack("<I", 2**20) + bytes(2**20) + b"q\xc00"
    one = FROMBUFFER + b"(h\xc0" + _dtype("u1") + _value((2**20,)) + _value("C") + b"tRa"
    assert "more bytes than the file has" in _limit(lambda: load(raw + b"]" + one * 200 + b"."), megabytes=16)


@pytest.mark.parametrize(
    "data",
    [
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b")" + b"\x85" * 200_000 + b".",
        b"}" + b")" + b"\x85" * 500_000 + b"Ns.",  # as a key: hashing it would overflow the C stack
        b"(" * 100_000 + b"l" * 100_000 + b".",
    ],
)
def test_deep_nesting(load, data):
    with pytest.raises(CheckpointError, match="deep|plain value"):
        load(data)


def test_depth_that_is_allowed(load):
    value = 1
    for _ in range(64):
        value = [value]
    assert load(pickle.dumps(value)) == value


def test_many_names_for_one_list_are_walked_once(load):
    """40 doublings: 2**40 elements if every path were followed."""
    value = []
    for _ in range(40):
        value = [value, value]
    got = load(pickle.dumps(value))
    assert got[0] is got[1]


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x80\x09N.", b"not a pickle", b".", b"0.", b"h\x05.", b"\x00" * 100, b"(."]
)
def test_what_is_no_pickle(load, data):
    with pytest.raises(CheckpointError, match="damaged"):
        load(data)


def test_numbers_that_all_have_one_hash(load):
    """Keys that are multiples of 2**61 - 1 would be compared each with each: hours for a file of some megabytes."""
    keys = [i * (2**61 - 1) for i in range(20_000)]
    body = b"".join(_value(key) + b"N" for key in keys)
    started = time.process_time()
    with pytest.raises(CheckpointError, match="1,000 keys that are not text"):
        load(b"}(" + body + b"u.")
    assert time.process_time() - started < 2  # it is about 0.1 s; unchecked, 200 million comparisons
    many = {str(i): i for i in range(5000)} | {i: i for i in range(900)}
    assert load(pickle.dumps(many)) == many


def test_too_many_steps(load):
    started = time.process_time()
    with pytest.raises(CheckpointError, match="more than 524,288 steps"):
        load(b"(" + b"N" * 2**20 + b"t.")
    assert time.process_time() - started < 2  # it is about 0.6 s
    assert len(load(pickle.dumps(list(range(200_000))))) == 200_000


def test_bytes_behind_the_end(load):
    with pytest.raises(CheckpointError, match="3 bytes follow the end"):
        load(pickle.dumps([1]) + b"abc")


@pytest.mark.parametrize("key", [pytest.param(10**5000, id="huge"), "\x1b[2J" * 1000, b"\xff" * 10_000])
def test_names_that_cannot_be_shown(tmp_path, key):
    """Python refuses to write out so large a number: the refusal itself would fail."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({key: 1}))
    with pytest.raises(CheckpointError, match="not a name to an array") as caught:
        load_params_pickle(path)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()


def test_a_refused_name_is_shown_without_its_control_characters(load):
    with pytest.raises(CheckpointError, match=r"asks for os\.\\x1b\[2J") as caught:
        load(b"\x80\x04\x8c\x02os\x8c\x04\x1b[2J\x93.")
    assert str(caught.value).isprintable()


def test_lengths_beyond_any_array(load):
    with pytest.raises(CheckpointError, match="shape is damaged"):
        load(_array((2**100_000,) * 60, _dtype("f8"), bytes(8)) + b".")


def test_text_that_is_none(load):
    """NumPy makes strings of code points beyond the last one, which Python's own functions do not expect."""
    with pytest.raises(CheckpointError, match="no characters"):
        load(_array((1,), _dtype("U1"), b"\xff\xff\xff\xff") + b".")
    with pytest.raises(CheckpointError, match="no characters"):
        load(SCALAR + _dtype("U1") + b"C\x04\xff\xff\xff\xff" + b"\x86R.")
    assert load(_array((1,), _dtype("U1"), "\U0010ffff".encode("utf-32-le")) + b".").tolist() == ["\U0010ffff"]
