"""A report of any sanitizer fails the test whose programs caused it, be they children or ranks under mpirun."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
from server import BIN  # noqa: E402

SAID = {"leak": "detected memory leaks", "use-after-free": "heap-use-after-free", "overflow": "signed integer overflow",
        "race": "data race"}
FAULTS = os.environ["BATCHMAX_FAULTS"].split(",")  # those that this build's sanitizers look for


def run(start, *fault):
    return subprocess.run([*start, BIN / "faulty", *fault], capture_output=True, text=True, timeout=60).returncode


@pytest.fixture(params=[[], [ROOT / "scripts" / "mpirun", "2"]], ids=["child", "ranks"])
def start(request):
    return request.param


@pytest.mark.parametrize("fault", FAULTS)
def test_a_report_fails_the_test(reports, start, fault):
    assert run(start, fault) != 0
    with pytest.raises(pytest.fail.Exception, match=SAID[fault]):
        reports.check()


def test_no_report_where_there_is_no_fault(reports, start):
    assert run(start) == 0
    assert reports.take() == ""
