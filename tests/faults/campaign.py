"""Faults on the real programs under load: SIGKILL, SIGSTOP and SIGSEGV for leaders, followers and their mpirun.

    python tests/faults/campaign.py faults [1000] [--seed 1] [--groups 3]
    python tests/faults/campaign.py notice [90]

The same, told apart by what is reported and judged: what clients got, or how soon each fault was noticed (on a quiet machine).
BATCHMAX_BIN names the folder with batchmax and the batchmax-worker of tests/support/chain_worker.cc.
"""
import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

for room in ("clients", "proof"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / room))
import httpx  # noqa: E402

from report import table, write  # noqa: E402
from server import Server, command_of  # noqa: E402

from streams import Load  # noqa: E402

SIGNALS = [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV]
TARGETS = ["leader", "follower", "mpirun"]
FAULTS = [(number, target) for number in SIGNALS for target in TARGETS]
NOTICE_LIMIT = 15  # seconds: more is no notice at all
RECOVERY_LIMIT = 90
# Of a killed or crashed rank, and of one that stands still. A stopped mpirun alone harms nobody: its ranks go on.
TARGET_SECONDS = {signal.SIGKILL: 1.5, signal.SIGSEGV: 1.5, signal.SIGSTOP: 3.0}


def model_folder(folder):
    """All that the coordinator wants of a model that has no text."""
    path = Path(folder) / "chain"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


def flags(groups, ranks=2):
    return ["--load-format", "dummy", "--groups", groups, "-tp", ranks, "--threads", 1, "--migration-limit", 16,
            "--log-level", "info"]


def chain_steps(milliseconds):
    """Environment of a server whose groups take this long for a step."""
    return {**os.environ, "CHAIN_LAYER_US": str(milliseconds * 250)}


def groups_of(server):
    """{name: {"mpirun": pid, "leader": pid, "follower": pid}} of the groups whose processes are all there."""
    found = defaultdict(dict)
    for pid in server.descendants():
        words = command_of(pid)
        name = next((Path(word).stem for word in words if word.endswith(".yaml")), None)
        if name is None:
            continue
        if Path(words[0]).name == "mpirun":
            found[name]["mpirun"] = pid
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if b"OMPI_COMM_WORLD_RANK=0" in environment:
            found[name]["leader"] = pid
        elif b"OMPI_COMM_WORLD_RANK=1" in environment:
            found[name]["follower"] = pid
    return {name: pids for name, pids in found.items() if len(pids) == 3}


def stands_still(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


class LogReader:
    """What the coordinator has said of its groups, by its own clock."""
    LINE = re.compile(r"^(\S+Z) (?:info|error|warning) batchmax: group (up|lost) group=(\S+)")

    def __init__(self, path):
        self.file = open(path)
        self.up, self.lost = {}, {}

    def read(self):
        for line in self.file:
            if match := self.LINE.match(line):
                when = datetime.fromisoformat(match[1].replace("Z", "+00:00")).timestamp()
                (self.up if match[2] == "up" else self.lost)[match[3]] = when

    def is_up(self, name):
        """For half a second: its first figures have arrived."""
        return self.up.get(name, 0) > self.lost.get(name, 0) and time.time() - self.up[name] > 0.5


class Campaign:
    def __init__(self, server, load, seed):
        self.server, self.load = server, load
        self.chance = random.Random(seed)
        self.log = LogReader(server.log)
        self.notices = defaultdict(list)
        self.unnoticed = []
        self.injected = Counter()

    async def until(self, condition, limit, pause=0.02):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            self.log.read()
            if value := condition():
                return value
            await asyncio.sleep(pause)
        return None

    def ready(self):
        """Groups that have done a step: before that a rank may take a minute, and so may notice."""
        if not any(map(self.log.is_up, self.log.up)):
            return {}
        text = httpx.get(self.server.url + "/metrics", timeout=30).text
        steps = {match[1]: float(match[2]) for match in re.finditer(r'^batchmax_steps_total\{.*group="(\w+)".*\} (\S+)$', text, re.M)}
        return {name: pids for name, pids in groups_of(self.server).items() if self.log.is_up(name) and steps.get(name, 0) > 1}

    async def fault(self, number, target):
        groups = await self.until(self.ready, RECOVERY_LIMIT, pause=0.1)
        if not groups:
            raise RuntimeError(f"no group came back: {self.server.log.read_text()[-2000:]}")
        name = self.chance.choice(sorted(groups))
        label = f"{number.name} {target}"
        # Who dies under an mpirun that stands still since a fault before takes nobody along: the others notice.
        if target != "mpirun" and stands_still(groups[name]["mpirun"]):
            label += ", its mpirun stopped"
        at = datetime.now(timezone.utc).timestamp()
        os.kill(groups[name][target], number)
        if number == signal.SIGSEGV:  # a process that stands still, mpirun from a fault before, meets it when it goes on
            with suppress(ProcessLookupError):
                os.kill(groups[name][target], signal.SIGCONT)
        self.injected[f"{number.name} {target}"] += 1
        if number == signal.SIGSTOP and target == "mpirun":
            return  # nobody needs it while all is well; the next fault of this group finds it stopped
        if await self.until(lambda: self.log.lost.get(name, 0) >= at - 0.001, NOTICE_LIMIT):
            self.notices[label].append(self.log.lost[name] - at)
        else:
            self.unnoticed.append(f"{label} of {name}")

    async def run(self, count):
        order = []
        while len(order) < count:
            order += self.chance.sample(FAULTS, len(FAULTS))
        await asyncio.sleep(1)
        for number, target in order[:count]:
            await self.fault(number, target)
            await asyncio.sleep(self.chance.uniform(0, 0.5))

    def report(self):
        rows = {}
        for label, seconds in sorted(self.notices.items()):
            ordered = sorted(seconds)
            alone = "stopped" not in label
            rows[label] = {"times": len(ordered), "median (s)": round(ordered[len(ordered) // 2], 2), "longest (s)": round(ordered[-1], 2),
                           "wanted (s)": TARGET_SECONDS[signal.Signals[label.split()[0]] if alone else signal.SIGSTOP]}
        return {"faults": self.injected.total(), "injected": dict(self.injected), "unnoticed": self.unnoticed, "notice": rows, "answers": dict(self.load.counts),
                "tokens_compared": self.load.tokens, "failures": self.load.failures[:20],
                "replays": self.server.metric("batchmax_requests_replayed_total")}


async def inject(server, count, seed, clients=8):
    load = Load(server.port, clients, seed)
    campaign = Campaign(server, load, seed)
    running = asyncio.create_task(load.run())
    try:
        await campaign.run(count)
    finally:
        load.stop()
        await running
    return campaign.report()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["faults", "notice"])
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", type=int, default=3)
    asked = parser.parse_args()
    count = asked.count or {"faults": 1000, "notice": 90}[asked.what]
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "log", *flags(asked.groups), model=model_folder(folder)) as server:
            report = asyncio.run(inject(server, count, asked.seed))
    answers = report["answers"]
    text = f"{report['faults']} faults on {asked.groups} groups of two ranks under 8 clients, seed {asked.seed}: "
    if asked.what == "faults":
        text += (f"{answers.get('complete', 0)} answers complete and right, {report['replays']:.0f} replays; "
                 + ", ".join(f"{answers.get(kind, 0)} {kind}" for kind in ("lost", "wrong", "error", "hang", "cut"))
                 + f"; {len(report['unnoticed'])} faults not noticed.\n\n"
                 + table([{"fault": label, "times": times} for label, times in sorted(report["injected"].items())]))
    else:
        text += ("seconds from the signal to the coordinator's word that the group is lost. A stopped mpirun is not in the table: "
                 "its ranks serve on.\n\n" + table([{"fault": label, **figures} for label, figures in report["notice"].items()]))
    write(asked.what, f"scripts/proof {asked.what} {count}", text)
    print(json.dumps(report["failures"]), report["unnoticed"])
    late = asked.what == "notice" and any(row["longest (s)"] > row["wanted (s)"] for row in report["notice"].values())
    sys.exit(1 if set(answers) - {"complete"} or report["unnoticed"] or late else 0)


if __name__ == "__main__":
    main()
