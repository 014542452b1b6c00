"""ONNX's own conformance suite against our backend: every test of the operators that we know, and nine whole networks.

What is left out is listed in excluded.py. `python -m tests.onnx.run` prints the counts.
"""

from __future__ import annotations

import re
import unittest

import pytest
from onnx.backend.test import BackendTest

from tests.onnx.conformance import Case, all_cases, attempt, in_scope
from tests.onnx.excluded import EXCLUDED, reason_for
from xpcnn.onnx import Backend

PARTS = ("^test_[a-c]", "^test_[d-l]", "^test_[m-rA-Z]", "^test_s[a-i]", "^test_(s[j-z]|[t-z])")
LIGHT = "^test_(bvlc_alexnet|densenet121|inception_v[12]|resnet50|shufflenet|squeezenet|vgg19|zfnet512)_cpu"


def official(pattern: str, names: set[str] | None) -> unittest.TestResult:
    """What ONNX's own runner says of the tests whose names match, of those in `names` if given."""
    suite = BackendTest(Backend, __name__).include(pattern)
    result = unittest.TestResult()
    for test in _each(suite.test_suite):
        name = test.id().rsplit(".", 1)[1]
        if re.search(pattern, name) and name.endswith("_cpu") and (names is None or name[: -len("_cpu")] in names):
            test.run(result)
    return result


def _each(suite: unittest.TestSuite):
    for item in suite:
        yield from _each(item) if isinstance(item, unittest.TestSuite) else (item,)


def faults(result: unittest.TestResult) -> str:
    return "\n".join(f"{test}: {text.strip().splitlines()[-1]}" for test, text in (*result.failures, *result.errors))


@pytest.mark.filterwarnings("ignore")  # of NumPy and ONNX about the suite's own data
@pytest.mark.parametrize("part", PARTS)
def test_operators(part):
    wanted = {case.name for case in all_cases() if in_scope(case) and reason_for(case.name) is None}
    result = official(part, wanted)
    assert not faults(result)
    assert not result.skipped
    assert result.testsRun == sum(re.search(part, name) is not None for name in wanted) > 0


@pytest.mark.filterwarnings("ignore")
def test_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))  # where ONNX's runner puts the inputs it makes
    result = official(LIGHT, None)
    assert not faults(result)
    assert (result.testsRun, result.skipped) == (9, [])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(2))
def test_operators_as_programs(part):
    """What could be a Network runs operator by operator as well."""
    cases = [case for case in all_cases() if in_scope(case) and reason_for(case.name) is None and _single(case)]
    found = {case.name: error for case in cases[part::2] if (error := attempt(case, program=True)) is not None}
    assert not found


def _single(case: Case) -> bool:
    return len(case.sets) > 0 and len(case.sets[0][0]) == 1


@pytest.mark.filterwarnings("ignore")
def test_what_is_excluded_has_a_reason_and_does_fail():
    cases = [case for case in all_cases() if in_scope(case)]
    assert [p for p, _ in EXCLUDED if not any(re.search(p, case.name) for case in cases)] == []
    assert [case.name for case in cases if reason_for(case.name) and attempt(case) is None] == []
