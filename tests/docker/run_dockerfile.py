#!/usr/bin/env python3
"""Carries out docker/Dockerfile in two debootstrap roots, then starts a cluster in the second as the image would: for machines
without a container engine. Root and debootstrap are needed, and 10 to 30 minutes.

    tests/docker/run_dockerfile.py [--keep] [--mirror URL] FOLDER

FOLDER gets the roots; it is removed at the end unless --keep. Not part of scripts/test.
"""
import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "cluster"))
from network import Network  # noqa: E402

USER = 10001
PORT, WORKER_PORT = 18000, 19000


def run(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, **options)


def instructions(dockerfile):
    """(name, rest) of each line; continued lines joined, comments left out."""
    text = dockerfile.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, rest = line.split(None, 1)
            yield name, rest


class Root:
    """One stage: a folder with a system in it, and what ENV and WORKDIR have set."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        self.work = "/"

    def words(self, *command, user=0):
        """The command line that runs the command inside, with /proc and a /dev."""
        mounts = (f"mount -t proc proc {self.folder}/proc; mount --rbind /dev {self.folder}/dev; "
                  f"mount -t tmpfs -o mode=1777 tmpfs {self.folder}/tmp; ")
        if user:
            mounts += f"mount --bind {self.folder} {self.folder}; mount -o remount,bind,ro {self.folder}; "
            mounts += f"mount -t proc proc {self.folder}/proc; mount --rbind /dev {self.folder}/dev; "
            mounts += f"mount -t tmpfs -o mode=1777 tmpfs {self.folder}/tmp; "
        inside = " ".join(shlex.quote(word) for word in command)
        chroot = f"exec chroot --userspec={user}:{user} {self.folder} /bin/sh -c {shlex.quote(f'cd {self.work} && exec {inside}')}"
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        return ["unshare", "--mount", "--propagation", "private", "env", "-i", *environment, "/bin/sh", "-ec", mounts + chroot]


def copy(source, target, into):
    """COPY: a folder's content, or a file."""
    target = into.folder / os.path.normpath(os.path.join(into.work, target)).lstrip("/")
    if source.is_dir():
        run("mkdir", "-p", target)
        run("cp", "-a", f"{source}/.", target)
    else:
        run("cp", "-a", source, target)


def build(dockerfile, context, base, folder):
    """The last stage's root."""
    stages, root = {}, None
    for name, rest in instructions(dockerfile):
        print(f"== {name} {rest}", flush=True)
        words = rest.split()
        if name == "FROM":
            root = Root(folder / f"stage{len(stages)}")
            run("cp", "-a", base, root.folder)
            stages[words[2] if len(words) == 3 else len(stages)] = root
        elif name == "WORKDIR":
            root.work = rest
            (root.folder / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            for word in words:
                key, value = word.split("=", 1)
                root.environment[key] = value.replace("$PATH", root.environment["PATH"])
        elif name == "COPY":
            if words[0].startswith("--from="):
                copy(stages[words[0][7:]].folder / words[1].lstrip("/"), words[2], root)
            else:
                copy(context / words[0], words[1], root)
        elif name == "RUN":
            run(*root.words("/bin/sh", "-c", rest))
        else:
            assert name in ("USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"), f"{name} is not understood here"
    return root


def answer(path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode() if body else None,
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.status, response.read()


def furnish(root):
    """What the containers of one cluster get from outside: settings, secret, keys of ssh."""
    (root.folder / "secret").write_text("f" * 64)
    os.chown(root.folder / "secret", USER, USER)
    (root.folder / "secret").chmod(0o400)
    (root.folder / "ssh").mkdir()
    for key in ("id_ed25519", "host_ed25519"):
        run(*root.words("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"/ssh/{key}"))
    run("chown", "-R", f"{USER}:{USER}", root.folder / "ssh")
    root.environment |= {"BATCHMAX_MODEL": "/opt/batchmax/models/longbook-17m", "BATCHMAX_TENSOR_PARALLEL_SIZE": "2",
                         "BATCHMAX_WORKER_PORT": str(WORKER_PORT), "BATCHMAX_SECRET_FILE": "/secret", "BATCHMAX_PORT": str(PORT),
                         "BATCHMAX_KV_CACHE_MEMORY_BYTES": "64MiB", "BATCHMAX_THREADS": "1", "HOME": "/tmp"}


def try_out(root):
    """A coordinator and a group of two ranks, as user 10001 on a read-only root; health check, request, SIGTERM."""
    coordinator = subprocess.Popen(root.words("batchmax", "serve", "--groups", "0", user=USER))
    group = subprocess.Popen(root.words("/opt/batchmax/libexec/group", "2", "--group-name", "g0", user=USER))
    try:
        end = time.monotonic() + 120
        while subprocess.run(root.words("/opt/batchmax/libexec/healthy", user=USER), stderr=subprocess.DEVNULL).returncode != 0:
            assert coordinator.poll() is None and group.poll() is None, "a program ended"
            assert time.monotonic() < end, "not healthy within 120 s"
            time.sleep(1)
        root.environment["LWS_LEADER_ADDRESS"] = "g0.x.y"
        run(*root.words("/opt/batchmax/libexec/group-ready", f"127.0.0.1:{PORT}", user=USER))
        status, body = answer("/v1/completions", {"prompt": "It was a dark and", "max_tokens": 8})
        assert status == 200 and json.loads(body)["usage"]["completion_tokens"] == 8, body
        coordinator.send_signal(signal.SIGTERM)
        assert coordinator.wait(60) == 0
        group.wait(60)
    finally:
        for process in (coordinator, group):
            if process.poll() is None:
                process.kill()


def try_out_pods(root, folder):
    """A group over two pods, each a network namespace: mpirun of the leader logs in to the member with ssh."""
    folder.mkdir()
    with Network(folder, "g0", "g0-1", "coordinator") as network:
        lines = [f"{address} {host} {host}.x.y" for host, address in network.addresses.items()]
        (root.folder / "etc" / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        root.environment |= {"LWS_LEADER_ADDRESS": "g0.x.y", "LWS_GROUP_SIZE": "2"}

        def start(host, *command):
            return network.start(host, shlex.join(root.words(*command, user=USER)), None)
        start("coordinator", "batchmax", "serve", "--groups", "0", "--worker-host", "0.0.0.0")
        leader = start("g0", "/opt/batchmax/libexec/group-leader", "1", "--worker-host", "coordinator")
        member = start("g0-1", "/opt/batchmax/libexec/group-member")
        end = time.monotonic() + 120
        while start("coordinator", "/opt/batchmax/libexec/group-ready", f"127.0.0.1:{PORT}").wait() != 0:
            assert leader.poll() is None and member.poll() is None, "a pod ended"
            assert time.monotonic() < end, "the group did not join within 120 s"
            time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--mirror", default="", help="Debian mirror; debootstrap's own unless given")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True)
    base, context = folder / "base", folder / "context"
    run("debootstrap", "--variant=minbase", "bookworm", base, *([arguments.mirror] if arguments.mirror else []))
    for name in ("etc/resolv.conf", "etc/hosts"):
        shutil.copy(f"/{name}", base / name)
    context.mkdir()
    archive = subprocess.Popen(["git", "-C", str(REPOSITORY), "archive", "HEAD"], stdout=subprocess.PIPE)
    run("tar", "-x", "-C", context, stdin=archive.stdout)
    root = build(context / "docker" / "Dockerfile", context, base, folder)
    furnish(root)
    try_out(root)
    try_out_pods(root, folder / "pods")
    if not arguments.keep:
        shutil.rmtree(folder)
    print("The image's steps work, and clusters ran in it as a user without rights on a read-only root, one over two pods.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
