"""Shell scripts of the tree: shellcheck has no complaint, and those that are run have their bit."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "scripts", ROOT / "docker", ROOT / "tests"]
SCRIPTS = sorted(file for folder in FOLDERS for file in folder.rglob("*")
                 if file.is_file() and file.open("rb").readline() in (b"#!/usr/bin/env bash\n", b"#!/bin/sh\n"))


def test_scripts_are_found():
    assert len(SCRIPTS) > 8


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_has_no_complaint(script):
    done = subprocess.run([str(Path(sys.executable).parent / "shellcheck"), "--severity=warning", str(script)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert script.suffix == ".sbatch" or script.stat().st_mode & 0o100
