"""`xpcnn export`: a trained network as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpcnn.cli.common import ModelName, Source, say
from xpcnn.errors import ConfigError
from xpcnn.models.files import load_model

__all__ = ["export"]


def export(
    source: Source,
    path: Annotated[Path, typer.Argument(help="The file to write: NAME.onnx.")],
    model: ModelName = None,
    opset: Annotated[int, typer.Option(help="The version of ONNX's operators, 13 to 25.")] = 17,
) -> None:
    """Writes a trained network as ONNX, for onnxruntime and others.

    It takes a batch of any size and gives the scores of each class.
    """
    if path.suffix.lower() != ".onnx":
        raise ConfigError(f"export writes .onnx files, got {str(path)!r}; name it {path.with_suffix('.onnx')}")
    from xpcnn.onnx import export as write  # needs the extra `onnx`

    network = load_model(source, model)
    write(network, path, opset)
    shapes = [", ".join(map(str, ("N", *shape))) for shape in (network.input_shape, network.output_shape)]
    say(f"{path}: opset {opset}, {path.stat().st_size:,} bytes, takes ({shapes[0]}), gives ({shapes[1]})")
