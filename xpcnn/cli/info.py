"""`xpcnn info`: what is installed, what it runs on, what data is there."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from xpcnn import __version__
from xpcnn.cli.common import DataDir, say
from xpcnn.data.registry import find_datasets
from xpcnn.device import get_device
from xpcnn.errors import DeviceError
from xpcnn.ops.cpu.compiled import why_not
from xpcnn.threads import usual_threads

__all__ = ["info"]

_PACKAGES = (
    "numpy",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "matplotlib",
    "pillow",
    "safetensors",
    "typer",
    "llvmlite",
    "mlxtend",
)


def _megabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 2**20:,.0f} MB"


def info(data_dir: DataDir = None) -> None:
    """Versions, BLAS and its threads, devices, and the data sets found on this machine."""
    from threadpoolctl import threadpool_info

    say(f"xpcnn {__version__}, Python {platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        try:
            say(f"  {package} {version(package)}")
        except PackageNotFoundError:
            say(f"  {package} not installed")
    import numpy.linalg  # noqa: F401  (loads BLAS, so that it can be asked)

    for pool in threadpool_info():
        words = [str(pool.get(key)) for key in ("internal_api", "version", "architecture") if pool.get(key)]
        say(f"  {pool['user_api']}: {' '.join(words)}, {pool['num_threads']} threads")
    reason = why_not()
    say(f"  compiled kernels: {'no: ' + reason if reason else 'yes'}; {usual_threads()} thread(s) of ours by default")
    say("devices")
    memory = get_device("cpu").memory()
    say(f"  cpu: {_megabytes(memory.get('free'))} free of {_megabytes(memory.get('total'))}")
    try:
        gpu = get_device("cuda")
        memory = gpu.memory()
        say(f"  {gpu.name}: {_megabytes(memory['free'])} free of {_megabytes(memory['total'])}")
    except DeviceError as error:
        say(f"  cuda: {error}")
    say("data")
    found = find_datasets(data_dir)
    for item in found:
        lacks = f", lacks {', '.join(item.missing)}" if item.missing else ""
        say(f"  {item.name}: {item.path} ({item.origin}){lacks}")
    if not found:
        say('  none; xpcnn train downloads MNIST, or pip install "xpcnn[samples]" brings 5,000 of its digits')
