import json

import numpy as np
import pytest

from xpcnn import Sequential, Trainer
from xpcnn.errors import CheckpointError
from xpcnn.formats.safetensors import load_safetensors, save_safetensors
from xpcnn.layers import affine
from xpcnn.models import SimpleConvNet
from xpcnn.training import checkpoint
from xpcnn.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint, versions


def make(epochs=3, units=4, optimizer="adam", layers=None):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2
    network = Sequential(layers or [affine(units), "tanh", affine(2)], (3,), seed=1)
    return Trainer(network, x, t, x, t, epochs=epochs, mini_batch_size=5, optimizer=optimizer, verbose=False)


@pytest.fixture
def saved(tmp_path):
    """(path, the trainer after one epoch, as it was saved)."""
    trainer = make(epochs=1)
    trainer.train()
    save_checkpoint(tmp_path / "a.ckpt", trainer)
    return tmp_path / "a.ckpt", trainer


def test_round_trip_holds_everything(saved):
    path, trainer = saved
    arrays, values = read_checkpoint(path)
    want_arrays, want_values = trainer.state()
    assert arrays.keys() == want_arrays.keys()
    for name, a in want_arrays.items():
        assert arrays[name].dtype == a.dtype
        assert arrays[name].shape == a.shape
        assert arrays[name].tobytes() == a.tobytes()
    beside = {"model": trainer.network.config, "data": trainer.fingerprints, "versions": versions(trainer.network)}
    assert values == {**want_values, **beside}
    assert [file.name for file in path.parent.iterdir()] == ["a.ckpt"]  # nothing left beside it


def test_load_goes_on_to_the_same_bits(saved):
    path, _ = saved
    whole = make()
    whole.train()
    resumed = make()
    load_checkpoint(path, resumed)
    assert (resumed.epoch, resumed.step_count) == (1, 3)
    resumed.train()
    assert resumed.train_loss_list == whole.train_loss_list
    for name, a in whole.network.params.items():
        assert a.tobytes() == resumed.network.params[name].tobytes()


def test_models_configuration_is_in_it(tmp_path):
    x, t = np.zeros((4, 1, 8, 8), np.float32), np.arange(4)
    network = SimpleConvNet((1, 8, 8), hidden_size=3, output_size=4, seed=0)
    save_checkpoint(tmp_path / "a.ckpt", Trainer(network, x, t, verbose=False))
    assert read_checkpoint(tmp_path / "a.ckpt")[1]["model"] == network.config


def test_a_flipped_byte_anywhere_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, make(optimizer="sgd", layers=[affine(2)]))
    good = path.read_bytes()
    header_end = 8 + int.from_bytes(good[:8], "little")
    missed = []
    with open(path, "r+b", buffering=0) as file:
        for position, byte in enumerate(good):
            # All bits at once, and the lowest, which turns a digit or letter into another.
            for flip in (0xFF, 0x01):
                file.seek(position)
                file.write(bytes([byte ^ flip]))
                try:
                    read_checkpoint(path)
                    missed.append(position)
                except CheckpointError as error:
                    if "a.ckpt" not in str(error):
                        missed.append(position)
            file.seek(position)
            file.write(bytes([byte]))
    assert missed == [], f"header to {header_end}, data to {len(good)}"
    assert len(good) - header_end == 8 * 4 + 8  # W (3, 2) and b (2,), the optimizer's t; no losses yet
    read_checkpoint(path)


def test_cut_short_anywhere_is_noticed(saved):
    path, _ = saved
    good = path.read_bytes()
    for length in [*range(64), *range(64, len(good), 37), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match=r"a\.ckpt"):
            read_checkpoint(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        read_checkpoint(path)


def test_swapped_arrays_are_noticed(saved):
    path, _ = saved
    arrays, metadata = load_safetensors(path)
    m, v = "optimizer/m.affine1.W", "optimizer/v.affine1.W"
    save_safetensors(path, {**arrays, m: arrays[v], v: arrays[m]}, metadata)
    with pytest.raises(CheckpointError, match="damaged.*checksum"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\0" * 100])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_a_parameter_file_is_no_checkpoint(saved):
    path, trainer = saved
    trainer.network.save_params(path.with_suffix(".safetensors"))
    with pytest.raises(CheckpointError, match="not a checkpoint of this version"):
        read_checkpoint(path.with_suffix(".safetensors"))


@pytest.mark.parametrize("name", ["missing.ckpt", "."])
def test_nothing_there(tmp_path, name):
    with pytest.raises(CheckpointError, match="no such file|folder"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"units": 5}, r"affine1\.W: the network has \(3, 5\), the file \(3, 4\)"),
        ({"layers": [affine(2)]}, r"affine2\.W: not in the network"),
        ({"layers": [affine(4), "tanh", affine(4), "tanh", affine(2)]}, r"affine3\.W: missing in the file"),
        ({"optimizer": "momentum"}, "Momentum keeps no"),
        ({"optimizer": "sgd"}, "SGD keeps no"),
    ],
)
def test_another_network_or_optimizer_is_refused(saved, other, message):
    path, _ = saved
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, make(**other))


@pytest.mark.parametrize("what", ["x_train", "t_train", "x_test", "t_test", "dtype", "no test data"])
def test_other_data_is_refused(saved, what):
    path, _ = saved
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.normal(size=(12, 3)).astype(np.float32), "t_train": np.arange(12) % 2}
    arrays |= {"x_test": arrays["x_train"].copy(), "t_test": arrays["t_train"].copy()}
    if what == "dtype":
        arrays["x_train"] = arrays["x_train"].astype(np.float64)
    elif what == "no test data":
        del arrays["x_test"], arrays["t_test"]
    else:
        arrays[what][5] = 1 - arrays[what][5]
    network = Sequential([affine(4), "tanh", affine(2)], (3,), seed=1)
    other = Trainer(network, **arrays, mini_batch_size=5, optimizer="adam", verbose=False)
    part = "training" if what.endswith("train") or what == "dtype" else "test"
    with pytest.raises(CheckpointError, match=rf"a\.ckpt: the {part} data is not what this run began with: it was"):
        load_checkpoint(path, other)
    assert other.step_count == 0


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    path, trainer = saved
    good = path.read_bytes()
    monkeypatch.setattr(trainer, "state", lambda: ({"a": np.zeros(2)}, {"not for JSON": object()}))
    with pytest.raises(TypeError):
        save_checkpoint(path, trainer)
    assert path.read_bytes() == good
    json.dumps(read_checkpoint(path)[1])


def forged(path, change):
    """A checkpoint with other values under a checksum that is right."""
    arrays, metadata = load_safetensors(path)
    values = json.loads(metadata["values"])
    text = change(values) or json.dumps(values)
    save_safetensors(path, arrays, {**metadata, "values": text, "sha256": checkpoint._checksum(arrays, text)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: "[" * 50_000, "nested too deep"),
        (lambda values: "[1]", "is a list, not a table"),
        (lambda values: "{", "not JSON"),
        (lambda values: values.pop("epoch") and None, "does not hold the state of such a run"),
        (lambda values: values.update(history=5), "does not hold the state of such a run"),
        (lambda values: values.update(epoch=-1), "its epoch is -1"),
        (lambda values: values.update(step_count=float("nan")), "its step_count is nan"),
        (lambda values: values.update(right="many"), "its right is 'many'"),
    ],
)
def test_values_made_on_purpose(saved, change, message):
    path, _ = saved
    forged(path, change)
    with pytest.raises(CheckpointError, match=rf"a\.ckpt.*{message}"):
        load_checkpoint(path, make())
