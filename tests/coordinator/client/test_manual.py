"""The manual page: every flag of every command is in it, and the formatters have nothing to say."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BATCHMAX = Path(os.environ.get("BATCHMAX_BIN", ROOT / "build" / "release" / "bin")) / "batchmax"


def batchmax(*arguments):
    return subprocess.run([str(BATCHMAX), *arguments], capture_output=True, text=True, check=True).stdout


def formatted(*command):
    return subprocess.run(command, input=batchmax("man"), capture_output=True, text=True)


@pytest.mark.skipif(not shutil.which("groff"), reason="no groff here")
def test_groff_shows_every_command_and_flag_without_a_warning():
    done = formatted("groff", "-ww", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rLL=200n")
    assert (done.returncode, done.stderr) == (0, "")
    page = done.stdout
    for command in re.findall(r"^  batchmax (\w+)", batchmax("help"), re.MULTILINE):
        assert re.search(rf"^   batchmax {command}$", page, re.MULTILINE), command
    for command in ("serve", "chat", "bench"):
        section = page.split(f"\n   batchmax {command}\n")[1].split("\n   batchmax ")[0]
        for flag in re.findall(r"^  (--[\w-]+)", batchmax(command, "--help"), re.MULTILINE):
            assert re.search(rf"^ +{flag}\b", section, re.MULTILINE), flag
    assert "(hidden)" not in page


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc here")
def test_mandoc_has_no_complaint():
    done = formatted("mandoc", "-Tlint", "-Wall")
    assert (done.returncode, done.stdout) == (0, "")
