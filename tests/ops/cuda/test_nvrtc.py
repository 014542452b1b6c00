"""Every kernel's text, with every set of options, through NVIDIA's compiler to machine code; no device is needed."""

from __future__ import annotations

import importlib.resources
import itertools

import pytest

from xpcnn.ops.cuda import batches, loss, module, optimizers, pooling

core = pytest.importorskip("cuda.core", reason="cuda-core is not installed: kernels are not compiled by NVRTC")

ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]  # A100, H100, B200
# What a file is compiled with besides the dtype and the width of its indices.
MORE: dict[str, list[tuple[str, ...]]] = {
    "batches": [(f"-DXP_ROW={kind}",) for kind in batches.ROWS.values()],
    "columns": [()],
    "pooling": [(option,) for option in pooling.PLACES.values()],
    "fused": [()],
    "loss": [(option,) for option in loss.LABELS.values()],
    "batch_norm": [()],
    "lrn": [()],
    "dropout": [()],
    "gradients": [()],
    "optimizers": [optimizers.OPTIONS],
    "implicit_gemm": [()],
}


def compiled(text: str, options: tuple[str, ...], architecture: str) -> bytes:
    """The machine code; NVRTC's log is in the error where there is none."""
    macros = [option[2:].split("=", 1) for option in options if option.startswith("-D")]
    rest = {option for option in options if not option.startswith("-D")}
    assert rest <= {"--std=c++17", "--fmad=false"}, "the test does not pass on all options"
    how = core.ProgramOptions(
        arch=architecture,
        std="c++17",
        fma=False if "--fmad=false" in rest else None,
        define_macro=[(name, *value) if value else name for name, *value in macros],
        use_bundled_headers=True,
    )
    return core.Program(text, "c++", how).compile("cubin").code


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", MORE)
def test_kernels_compile(file: str, architecture: str) -> None:
    widths = (False, True) if architecture == "sm_90" else (False,)  # the width of indices is no matter of the card's
    for dtype, wide, more in itertools.product(module.DTYPES, widths, MORE[file]):
        code = compiled(module.source(file), module.options(dtype, wide, more), architecture)
        assert code[:4] == b"\x7fELF"


def test_no_kernel_is_left_out() -> None:
    texts = (importlib.resources.files("xpcnn.ops.cuda") / "kernels").iterdir()
    assert {text.name for text in texts} == {"common.cuh"} | {f"{file}.cu" for file in MORE}


def test_a_fault_is_seen() -> None:
    with pytest.raises(Exception, match="no_such_name"):
        compiled(
            module.source("columns") + "__device__ int f() { return no_such_name; }", module.options("float32"), "sm_80"
        )
