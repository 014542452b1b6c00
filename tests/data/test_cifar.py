import dataclasses
import gzip
import io
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest

from xpcnn.data.cifar import CIFAR10, CIFAR100, find_cifar, load_cifar, load_cifar_set
from xpcnn.data.places import DataMissingError
from xpcnn.errors import DataError

TINY10 = dataclasses.replace(CIFAR10, rows=(4, 3))
TINY100 = dataclasses.replace(CIFAR100, rows=(6, 3))
FORMS = [(TINY10, "python"), (TINY10, "binary"), (TINY100, "python"), (TINY100, "binary")]
IDS = [f"{spec.name}-{form}" for spec, form in FORMS]


def make(spec, form):
    """The files of a set in a form, by name, and the pictures, labels and class names they hold."""
    rng = np.random.default_rng(5)
    files, pictures, labels = {}, [], []
    names = spec.python if form == "python" else spec.binary
    for name in names:
        rows = spec.rows[name is names[-1]]
        x = rng.integers(0, 256, (rows, 3072), dtype=np.uint8)
        t = rng.integers(0, spec.classes, rows)
        coarse = rng.integers(0, 20, rows)
        if form == "python":
            batch = {"data": x, spec.label_key: t.tolist(), "filenames": ["x.png"] * rows}
            if spec.classes == 100:
                batch["coarse_labels"] = coarse.tolist()
            files[name] = pickle.dumps(batch, protocol=2)
        else:
            heads = np.stack([coarse, t][-spec.label_bytes :], axis=1).astype(np.uint8)
            files[name] = np.concatenate([heads, x], axis=1).tobytes()
        pictures.append(x.reshape(-1, 3, 32, 32))
        labels.append(t)
    words = [f"word{number}" for number in range(spec.classes)]
    if form == "python":
        files[spec.python_names[0]] = pickle.dumps({spec.python_names[1]: words}, protocol=2)
    else:
        files[spec.binary_names] = "\n".join(words).encode() + b"\n\n"
    return files, np.concatenate(pictures), np.concatenate(labels), tuple(words)


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path, files, prefix="cifar/"):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def check(data, x, t, classes):
    np.testing.assert_array_equal(np.concatenate([data.x_train, data.x_test]), x)
    np.testing.assert_array_equal(np.concatenate([data.t_train, data.t_test]), t)
    assert len(data.x_test) == 3
    assert data.classes == classes


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("spec", "form"), FORMS, ids=IDS)
def test_forms(tmp_path, spec, form, packed):
    files, *expected = make(spec, form)
    path = write_tar(tmp_path / "a.tar.gz", files) if packed else write_folder(tmp_path / "a", files)
    check(load_cifar(spec, path), *expected)
    assert len(list(tmp_path.iterdir())) == 1  # nothing was unpacked


@pytest.mark.parametrize(("spec", "form"), FORMS, ids=IDS)
@pytest.mark.parametrize("under", ["", "cifar10", "CIFAR-10"])
def test_found(tmp_path, spec, form, under):
    files, *expected = make(spec, form)
    under = under.replace("10", str(spec.classes))
    folder, tar = (name for name in spec.places if (form == "python") == ("py" in name))
    base = tmp_path / under
    path = write_folder(base / folder, files)
    assert find_cifar(spec, tmp_path) == path
    check(load_cifar_set(spec, tmp_path, allow_download=False), *expected)
    assert find_cifar(spec, path) == path  # the folder itself may be named
    for entry in path.iterdir():
        entry.unlink()
    write_tar(base / tar, files)
    assert find_cifar(spec, tmp_path) == base / tar
    other = CIFAR100 if spec is TINY10 else CIFAR10
    assert find_cifar(other, tmp_path) is None


def by_python_2(x, labels):
    """A batch as Python 2 pickled the published ones, opcode by opcode: its strings are bytes without an encoding."""
    content = x.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01" + b"K" + bytes([len(x)]) + b"M" + (3072).to_bytes(2, "little") + b"\x86"
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + numbers + b"u."


def test_written_by_python_2(tmp_path):
    files, x, t, classes = make(TINY10, "python")
    start = 0
    for name in TINY10.python:
        rows = TINY10.rows[name == "test_batch"]
        files[name] = by_python_2(x[start : start + rows].reshape(rows, 3072), t[start : start + rows].tolist())
        start += rows
    assert (pickle.loads(files["test_batch"], encoding="latin1")["data"] == x[-3:].reshape(3, 3072)).all()
    check(load_cifar(TINY10, write_folder(tmp_path, files)), x, t, classes)


def test_missing(tmp_path):
    with pytest.raises(DataMissingError, match="CIFAR-10 was not found"):
        load_cifar_set(CIFAR10, tmp_path, allow_download=False)
    remote = dataclasses.replace(CIFAR10.remote, urls=("http://127.0.0.1:9/a",))
    messages = []
    with pytest.raises(DataMissingError, match="could not download cifar-10-python"):
        load_cifar_set(dataclasses.replace(CIFAR10, remote=remote), tmp_path, on_message=messages.append)
    assert len(messages) == 1


def test_names_are_not_needed(tmp_path):
    files, *_ = make(TINY10, "binary")
    del files["batches.meta.txt"]
    data = load_cifar(TINY10, write_folder(tmp_path, files))
    assert data.classes[3] == "cat"


def pickled(**changes):
    batch = {"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2, 3]} | changes
    return pickle.dumps({key: value for key, value in batch.items() if value is not None})


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickled()[:-100], "not readable"),
        (pickle.dumps(Evil()), "not readable"),
        (pickle.dumps([1, 2]), "holds a list"),
        (pickled(labels=None), "without"),
        (pickled(data=np.zeros((4, 3071), np.uint8)), r"found uint8 \(4, 3071\)"),
        (pickled(data=np.zeros((5, 3072), np.uint8), labels=[0] * 5), "expected 4 rows"),
        (pickled(data=np.zeros((4, 3072))), "found float64"),
        (pickled(labels=[0, 1, 2]), r"int64 \(3,\)"),
        (pickled(labels=[0, 1, 2, [3]]), "labels make no array"),
        (pickled(labels=[0, 1, 10, 3]), "label 2 is 10"),
        (pickled(labels=[0, -1, 1, 3]), "label 1 is -1"),
        (bytes(3 << 20), "another file"),
    ],
)
def test_wrong_pickle(tmp_path, content, reason, packed, capsys):
    files, *_ = make(TINY10, "python")
    files["data_batch_2"] = content
    path = write_tar(tmp_path / "a.tar.gz", files) if packed else write_folder(tmp_path / "a", files)
    with pytest.raises(DataError, match=reason) as caught:
        load_cifar(TINY10, path)
    assert "data_batch_2" in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_wrong_binary(tmp_path, change):
    files, *_ = make(TINY100, "binary")
    files["test.bin"] = change(files["test.bin"])
    with pytest.raises(DataError, match=r"test\.bin: .* expected 3 records of 3074"):
        load_cifar(TINY100, write_folder(tmp_path, files))


def test_incomplete(tmp_path):
    files, *_ = make(TINY10, "python")
    del files["data_batch_4"], files["data_batch_5"]
    with pytest.raises(DataError, match="without data_batch_4, data_batch_5"):
        load_cifar(TINY10, write_folder(tmp_path, files))


def test_wrong_names(tmp_path):
    files, *_ = make(TINY10, "binary")
    files["batches.meta.txt"] = b"cat\ndog\n"
    with pytest.raises(DataError, match="2 class names, expected 10"):
        load_cifar(TINY10, write_folder(tmp_path, files))


def test_damaged_tar(tmp_path):
    files, *_ = make(TINY10, "binary")
    path = write_tar(tmp_path / "a.tar.gz", files)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no tar at all", gzip.compress(b"no tar either")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.tar\.gz.*(damaged|incomplete)"):
            load_cifar(TINY10, path)


def test_tar_cannot_lead_out_of_itself(tmp_path):
    """A member's path counts by its last part only, and links are not followed."""
    files, *expected = make(TINY10, "binary")
    check(load_cifar(TINY10, write_tar(tmp_path / "a.tar.gz", files, prefix="../../")), *expected)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]
    secret = tmp_path / "secret"
    secret.write_bytes(files.pop("test_batch.bin"))
    path = write_tar(tmp_path / "b.tar.gz", files)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar, tarfile.open(path) as old:
        for member in old:
            tar.addfile(member, old.extractfile(member))
        link = tarfile.TarInfo("test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
    with pytest.raises(DataError, match="without test_batch"):
        load_cifar(TINY10, tmp_path / "c.tar.gz")


DOUBLED = []
for _ in range(40):  # written out, 2**40 brackets
    DOUBLED = [DOUBLED, DOUBLED]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickled(labels=[np.zeros(2**18)] * 4000), "labels make no array"),  # one array, 4,000 times: 8 GB unfolded
        (pickled(labels=DOUBLED), "labels make no array"),
        (pickled(labels=[0, 1, 2, 10**5000]), "labels make no array"),
        (pickled(data=[[0]]), "its data is a list"),
        (pickle.dumps({10**5000: 1}), "without 'data'"),
    ],
)
def test_pickles_that_would_grow(tmp_path, content, reason):
    with pytest.raises(DataError, match=rf"data_batch_2: .*{reason}"):
        load_cifar(dataclasses.replace(TINY10, rows=(1000, 3)), write_folder(tmp_path, {"data_batch_2": content}))


def test_class_names_that_would_grow(tmp_path):
    files, *_ = make(TINY10, "python")
    files["batches.meta"] = pickle.dumps({"label_names": [DOUBLED] * 10})
    with pytest.raises(DataError, match="0 class names, expected 10"):
        load_cifar(TINY10, write_folder(tmp_path, files))


def tar_of(path, *members):
    """(name, type, bytes) each; the bytes may be longer than a header of their type should be."""
    with gzip.open(path, "wb", 1) as file:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content)
            file.write(info.tobuf(tarfile.USTAR_FORMAT))
            file.write(content + bytes(-len(content) % 512))
        file.write(bytes(1024))
    return path


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_tar_headers_of_great_length(tmp_path, kind):
    """tarfile reads them into memory whole, whatever they claim."""
    path = tar_of(tmp_path / "a.tar.gz", ("a", kind, bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="a header that no archive of pictures has"):
            load_cifar(TINY10, path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_tars_of_very_many_files(tmp_path):
    path = tar_of(tmp_path / "a.tar.gz", *[(f"{number}", tarfile.REGTYPE, b"") for number in range(1001)])
    with pytest.raises(DataError, match="more than 1,000 files"):
        load_cifar(TINY10, path)


def test_a_tar_that_unpacks_without_end(tmp_path, monkeypatch):
    path = tar_of(tmp_path / "a.tar.gz", ("other", tarfile.REGTYPE, bytes(200 << 20)))
    with pytest.raises(DataError, match="far more than its files are long"):
        load_cifar(TINY10, path)


def test_a_file_that_comes_twice(tmp_path):
    files, *_ = make(TINY10, "binary")
    name = "test_batch.bin"
    path = tar_of(tmp_path / "a.tar.gz", *[(name, tarfile.REGTYPE, files[name])] * 2)
    with pytest.raises(DataError, match="holds test_batch.bin twice"):
        load_cifar(TINY10, path)


@pytest.mark.parametrize("size", [b"\xff" * 12, b"-0000001000\0", b"77777777777\0"])
def test_sizes_that_lead_astray(tmp_path, size):
    """A negative size once led tarfile round in a circle (CVE-2025-8194)."""
    header = bytearray(tarfile.TarInfo("test_batch.bin").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "a.tar.gz").write_bytes(bytes(header) * 3 + bytes(1024))
    with pytest.raises(DataError, match=r"a\.tar\.gz"):
        load_cifar(TINY10, tmp_path / "a.tar.gz")


def test_a_sparse_file_is_no_batch(tmp_path):
    path = tar_of(tmp_path / "a.tar.gz", ("test_batch.bin", tarfile.GNUTYPE_SPARSE, bytes(512)))
    with pytest.raises(DataError, match="without data_batch_1"):
        load_cifar(TINY10, path)


def test_other_packings_are_not_tried(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:xz") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    with pytest.raises(DataError, match="damaged"):
        load_cifar(TINY10, tmp_path / "a.tar.gz")
