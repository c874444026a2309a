"""Shell scripts of the tree: shellcheck has no complaint, those that are run have their bit, and what installs packages
removes none; quickstart asks its own server whatever the proxy."""
import os
import shutil
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


@pytest.fixture
def machine(tmp_path):
    """Runs scripts/dependencies where nothing is installed, apt is `apt` and every call of it stands in a list."""
    def run(apt):
        calls = tmp_path / "calls"
        programs = {"dpkg-query": "exit 1", "sudo": 'exec "$@"', "apt-get": f'echo "$*" >>"{calls}"\n{apt}'}
        for name, body in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)
        done = subprocess.run([str(ROOT / "scripts" / "dependencies")], capture_output=True, text=True,
                              env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
        return done, [call for call in calls.read_text().splitlines() if "install" in call and "--simulate" not in call]
    return run


def test_dependencies_are_installed_where_nothing_has_to_go(machine):
    done, installs = machine("exit 0")
    assert done.returncode == 0, done.stderr
    assert len(installs) == 1 and "libboost" in installs[0]


def test_no_package_is_removed_for_dependencies(machine):
    done, installs = machine('case "$*" in *--simulate*) echo "Remv libboost-dev [1.74.0.3] []"; esac')
    assert done.returncode == 1
    assert "remove: libboost-dev\n" in done.stderr
    assert not installs


def test_quickstart_needs_no_proxy_to_reach_its_server(tmp_path):
    """The script itself, in a tree whose server serves files; the file called health is there."""
    files = {
        "scripts/dependencies": "#!/bin/sh",
        "bin/cmake": "#!/bin/sh",
        "build/release/bin/batchmax":
            f'#!/bin/sh\nfor port; do :; done\nexec "{sys.executable}" -m http.server "$port" --bind 127.0.0.1',
        "demo/quickstart.py":
            "import sys, urllib.request as http\nprint(http.urlopen(sys.argv[1] + '/health').read().decode())",
        "health": "asked and answered",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    shutil.copy(ROOT / "scripts" / "quickstart", tmp_path / "scripts")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    nobody = "http://127.0.0.1:9"
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    done = subprocess.run([str(tmp_path / "scripts" / "quickstart")], capture_output=True, text=True, timeout=60,
                          env={**environment, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
                               "http_proxy": nobody, "HTTP_PROXY": nobody})
    assert done.returncode == 0, done.stderr
    assert "asked and answered" in done.stdout
