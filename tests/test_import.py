"""`import xpcnn` is light, and the public names are where the documents say."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

_HEAVY = ("cupy", "matplotlib", "rich", "typer", "PIL", "safetensors", "onnx", "mpi4py", "torch")

_PUBLIC = {
    "xpcnn": "get_device get_array_module asnumpy XpcnnError DeviceError ShapeError DataError CheckpointError "
    "ConfigError Sequential Network Trainer layers models ops datasets __version__",
    "xpcnn.ops": "im2col col2im",
    "xpcnn.layers": "Convolution Pooling Affine Relu Sigmoid Tanh Dropout BatchNormalization "
    "LocalResponseNormalization SoftmaxWithLoss conv max_pool affine",
    "xpcnn.models": "SimpleConvNet DeepConvNet LeNet5 AlexNet",
    "xpcnn.datasets": "load_mnist load_fashion_mnist load_cifar10 load_cifar100",
    "xpcnn.optimizers": "SGD Momentum Nesterov AdaGrad RMSprop Adam AdamW make_optimizer",
    "xpcnn.ops.gradcheck": "check_gradient check_layer numerical_gradient relative_error",
}


def _loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `statement`."""
    code = f"import sys\n{statement}\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import xpcnn; xpcnn.get_device('cpu')",
        "from xpcnn import Sequential; from xpcnn.layers import affine; Sequential([affine(2)], (3,)).params",
        "from xpcnn.models import SimpleConvNet",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    loaded = _loaded_by(statement)
    assert {"xpcnn", "numpy"} <= loaded
    assert not loaded & set(_HEAVY)


def test_import_xpcnn_adds_only_itself_numpy_and_the_standard_library() -> None:
    added = _loaded_by("import xpcnn") - _loaded_by("import numpy") - sys.stdlib_module_names
    assert added == {"xpcnn"}


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in _PUBLIC.items() for n in names.split()])
def test_public_names(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


def test_every_name_of_all_is_there() -> None:
    for module in _PUBLIC:
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            assert hasattr(loaded, name), f"{module}.{name}"


def test_names_that_are_not() -> None:
    import xpcnn

    with pytest.raises(AttributeError, match="module 'xpcnn' has no attribute 'Seqential'"):
        xpcnn.Seqential  # noqa: B018
    assert {"Sequential", "Trainer", "get_device", "layers"} <= set(dir(xpcnn))
