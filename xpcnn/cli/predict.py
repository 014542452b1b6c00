"""`xpcnn predict`: what a trained network takes pictures for."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from xpcnn.cli.common import BAD_INPUT, DeviceName, Gpu, ModelName, Source, choose_device, say, warn
from xpcnn.cli.config import run_config
from xpcnn.data.registry import NAMES
from xpcnn.device import asnumpy
from xpcnn.errors import CheckpointError, ConfigError, DataError
from xpcnn.models.files import load_model
from xpcnn.network import Network
from xpcnn.ops.reference import softmax
from xpcnn.pictures import read_pictures

__all__ = ["class_names", "predict", "probabilities", "reading"]

_DIGITS = ("mnist", "mnist-5k")


class Choice(StrEnum):
    """An option that is recognised from the picture or network, or forced."""

    auto = "auto"
    yes = "yes"
    no = "no"


def predict(
    source: Source,
    pictures: Annotated[list[Path], typer.Argument(help="Pictures (PNG, JPEG, ...), or .npy / .npz arrays of them.")],
    model: ModelName = None,
    device: DeviceName = None,
    gpu: Gpu = False,
    invert: Annotated[Choice, typer.Option(help="Turn dark ink on light paper round.")] = Choice.auto,
    center: Annotated[Choice, typer.Option(help="Cut the ink out and place it as MNIST's digits are.")] = Choice.auto,
    top: Annotated[int, typer.Option(help="How many of the likeliest classes to print.")] = 3,
    classes: Annotated[str | None, typer.Option(help="Names of the classes, such as cat,dog,owl.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON list.")] = False,
) -> None:
    """What a trained network takes pictures for, and how sure it is.

    A picture that cannot be read is an error line and the exit code 2; the others are predicted all the same.
    """
    if top < 1:
        raise ConfigError(f"--top is at least 1, got {top}")
    network = load_model(source, model, device=choose_device(device, gpu))
    config = run_config(source)
    names = class_names(network, config, classes)
    how = reading(network, config, invert.value, center.value)
    found: list[dict[str, Any]] = []
    failed = False
    for path in pictures:
        try:
            x = read_pictures(path, network.input_shape, **how)
        except DataError as error:
            warn(str(error))
            found.append({"file": str(path), "error": str(error)})
            failed = True
            continue
        for i, p in enumerate(probabilities(network, x, source)):
            order = np.argsort(-p, kind="stable")[:top]
            best = [{"class": names[k], "label": int(k), "probability": float(p[k])} for k in order]
            found.append({"file": str(path), "index": i, **best[0], "top": best})
            if not as_json:
                say(_line(f"{path}[{i}]" if len(x) > 1 else str(path), best))
    if as_json:
        say(json.dumps(found, indent=2, ensure_ascii=False))
    if failed:
        raise typer.Exit(BAD_INPUT)


def _line(what: str, best: list[dict[str, Any]]) -> str:
    first, *others = (f"{item['class']} ({item['probability']:.2%})" for item in best)
    return f"{what}: {first}" + (f"   then {', '.join(others)}" if others else "")


def probabilities(network: Network, x: Any, source: object) -> np.ndarray[Any, Any]:
    """float64 (N, K), each row's sum 1, for x (N, ...). Raises CheckpointError where the scores are not numbers."""
    scores = asnumpy(network.predict(x)).astype(np.float64)
    if not np.isfinite(scores).all():
        raise CheckpointError(f"{source}: the network's scores are not finite, its parameters are spoilt; train anew")
    shares: np.ndarray[Any, Any] = softmax(scores)
    return shares


def class_names(network: Network, config: dict[str, dict[str, Any]], given: str | None = None) -> list[str]:
    """Names of the network's classes: those given, else the run's, else numbers. Raises ConfigError."""
    K = network.output_shape[0]
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        if len(names) != K or not all(names):
            raise ConfigError(f"--classes wants {K} names with commas between, got {given!r}")
        return names
    saved = config.get("data", {}).get("classes")
    return [str(name) for name in saved] if isinstance(saved, list) and len(saved) == K else [str(k) for k in range(K)]


def reading(
    network: Network, config: dict[str, dict[str, Any]], invert: str = "auto", center: str = "auto"
) -> dict[str, Any]:
    """How `read_pictures` reads pictures for a network: its `invert` and `center`, "auto" decided by the run's data.

    Laid out as MNIST's are those for grey 28x28, unless the run saw something else than digits. Nothing is turned
    round where the run saw a folder of pictures: that is how it saw these, too.
    """
    data = config.get("data", {})
    name = data.get("name", "mnist")
    digits = network.input_shape == (1, 28, 28) and name in _DIGITS
    # `xpcnn train` notes the size of a folder's pictures, so a run with one and a name of its own saw a folder.
    folder = name not in NAMES and "image_size" in data
    return {
        "invert": "no" if invert == "auto" and folder else invert,
        "center": center == "yes" or (center == "auto" and digits),
    }
