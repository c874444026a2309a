"""Groups on two hosts and across them, the coordinator on a third, clients on a fourth; groups dial in over TLS; links that are
cut and healed."""
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))
from network import AGENT, Network  # noqa: E402
from server import BIN, MODEL, PATIENCE, eventually  # noqa: E402
from test_tls import certificate  # noqa: E402

if os.geteuid() != 0:
    pytest.skip("not root: network namespaces need it; nothing was tested", allow_module_level=True)
if not shutil.which("ip"):
    pytest.skip("no iproute2: nothing was tested", allow_module_level=True)

URL = "http://coordinator:8000"
KEEPALIVE = "".join(f" --mca oob_tcp_keepalive_{name} {value}" for name, value in (("time", 1), ("intvl", 1), ("probes", 2)))
MPIRUN = f"mpirun --allow-run-as-root --oversubscribe --bind-to none -np 2 --mca plm_rsh_agent {AGENT}{KEEPALIVE}"
GROUPS = {"across", "on1", "on2"}


class Cluster:
    def __init__(self, network, folder):
        self.network, self.folder = network, folder
        self.secret = folder / "secret"
        self.secret.write_text("a" * 64)
        self.secret.chmod(0o600)
        self.certificate, self.key = certificate(folder, "coordinator", "DNS:coordinator")

    def log(self, name):
        return open(self.folder / f"{name}.log", "a")

    def start_coordinator(self):
        self.network.start("coordinator", f"exec {BIN}/batchmax serve {MODEL} -tp 2 --dtype float32 --groups 0 --host 0.0.0.0 --port 8000 "
                           f"--worker-host 0.0.0.0 --worker-port 9000 --secret-file {self.secret} "
                           f"--worker-ssl-certfile {self.certificate} --worker-ssl-keyfile {self.key}", self.log("coordinator"))

    def worker(self, name, secret, trusted):
        return (f"{BIN}/batchmax-worker --model {MODEL} -tp 2 --dtype float32 --worker-host coordinator --worker-port 9000 "
                f"--secret-file {secret} --worker-ssl-ca-certs {trusted} --group-name {name} --threads 1 --kv-cache-memory-bytes 64MiB")

    def start_group(self, name, host, hosts=""):
        """As a supervisor would: again and again."""
        self.network.start(host, f"while :; do {MPIRUN} {hosts} {self.worker(name, self.secret, self.certificate)}; sleep 1; done", self.log(name))

    def samples(self, name):
        """Label set -> value of a metric."""
        text = httpx.get(URL + "/metrics", timeout=5).text
        found = {}
        for line in text.splitlines():
            if line.startswith(name + "{") or line.startswith(name + " "):
                series, value = line.rsplit(" ", 1)
                found[series[len(name):]] = float(value)
        return found

    def groups_up(self):
        try:
            up = self.samples("batchmax_group_up")
        except httpx.TransportError:
            return set()
        return {series.split('"')[1] for series, value in up.items() if value == 1}

    def wait_for(self, groups):
        eventually(lambda: self.groups_up() == groups, f"groups {groups}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with Network(folder, "host1", "host2", "coordinator", "client") as network:
        names = httpx_resolves(network)
        network.move_to("client")
        one = Cluster(network, folder)
        (folder / "hostfile").write_text("host1 slots=1\nhost2 slots=1\n")
        one.start_coordinator()
        one.start_group("across", "host1", f"--hostfile {folder}/hostfile")
        one.start_group("on1", "host1")
        one.start_group("on2", "host2")
        one.wait_for(GROUPS)
        yield one
        names.undo()


def httpx_resolves(network):
    """This process keeps the machine's /etc/hosts: it is told the addresses of the hosts."""
    import socket
    real = socket.getaddrinfo
    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real(network.addresses.get(host, host), *rest, **more))
    return patch


class Stream(threading.Thread):
    """One streamed completion: its text, its end, its token count."""

    def __init__(self, prompt, tokens):
        super().__init__(daemon=True)
        self.prompt, self.tokens = prompt, tokens
        self.text, self.counted, self.last = "", None, None
        self.begun = threading.Event()
        self.start()

    def run(self):
        body = {"prompt": self.prompt, "max_tokens": self.tokens, "ignore_eos": True, "temperature": 1, "top_k": 2, "seed": 7,
                "compression": "off", "stream": True, "stream_options": {"include_usage": True}}
        with httpx.stream("POST", URL + "/v1/completions", json=body, timeout=PATIENCE) as response:
            for line in response.iter_lines():
                if not line.startswith("data: "):
                    continue
                self.last = line[6:]
                if self.last == "[DONE]":
                    continue
                event = json.loads(self.last)
                self.text += "".join(choice["text"] for choice in event.get("choices", []))
                if event.get("usage"):
                    self.counted = event["usage"]["completion_tokens"]
                self.begun.set()

    def finish(self):
        self.join(PATIENCE)
        assert self.last == "[DONE]", self.last
        assert self.counted == self.tokens
        return self.text


PROMPTS = [f"Chapter {number}." for number in range(1, 7)]
TOKENS = 120


@pytest.fixture(scope="module")
def undisturbed(cluster):
    """What the answers are while nothing fails. With the full cache and a seed nothing changes where a request runs, or how often
    it moved, so a token that is lost or comes twice shows."""
    return [stream.finish() for stream in [Stream(prompt, TOKENS) for prompt in PROMPTS]]


def test_every_group_serves(cluster, undisturbed):
    served = cluster.samples("batchmax_generation_tokens_total")
    assert {series.split('"')[1] for series, value in served.items() if value > 0} == GROUPS


def refused(cluster, name, secret, trusted):
    """What a group says that must end as one that need not be started again."""
    process = cluster.network.start("host1", f"exec {MPIRUN} {cluster.worker(name, secret, trusted)}", cluster.log(name))
    assert process.wait(PATIENCE) == 2
    assert cluster.groups_up() == GROUPS
    return (cluster.folder / f"{name}.log").read_text()


def test_another_secret_is_refused(cluster):
    secret = cluster.folder / "other"
    secret.write_text("b" * 64)
    assert "secret mismatch" in refused(cluster, "stranger", secret, cluster.certificate)


def test_another_certificate_is_not_trusted(cluster):
    other, _ = certificate(cluster.folder, "other", "DNS:coordinator")
    assert "is not trusted: self-signed certificate" in refused(cluster, "doubter", cluster.secret, other)


def test_a_host_that_is_cut_off_costs_a_delay_and_comes_back(cluster, undisturbed):
    streams = [Stream(prompt, TOKENS) for prompt in PROMPTS]
    for stream in streams:
        assert stream.begun.wait(PATIENCE)
    cluster.network.pull("host2")
    try:
        # The group on it falls silent; the one across loses a rank, which only Open MPI's daemons can notice.
        cluster.wait_for({"on1"})
        assert [stream.finish() for stream in streams] == undisturbed
        assert sum(cluster.samples("batchmax_requests_replayed_total").values()) > 0
    finally:
        cluster.network.plug("host2")
    cluster.wait_for(GROUPS)
    assert [stream.finish() for stream in [Stream(prompt, TOKENS) for prompt in PROMPTS]] == undisturbed


def test_a_coordinator_that_is_cut_off_from_its_groups_goes_on_with_them(cluster, undisturbed):
    streams = [Stream(prompt, TOKENS) for prompt in PROMPTS]
    for stream in streams:
        assert stream.begun.wait(PATIENCE)
    for host in ("host1", "host2"):
        cluster.network.pull(host)
    try:
        cluster.wait_for(set())
    finally:
        for host in ("host1", "host2"):
            cluster.network.plug(host)
    assert [stream.finish() for stream in streams] == undisturbed
    cluster.wait_for(GROUPS)
