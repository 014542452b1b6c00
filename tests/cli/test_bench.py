import re
import subprocess

import pytest

from xpcnn.cli import bench as module

LINE = re.compile(r"(.+), batch (\d+): median (\S+) ms, fastest (\S+) ms, (\S+) pictures/s \((\d+) times\)")


def test_a_step_a_batch_and_a_picture(run):
    result = run("bench", "--batch-size", 3, "--threads", 1, "--seconds", 0.01)
    assert result.exit_code == 0
    assert result.stderr == ""
    first, *plan = result.stdout.splitlines()
    assert first.startswith("SimpleConvNet: 433,890 parameters, float32, ")
    assert plan[0] == "cpu: 1 thread(s)"
    found = [LINE.fullmatch(line).groups() for line in plan[-3:]]
    assert [(title, int(batch)) for title, batch, *_ in found] == [
        ("training step with Adam", 3),
        ("predicting", 3),
        ("predicting", 1),
    ]
    for _, batch, median, fastest, rate, times in found:
        assert 0.0 < float(fastest) <= float(median)
        # The median is printed to 0.001 ms, the rate to a whole picture.
        most, least = (1e3 * int(batch) / (float(median) + off) for off in (-0.0005, 0.0005))
        assert least - 0.5 <= float(rate.replace(",", "")) <= most + 0.5
        assert int(times) >= 3


def test_a_batch_of_one_is_measured_once(run):
    shown = run("bench", "--batch-size", 1, "--threads", 1, "--seconds", 0.01).stdout
    assert shown.count("predicting, batch 1:") == 1


def test_another_model_without_compiled_kernels(run, monkeypatch):
    monkeypatch.setenv("XPCNN_COMPILED", "0")
    shown = run("bench", "--model", "deep", "--batch-size", 2, "--threads", 1, "--seconds", 0.01).stdout
    assert shown.startswith("DeepConvNet: ")
    assert "NumPy alone (switched off by XPCNN_COMPILED=0)" in shown


def test_blas_has_its_threads_back(run):
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    run("bench", "--batch-size", 1, "--threads", 1, "--seconds", 0.01)
    assert threads() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "vgg"], "no model is called 'vgg'; there are simple"),
        (["--batch-size", 0], "--batch-size is at least 1, got 0"),
        (["--threads", 0], "--threads is at least 1, got 0"),
        (["--seconds", 0], "--seconds is a time above 0, got 0.0"),
        (["--seconds", "nan"], "--seconds is a time above 0, got nan"),
        (["--peers", "--model", "lenet5"], "--peers compares simple and deep, got --model lenet5"),
        (["--peers", "--model", "vgg"], "xpcnn has no model of that name, it has simple"),
    ],
)
def test_bad_arguments(fails, words, said):
    assert said in fails(2, "bench", *words)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A package in a folder of its own, whose benchmarks say how they were called; (folder, calls)."""
    root = tmp_path / "checkout"
    (root / "xpcnn").mkdir(parents=True)
    monkeypatch.setattr(module.xpcnn, "__file__", str(root / "xpcnn" / "__init__.py"))
    calls = []

    def called(command, **options):
        calls.append((command[1:], options["env"]["PYTHONPATH"]))
        return subprocess.CompletedProcess(command, 3 if "--seconds 7.0" in " ".join(command) else 0)

    monkeypatch.setattr(module.subprocess, "run", called)
    return root, calls


def put_scripts(root):
    (root / "benchmarks").mkdir()
    for name in ("cpu_train.py", "cpu_inference.py"):
        (root / "benchmarks" / name).touch()


def test_peers_are_for_a_checkout(fails, checkout):
    root, calls = checkout
    line = fails(2, "bench", "--peers")
    assert f"{root} has none" in line
    assert "pip install -e '.[bench]'" in line
    assert calls == []


def test_peers_run_the_checkouts_benchmarks(run, checkout):
    root, calls = checkout
    put_scripts(root)
    result = run("bench", "--peers", "--model", "deep", "--batch-size", 20, "--threads", 2, "--seconds", 0.5)
    assert result.exit_code == 0
    common = ["--models", "deep", "--seconds", "0.5", "--threads", "2", "--batch"]
    assert [words for words, _ in calls] == [
        [str(root / "benchmarks" / "cpu_train.py"), *common, "20"],
        [str(root / "benchmarks" / "cpu_inference.py"), *common, "20", "1"],
    ]
    assert all(path.split(":")[0] == str(root) for _, path in calls)


def test_peers_that_fail(fails, checkout, monkeypatch):
    root, _ = checkout
    put_scripts(root)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    assert fails(1, "bench", "--peers", "--seconds", 7) == (
        "xpcnn: cpu_train.py ended with code 3; its own words are above"
    )


def test_without_other_libraries_it_says_so(run, checkout, monkeypatch):
    put_scripts(checkout[0])
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert "neither torch nor onnxruntime is installed" in run("bench", "--peers").stdout
