"""What docs/operations.md promises of drains, restarts and upgrades, step by step as it is written there."""
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))
from server import BIN, MODEL, PATIENCE, Server, eventually, free_port  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


class HandStarted:
    """A coordinator whose groups dial in, and the groups that were started for it."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.secret = folder / f"{name}.secret"
        self.secret.write_text("a" * 64)
        self.secret.chmod(0o600)
        self.worker_port = free_port()
        self.server = Server(folder / f"{name}.log", "--groups", 0, "--worker-port", self.worker_port, "--secret-file", self.secret,
                             "--shutdown-timeout", PATIENCE)
        self.groups = {}

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        for name in list(self.groups):
            self.end_group(name)
        self.server.end()

    def start_group(self, name):
        log = open(self.folder / f"{self.name}-{name}.log", "a")
        self.groups[name] = subprocess.Popen(
            [str(ROOT / "scripts" / "mpirun"), "1", str(BIN / "batchmax-worker"), "--model", str(MODEL), "--worker-port",
             str(self.worker_port), "--secret-file", str(self.secret), "--group-name", name, "--threads", "1",
             "--kv-cache-memory-bytes", "64MiB"], stdout=log, stderr=log)
        eventually(lambda: self.up(name), f"group {name}")

    def up(self, name):
        lines = httpx.get(self.server.url + "/metrics", timeout=30).text.splitlines() if self.server.status("/livez") == 200 else []
        return f'batchmax_group_up{{group="{name}"}} 1' in lines

    def end_group(self, name):
        process = self.groups.pop(name)
        if process.poll() is None:
            process.terminate()
        return process.wait(PATIENCE)


class Stream(threading.Thread):
    def __init__(self, url, number, tokens):
        super().__init__(daemon=True)
        self.url, self.number, self.tokens = url, number, tokens
        self.begun = threading.Event()
        self.counted = self.last = None
        self.start()

    def run(self):
        body = {"prompt": f"Chapter {self.number}.", "max_tokens": self.tokens, "ignore_eos": True, "stream": True,
                "stream_options": {"include_usage": True}}
        with httpx.stream("POST", self.url + "/v1/completions", json=body, timeout=PATIENCE) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    self.last = line[6:]
                    self.begun.set()
                    if '"usage":{' in self.last:
                        self.counted = json.loads(self.last)["usage"]["completion_tokens"]

    def finished(self):
        self.join(PATIENCE)
        return self.last == "[DONE]" and self.counted == self.tokens


def streams_of(cluster, count=4, tokens=400):
    streams = [Stream(cluster.server.url, number, tokens) for number in range(count)]
    for stream in streams:
        assert stream.begun.wait(PATIENCE)
    return streams


@pytest.fixture
def cluster(tmp_path):
    with HandStarted(tmp_path, "old") as old:
        old.start_group("g0")
        old.start_group("g1")
        yield old


def test_a_rolling_restart_loses_no_request(cluster):
    for name in ("g0", "g1"):
        streams = streams_of(cluster, tokens=1500)  # longer than it takes to end a group on a busy machine
        cluster.end_group(name)
        cluster.start_group(name)
        assert all(stream.finished() for stream in streams), [stream.last for stream in streams]
    assert cluster.server.metric("batchmax_requests_replayed_total") > 0
    assert cluster.server.metric("batchmax_group_restarts_total") == 2


def test_an_upgrade_loses_no_request(cluster, tmp_path):
    old = streams_of(cluster)
    with HandStarted(tmp_path, "new") as new:
        new.start_group("g0")
        assert new.server.status("/health") == 200
        first = streams_of(new, 1)
        cluster.server.send_signal(signal.SIGTERM)
        eventually(lambda: cluster.server.status("/readyz") in (0, 503), "not ready")
        assert all(stream.finished() for stream in old + first)
        assert cluster.server.process.wait(PATIENCE) == 0
        assert [process.wait(PATIENCE) for process in cluster.groups.values()] == [0, 0]
        new.start_group("g1")
        assert new.server.metric("batchmax_group_up") == 2
        assert new.server.metric("batchmax_requests_replayed_total") == 0


def test_a_wrong_host_file_is_named_with_its_line(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("node1 slots=1\nnode2 slots=many\n")
    done = subprocess.run([str(BIN / "batchmax"), "serve", str(MODEL), "--port", "0", "--hostfile", str(hosts)],
                          capture_output=True, text=True, timeout=PATIENCE, env=os.environ)
    assert done.returncode != 0
    assert f"{hosts}:2: slots=many" in done.stderr.strip().splitlines()[-1]
