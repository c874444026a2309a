"""Starts the real programs and looks at them from outside: HTTP, log, processes."""
import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("BATCHMAX_BIN", ROOT / "build" / "release" / "bin"))  # with batchmax and batchmax-worker
MODEL = ROOT / "demo" / "longbook-17m"
PATIENCE = 120  # seconds; nothing here is about speed, and sanitizer builds are slow


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def eventually(condition, what, patience=PATIENCE):
    """The first true value of condition(), which is asked until then."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {patience} s"
        time.sleep(0.05)


def alive(pid):
    """Whether the process still runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


class Server:
    """`batchmax serve`; use as a context manager. trust: file of the certificate it shows, where it speaks HTTPS."""

    def __init__(self, log, *flags, model=MODEL, environment=None, trust=None):
        self.port = free_port()
        self.url = f"{'https' if trust else 'http'}://127.0.0.1:{self.port}"
        self.verify = ssl.create_default_context(cafile=trust) if trust else False
        self.log = Path(log)
        self.command = [str(BIN / "batchmax"), "serve", str(model), "--port", str(self.port), *map(str, flags)]
        self.environment = environment
        self.process = None

    def __enter__(self):
        self.start()
        self.wait_healthy()
        return self

    def __exit__(self, *_):
        self.end()

    def start(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)

    def wait_healthy(self):
        def healthy():
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()[-3000:]}"
            return self.status("/health") == 200
        eventually(healthy, "a healthy server")

    def status(self, path):
        """HTTP status, 0 where nobody answers."""
        try:
            return httpx.get(self.url + path, timeout=30, verify=self.verify).status_code
        except httpx.TransportError:
            return 0

    def metric(self, name):
        """Sum over the samples of a metric."""
        lines = httpx.get(self.url + "/metrics", timeout=30, verify=self.verify).text.splitlines()
        found = [line for line in lines if line.startswith((name + "{", name + " "))]
        assert found, f"no metric {name}"
        return sum(float(line.split()[-1]) for line in found)

    def idle(self):
        """No pages reserved and nothing running."""
        return (self.metric("batchmax_kv_pages_free") == self.metric("batchmax_kv_pages_total")
                and self.metric("batchmax_sequences_running") == 0)

    def descendants(self):
        """Pids of all processes that the server started, and what they started."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    pass
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}

    def ranks(self):
        return sorted(pid for pid in self.descendants() if command_of(pid)[:1] and command_of(pid)[0].endswith("batchmax-worker"))

    def send_signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
