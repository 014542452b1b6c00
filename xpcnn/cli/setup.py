"""From a configuration to what it describes: the network, and what a Trainer is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn.data.augment import parse_augment
from xpcnn.data.dataset import Dataset
from xpcnn.device import Device
from xpcnn.errors import ConfigError
from xpcnn.layers.loss import SoftmaxWithLoss
from xpcnn.models import make_model
from xpcnn.network import Network

__all__ = ["make_network", "trainer_arguments"]

Settings = Mapping[str, Mapping[str, Any]]


def make_network(settings: Settings, data: Dataset, device: str | Device = "cpu") -> Network:
    """The network of [model], for the data's pictures and classes. Raises ConfigError where they do not fit."""
    train = settings["train"]
    wanted = dict(settings["model"])
    wanted.setdefault("input_dim", list(data.image_shape))
    wanted.setdefault("output_size", len(data.classes))
    wanted.setdefault("seed", train["seed"])
    network = make_model(wanted, dtype=train["dtype"], device=device)
    if network.input_shape != data.image_shape:
        raise ConfigError(
            f"the model takes pictures of {network.input_shape}, {data.name} has {data.image_shape} (C, H, W)"
        )
    if network.output_shape[0] < len(data.classes):
        raise ConfigError(
            f"the model tells {network.output_shape[0]} classes apart, {data.name} has {len(data.classes)}; "
            f"set output_size = {len(data.classes)} in [model] or leave it out"
        )
    network.use_threads(train["threads"])
    network.use_loss(SoftmaxWithLoss(train["label_smoothing"]))
    return network


def trainer_arguments(settings: Settings) -> dict[str, Any]:
    """What [train] and [data] say to a Trainer, beside network, arrays, callbacks and whether to show progress."""
    train = settings["train"]
    augment = settings["data"]["augment"]
    return {
        "epochs": train["epochs"],
        "mini_batch_size": train["batch_size"],
        "optimizer": train["optimizer"],
        "optimizer_param": {key: train[key] for key in ("lr", "weight_decay", "clip_norm") if train[key] is not None},
        "seed": train["seed"],
        "schedule": train["schedule"],
        "average": train["average"],
        "augment": None if augment is None else parse_augment(augment),
        "scale": 1.0 / 255.0,
        "train_accuracy": "running",
        "sync_batch_norm": train["sync_batch_norm"],
    }
