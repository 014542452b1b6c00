"""Readers of words: TOML configurations, checkpoints with their JSON, and what a parameter file says of its model."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import save

from tests.fuzz.harness import Target
from tests.fuzz.mutate import LENGTHS, NUMBERS, mutate
from xpcnn.cli.config import DEFAULTS, image_size, merge, read_config, save_every
from xpcnn.formats.safetensors import load_safetensors
from xpcnn.layers import affine
from xpcnn.models.files import load_model
from xpcnn.models.simple_convnet import SimpleConvNet
from xpcnn.network import Sequential
from xpcnn.training import checkpoint
from xpcnn.training.trainer import Trainer

__all__ = ["TARGETS"]


def _written(write: Any, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(path)
        return path.read_bytes()


# -- TOML ------------------------------------------------------------------------------------------------------------


def _configs() -> list[bytes]:
    return [
        b'[model]\nmodel = "deep"\nhidden_size = 7\n[model.conv_param_1]\npad = 1\n[data]\nname = "mnist"\n'
        b'image_size = "48x64"\ncolour = true\nclasses = ["a", "b.c"]\n'
        b'[train]\nlr = 1e-3\nepochs = 3\nsave_every = "30s"\n',
        b'train = {lr = 0.1, batch_size = 0x10, schedule = """cosine"""}\nmodel.model = \'simple\'\n',
    ]


def _lines(rng: Random) -> bytes:
    """Lines of TOML in a row, many of them right."""
    lines = []
    for _ in range(rng.randint(1, 12)):
        table = rng.choice(list(DEFAULTS))
        key = rng.choice([*DEFAULTS[table], *DEFAULTS["train"], "a.b", '"é"', "a" + ".a" * rng.choice((1, 70, 2000))])
        value = rng.choice(TOML_VALUES) if rng.random() < 0.7 else rng.choice(NUMBERS)
        brackets = rng.choice((f"[{table}]", f"[{table}]", f"[[{table}]]", f"[{key}]", f"[{table}.{key}]"))
        lines.append(rng.choice((brackets, f"{key} = {value}", f"{key} = {value}", f"{table}.{key} = {value}")))
    return "\n".join(lines).encode()


TOML_VALUES = ('"mnist"', '"adam"', "3", "0.5", "true", "[1, 2]", "{a = 1}", "1979-05-27T07:32:00Z", "07:32:00",
               '"""\\\n x"""', "'''x'''", '"\\ud800"', "[" * 2000, "[" * 70 + "]" * 70, "{a=" * 500, "-inf", "1_000",
               '"64x' + "9" * 5000 + '"', '"' + "9" * 5000 + 's"', "0b1", "''", '"\\u001b[2J"')  # fmt: skip
TOML = (b"[", b"]", b"=", b"\n", b'"', b"'''", b'"""', b".", b"{", b"}", b"#", b"[[a]]\n", b"\\u0000", b"\r\n", b"\xff")


def _config(path: Path) -> object:
    config = merge(read_config(path))
    image_size(config["data"]["image_size"])
    save_every(config["train"]["save_every"])
    return config


# -- checkpoints -----------------------------------------------------------------------------------------------------


@functools.cache
def _trainer() -> Trainer:
    x, t = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), np.arange(6) % 2
    network = Sequential([affine(2), "tanh", affine(2)], (3,), seed=1)
    trainer = Trainer(network, x, t, x, t, epochs=1, mini_batch_size=5, optimizer="momentum", verbose=False)
    trainer.train()
    return trainer


@functools.cache
def _checkpoint() -> bytes:
    return _written(lambda path: checkpoint.save_checkpoint(path, _trainer()), ".ckpt")


@functools.cache
def _contents() -> tuple[dict[str, np.ndarray], str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        path.write_bytes(_checkpoint())
        arrays, metadata = load_safetensors(path)
    return arrays, metadata["values"]


def _values(rng: Random) -> bytes:
    """Other arrays or other JSON under a checksum that is right: made on purpose, not by accident."""
    arrays, text = _contents()
    arrays = dict(arrays)
    for name in rng.sample(list(arrays), rng.choice((0, 0, 0, 1))):
        arrays[name] = rng.choice((np.zeros((0, 3)), np.full(2, np.nan), np.array(-(2**62)), np.array([1 + 2j]).real))
    if rng.random() < 0.5:
        text = mutate(rng, [text.encode()], JSON).decode("utf-8", "replace")
    else:
        values = json.loads(text)
        for name in rng.sample(list(values), rng.randint(1, 2)):
            values[name] = rng.choice(JSON_VALUES)
        text = json.dumps(values)
    metadata = {"format": checkpoint.FORMAT, "values": text}
    try:
        metadata["sha256"] = checkpoint._checksum(arrays, text)
    except UnicodeEncodeError:  # half a character, which no file can hold either
        return _checkpoint()
    return save(arrays, metadata)


JSON_VALUES = (None, True, -1, 10**18, 10**30, 1.5, float("nan"), float("inf"), "x", "x" * 999, [], {}, [[1]], {"N": 5},
               {"a": {}}, [{"epoch": 1, "\x1b": 2}], {"model": "simple", "hidden_size": 9**9})  # fmt: skip
JSON = (b"{", b"}", b"[", b"]", b",", b":", b'"', b"null", b"NaN", b"1e999", b"\\u0000", b"[" * 5000, b'{"a":' * 5000)


def _load_checkpoint(path: Path) -> object:
    checkpoint.load_checkpoint(path, _trainer())
    return checkpoint.read_checkpoint(path)[0]


# -- a model's own description ---------------------------------------------------------------------------------------


@functools.cache
def _network() -> SimpleConvNet:
    return SimpleConvNet((1, 8, 8), {"filter_num": 2, "filter_size": 3}, 5, 3, "he", seed=0)


def _models() -> list[bytes]:
    return [_written(_network().save_params, ".safetensors")]


def _described(rng: Random) -> bytes:
    """The parameters of a network under the description of another."""
    config = dict(_network().config)
    config["model"] = rng.choice(("simple", "simple", "deep", "lenet5", "alexnet", "quick", "none", 5))
    keys = [
        *config,
        "widths",
        "depth",
        "pad",
        "norm",
        "dropout_ratio",
        "variant",
        "activation",
        "conv_param_1",
        "seed",
        "x",
    ]
    for key in rng.sample(keys, rng.randint(1, 3)):
        config[key] = _value(rng)
    if rng.random() < 0.3:
        config["conv_param"] = {rng.choice(("filter_num", "filter_size", "pad", "stride", "x")): _value(rng)}
    text = json.dumps(config) if rng.random() < 0.9 else rng.choice(("[" * 5000, "5", "[]", "{", '{"model": {}}'))
    return save(dict(_network().arrays()), {"model": text})


def _value(rng: Random) -> object:
    simple = (*JSON_VALUES, "he", "relu", "inverted", "book", "small", "float64", 0.0, 1e308, *LENGTHS[:20])
    pick = rng.random()
    if pick < 0.5:
        return rng.choice(simple)
    return [rng.choice((*LENGTHS, -1, 1, 1, 3, 8, 28, 1.5, "x")) for _ in range(rng.randint(0, 4))]


TARGETS = [
    Target("toml", _configs, _config, ".toml", TOML, _lines),
    Target("checkpoint", lambda: [_checkpoint()], _load_checkpoint, ".ckpt", JSON, _values),
    Target("model", _models, lambda path: dict(load_model(path).arrays()), ".safetensors", JSON, _described),
]
