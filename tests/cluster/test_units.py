"""The systemd units: systemd reads them, their commands are such as the programs take, and nothing makes them give up for good."""
import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from test_upgrade import BIN, MODEL, PATIENCE

UNITS = Path(__file__).resolve().parents[2] / "scripts" / "cluster"
NAMES = ["batchmax-coordinator.service", "batchmax-group@.service"]


def unit(name):
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read_string((UNITS / name).read_text().replace("\\\n", " "))
    return parsed


@pytest.mark.parametrize("name", NAMES)
def test_systemd_accepts_the_unit(name, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze: the unit was not verified")
    text = (UNITS / name).read_text().replace("/usr/local/bin", str(BIN)).replace("User=batchmax", "User=daemon")
    file = tmp_path / name.replace("@", "@g0")
    file.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_started_again_until_it_works_unless_it_never_can(name):
    parsed = unit(name)
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    assert parsed["Service"]["Restart"] == "always"
    assert parsed["Service"]["RestartPreventExitStatus"] == "2"


def test_the_coordinator_has_more_time_to_stop_than_its_streams_have_to_finish():
    service = unit(NAMES[0])["Service"]
    assert int(service["TimeoutStopSec"]) > int(re.search(r"--shutdown-timeout (\d+)", service["ExecStart"])[1])


def test_the_settings_file_of_the_documents_serves_both_sides(tmp_path):
    operations = (UNITS.parents[1] / "docs" / "operations.md").read_text()
    text = re.search(r"^    # cluster\.yaml\n((?:    .*\n)+)", operations, re.MULTILINE)[1].replace("/models/my-llama", str(MODEL))
    file = tmp_path / "cluster.yaml"
    file.write_text(re.sub("^    ", "", text, flags=re.MULTILINE))
    flags = shlex.split(unit(NAMES[0])["Service"]["ExecStart"])[1:]
    flags = [str(file) if word == "/etc/batchmax/cluster.yaml" else word for word in flags]
    for program in ([BIN / "batchmax", *flags], [BIN / "batchmax-worker", "--config", file, "--group-name", "g0"]):
        done = subprocess.run([*map(str, program), "--print-config"], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert "worker-port: 9000" in done.stdout
