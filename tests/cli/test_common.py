import pytest
import typer
from threadpoolctl import threadpool_info, threadpool_limits

from xpcnn import errors
from xpcnn.cli.common import choose_device, guarded, limit_threads, say, warn
from xpcnn.errors import ConfigError, DeviceError, XpcnnError


def test_say_and_warn(capsys):
    say("a figure")
    warn("a warning")
    assert capsys.readouterr() == ("a figure\n", "xpcnn: a warning\n")


KINDS = [kind for name in errors.__all__ if issubclass(kind := getattr(errors, name), XpcnnError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_ours_is_one_line_and_a_code(capsys, kind):
    @guarded
    def command():
        raise kind("what went wrong")

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == (1 if kind is errors.TrainingError else 2)
    assert capsys.readouterr() == ("", "xpcnn: what went wrong\n")
    assert issubclass(kind, XpcnnError)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 1, "xpcnn: out of memory (no more to be had); try a smaller --batch-size\n"),
        (MemoryError("8 GB"), 1, "xpcnn: out of memory (8 GB); try a smaller --batch-size\n"),
        (KeyboardInterrupt(), 130, "xpcnn: interrupted\n"),
    ],
)
def test_other_ends(capsys, error, code, line):
    @guarded
    def command():
        raise error

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == code
    assert capsys.readouterr() == ("", line)


def test_a_fault_of_ours_is_not_hidden():
    @guarded
    def command():
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        command()


def test_guarded_keeps_result_name_and_words():
    @guarded
    def command(a, b=2):
        """Words."""
        return a + b

    assert command(1, b=5) == 6
    assert (command.__name__, command.__doc__) == ("command", "Words.")


def test_devices(monkeypatch):
    assert choose_device(None, False).name == "cpu"
    assert choose_device("cpu", False).name == "cpu"
    asked = []
    monkeypatch.setattr("xpcnn.cli.common.get_device", lambda name: asked.append(name) or name)
    for name, gpu in (
        (None, True),
        ("cuda", True),
        ("gpu", True),
        ("cuda:1", True),
        ("cuda:1", False),
        ("auto", False),
    ):
        choose_device(name, gpu)
    assert asked == ["cuda", "cuda", "gpu", "cuda:1", "cuda:1", "auto"]
    assert choose_device(None, False, default="auto") == "auto"


@pytest.mark.parametrize("name", ["cpu", "auto", "tpu"])
def test_gpu_and_another_device_contradict_each_other(name):
    with pytest.raises(ConfigError, match=f"--gpu and --device {name}"):
        choose_device(name, True)


def test_gpu_without_cupy_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)  # import cupy then fails as where there is none
    with pytest.raises(DeviceError, match=r"xpcnn\[cuda12\]"):
        choose_device(None, True)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_are_limited_for_good():
    import numpy.linalg  # noqa: F401  (loads BLAS)

    with threadpool_limits(limits=2, user_api="blas"):  # and puts back what was before, at the end
        if blas_threads() != {2}:
            pytest.skip("this BLAS cannot be told how many threads to use")
        assert limit_threads(None) is None
        assert blas_threads() == {2}
        limit_threads(1)
        assert blas_threads() == {1}


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_too_few(threads):
    with pytest.raises(ConfigError, match=f"--threads.*{threads}"):
        limit_threads(threads)
