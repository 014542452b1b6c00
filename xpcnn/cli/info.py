"""`xpcnn info`: what is installed, what it runs on, what data is there."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from xpcnn import __version__
from xpcnn.cli.common import DataDir, say
from xpcnn.communication.choose import way_here
from xpcnn.data.registry import find_datasets
from xpcnn.device import Device, get_device
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
    "mpi4py",
)


_ASK_MPI = "from xpcnn.communication.choose import cuda_aware, mpi_name; print(mpi_name()); print(cuda_aware())"
_PATIENCE = 30.0  # seconds


def _megabytes(count: int | None) -> str:
    return "?" if count is None else f"{count / 2**20:,.0f} MB"


def _mpi() -> tuple[str, str]:
    """What MPI there is, and why it takes no arrays on a GPU; asked in a process of its own, which MPI may end."""
    if find_spec("mpi4py") is None:
        return 'none; pip install "xpcnn[mpi]" brings it', "no MPI"
    try:
        answer = subprocess.run([sys.executable, "-c", _ASK_MPI], capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"does not start within {_PATIENCE:g} s", "MPI does not start"
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or len(lines) != 2:
        last = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        return f"cannot be used: {last}", "MPI cannot be used"
    return f"{lines[0]} through mpi4py {version('mpi4py')}", lines[1]


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
    gpu: Device | None = None
    try:
        gpu = get_device("cuda")
        memory = gpu.memory()
        say(f"  {gpu.name}: {_megabytes(memory['free'])} free of {_megabytes(memory['total'])}")
    except DeviceError as error:
        say(f"  cuda: {error}")
    say("several processes")
    name, not_aware = _mpi()
    say(f"  MPI: {name}")
    say(f"  GPUs add up by: {'nothing, none is usable' if gpu is None else way_here(not_aware)}")
    say("data")
    found = find_datasets(data_dir)
    for item in found:
        lacks = f", lacks {', '.join(item.missing)}" if item.missing else ""
        say(f"  {item.name}: {item.path} ({item.origin}){lacks}")
    if not found:
        say('  none; xpcnn train downloads MNIST, or pip install "xpcnn[samples]" brings 5,000 of its digits')
