"""The Dockerfiles and the Compose file, as far as they can be judged without a container engine."""
import http.server
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import compose_spec
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
TOOLS = Path(sys.executable).parent
DOCKERFILES = ["Dockerfile", "Dockerfile.cuda"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_has_no_complaint(name):
    done = subprocess.run([str(TOOLS / "hadolint"), name], capture_output=True, text=True, cwd=DOCKER)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_step_is_a_script_of_ours(name):
    steps = re.findall(r"^RUN (.*)$", (DOCKER / name).read_text(), re.MULTILINE)
    assert len(steps) == 3
    for step in steps:
        script = shlex.split(step)[0].replace("/opt/batchmax/libexec", "docker/libexec")
        assert (ROOT / script).stat().st_mode & 0o100, step


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_run_as_nobody_in_particular_and_tell_their_health(name):
    text = (DOCKER / name).read_text()
    last_stage = text[text.rindex("FROM"):]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*healthy", last_stage, re.MULTILINE)


def composed(name):
    """The file with its variables at their defaults and its anchors resolved, as Compose's own parser accepts it."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DOCKER / name).read_text())
    resolved = yaml.safe_load(text)
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(resolved))
    parsed.validate_secrets()
    return resolved


def test_compose_files_follow_the_specification():
    cluster, gpus = composed("compose.yaml"), yaml.safe_load((DOCKER / "compose.cuda.yaml").read_text())
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(gpus))
    assert set(gpus["services"]) <= set(cluster["services"])


def test_a_misspelt_key_would_be_noticed():
    resolved = composed("compose.yaml")
    resolved["services"]["coordinator"]["prots"] = resolved["services"]["coordinator"].pop("ports")
    with pytest.raises(ValueError, match="prots"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(resolved))


def test_our_containers_have_read_only_roots_and_no_capabilities():
    ours = {name: service for name, service in composed("compose.yaml")["services"].items()
            if service["image"].startswith("batchmax")}
    assert set(ours) == {"coordinator", "group0", "group1"}
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_files_that_compose_mounts_exist():
    for service in composed("compose.yaml")["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), volume


def test_settings_of_containers_exist():
    known = set(re.findall(r"`(BATCHMAX_\w+)`", (ROOT / "docs" / "configuration.md").read_text()))
    assert len(known) > 30
    files = [DOCKER / "compose.yaml", *DOCKER.glob("kubernetes/**/*.yaml")]
    used = {name for file in files for name in re.findall(r"\bBATCHMAX_\w+(?=:)", file.read_text())}
    assert used and used <= known


def test_grafana_reads_the_boards_where_compose_puts_them():
    provider = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/batchmax.yaml").read_text())["providers"][0]
    grafana = composed("compose.yaml")["services"]["grafana"]
    assert f"../monitoring/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(provider["options"]["path"])


def test_prometheus_accepts_its_configuration():
    done = subprocess.run([str(TOOLS / "promtool"), "check", "config", "--syntax-only", "prometheus.yml"], capture_output=True,
                          text=True, cwd=DOCKER)
    assert done.returncode == 0, done.stdout + done.stderr


class Metrics(http.server.BaseHTTPRequestHandler):
    """A coordinator with more to say than a pipe takes, the groups first."""

    def do_GET(self):
        page = b'batchmax_group_up{group="g0"} 1\nbatchmax_group_up{group="g1"} 0\n' + b"batchmax_other 1\n" * 100000
        self.send_response(200)
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("group, ready", [("g0", True), ("g1", False), ("g2", False)])
def test_a_group_is_ready_when_the_coordinator_says_so(group, ready):
    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run([DOCKER / "libexec" / "group-ready", f"127.0.0.1:{server.server_port}"], capture_output=True, text=True,
                              env={**os.environ, "LWS_LEADER_ADDRESS": f"{group}.batchmax.default"})
        server.shutdown()
    assert (done.returncode == 0) == ready, done.stderr
