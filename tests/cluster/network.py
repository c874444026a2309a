"""Hosts on one switch, each a network namespace with a name, an address and a cable that can be pulled."""
import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

AGENT = Path(__file__).resolve().with_name("agent")
CLONE_NEWNET = 0x40000000


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Network:
    """Use as a context manager. Processes that still run in it at the end are killed."""

    def __init__(self, folder, *hosts):
        self.prefix = f"bm{os.getpid()}-"
        self.addresses = {host: f"10.77.0.{number}" for number, host in enumerate(hosts, 1)}
        self.hosts_file = Path(folder) / "hosts"
        self.home = None

    def __enter__(self):
        lines = ["127.0.0.1 localhost", *(f"{address} {host}" for host, address in self.addresses.items())]
        self.hosts_file.write_text("\n".join(lines) + "\n")
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._wire()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._enter(self.home)
        self._remove()

    def _wire(self):
        switch = self.prefix + "switch"
        for name in ("switch", *self.addresses):
            ip("netns", "add", self.prefix + name)
            ip("-n", self.prefix + name, "link", "set", "lo", "up")
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host, address in self.addresses.items():
            ip("link", "add", "eth0", "netns", self.prefix + host, "type", "veth", "peer", "name", host, "netns", switch)
            ip("-n", switch, "link", "set", host, "master", "bridge", "up")
            ip("-n", self.prefix + host, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", self.prefix + host, "link", "set", "eth0", "up")

    def _remove(self):
        for name in ("switch", *self.addresses):
            pids = subprocess.run(["ip", "netns", "pids", self.prefix + name], capture_output=True, text=True).stdout
            for pid in map(int, pids.split()):
                if pid != os.getpid():
                    with contextlib.suppress(ProcessLookupError):  # it ended with one that was killed before
                        os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", self.prefix + name], stderr=subprocess.DEVNULL)
        os.close(self.home)

    def start(self, host, script, log):
        """Popen of a shell script on a host."""
        environment = {**os.environ, "NETWORK_PREFIX": self.prefix, "NETWORK_HOSTS": str(self.hosts_file)}
        return subprocess.Popen([str(AGENT), host, script], stdout=log, stderr=log, env=environment)

    def move_to(self, host):
        """The calling thread, and those that it starts, are on that host's network from now on."""
        namespace = os.open(f"/run/netns/{self.prefix}{host}", os.O_RDONLY)
        self._enter(namespace)
        os.close(namespace)

    @staticmethod
    def _enter(namespace):
        if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def pull(self, host):
        """Its packets go nowhere and nobody is told, as when a cable is pulled at the far end."""
        ip("-n", self.prefix + "switch", "link", "set", host, "nomaster")

    def plug(self, host):
        ip("-n", self.prefix + "switch", "link", "set", host, "master", "bridge")
