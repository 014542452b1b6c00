import platform
from importlib.metadata import version

import numpy as np
import pytest

from xpcnn import __version__
from xpcnn.data.idx import write_idx
from xpcnn.device import get_device
from xpcnn.errors import DeviceError

MPI4PY = "4.1.2"


@pytest.fixture
def lines(run):
    def of(*words):
        result = run("info", *words)
        assert result.exit_code == 0
        assert result.stderr == ""
        return result.stdout.splitlines()

    return of


def test_versions(lines):
    shown = lines()
    assert shown[0] == f"xpcnn {__version__}, Python {platform.python_version()} on {platform.platform()}"
    for package in ("numpy", "matplotlib", "safetensors", "typer"):
        assert f"  {package} {version(package)}" in shown


def test_a_package_that_is_not_there(lines, monkeypatch):
    monkeypatch.setattr("xpcnn.cli.info._PACKAGES", ("numpy", "no-such-package"))
    assert "  no-such-package not installed" in lines()


def test_blas_and_its_threads(lines):
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert pools
    shown = [line for line in lines() if line.startswith("  blas: ")]
    for pool, line in zip(pools, shown, strict=True):
        assert pool["internal_api"] in line
        assert line.endswith(f", {pool['num_threads']} threads")


def test_devices(lines):
    shown = lines()
    devices = shown[shown.index("devices") + 1 : shown.index("several processes")]
    assert devices[0].startswith("  cpu: ")
    assert devices[0].count("MB") == 2
    try:
        want = f"  {get_device('cuda').name}: "
    except DeviceError as error:
        want = f"  cuda: {error}"  # the cause, and what would mend it
    assert devices[1].startswith(want)
    assert len(devices) == 2


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("print('MPICH 5'); print('no')", f"  MPI: MPICH 5 through mpi4py {MPI4PY}"),
        ("raise SystemExit('it ends')", "  MPI: cannot be used: it ends"),
        ("import time; time.sleep(9)", "  MPI: does not start within 0.2 s"),
        (None, '  MPI: none; pip install "xpcnn[mpi]" brings it'),
    ],
)
def test_several_processes(lines, monkeypatch, program, told):
    monkeypatch.setattr("xpcnn.cli.info.find_spec", lambda name: None if program is None else name)
    monkeypatch.setattr("xpcnn.cli.info._ASK_MPI", program)
    monkeypatch.setattr("xpcnn.cli.info.version", lambda name: MPI4PY)
    monkeypatch.setattr("xpcnn.cli.info._PATIENCE", 0.2 if program and "sleep" in program else 30.0)
    shown = lines()
    start = shown.index("several processes")
    assert shown[start + 1] == told
    assert shown[start + 2].startswith("  GPUs add up by: ")
    assert shown[start + 3] == "data"


def test_how_gpus_add_up(lines, double):
    assert "  GPUs add up by: NCCL 2.32.3" in lines()


def test_data_that_is_there(lines, tiny_mnist, monkeypatch):
    shown = lines("--data-dir", tiny_mnist)
    assert f"  mnist: {tiny_mnist} (data_dir)" in shown[shown.index("data") :]
    monkeypatch.setenv("XPCNN_DATA", str(tiny_mnist))
    assert f"  mnist: {tiny_mnist} ($XPCNN_DATA)" in lines()


def test_data_that_lacks_a_file(lines, tmp_path):
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(3, np.uint8))
    line = next(line for line in lines("--data-dir", tmp_path) if line.startswith("  mnist: "))
    assert "lacks train-images-idx3-ubyte(.gz), t10k-images" in line


def test_no_data(lines, monkeypatch):
    monkeypatch.setattr("xpcnn.cli.info.find_datasets", lambda folder: [])
    assert lines()[-1].startswith("  none; xpcnn train downloads MNIST")


def test_whether_kernels_are_compiled(run, monkeypatch):
    monkeypatch.setenv("XPCNN_COMPILED", "0")
    assert "compiled kernels: no: switched off by XPCNN_COMPILED=0" in run("info").stdout
