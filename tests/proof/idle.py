"""What a server that nobody asks costs, and what waiting costs inside a group.

    python tests/proof/idle.py [SECONDS]

The real programs with the shipped model; then bench_comm for the wake-up.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))

from report import ROOT, table, write  # noqa: E402
from samples import cpu_seconds  # noqa: E402
from server import BIN, Server  # noqa: E402


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "log", "-tp", 2, "--threads", 1) as server:
            time.sleep(3)
            names = {"coordinator": server.process.pid, **{f"rank {i}": pid for i, pid in enumerate(server.ranks())}}
            before = {label: cpu_seconds(pid) for label, pid in names.items()}
            begin = time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - begin
            shares = {label: (cpu_seconds(pid) - before[label]) / took for label, pid in names.items()}
        report = Path(folder) / "bench.json"
        subprocess.run([str(ROOT / "scripts" / "mpirun"), "2", str(BIN / "bench_comm"), "--idle", "5", "--json", str(report)],
                       check=True, stdout=subprocess.DEVNULL)
        bench = json.loads(report.read_text())
    wake = bench["wake_up_seconds"]
    rows = [{"figure": f"{label}: share of a core", "seen": f"{100 * share:.2f} %", "wanted": "< 2 %"} for label, share in shares.items()]
    rows.append({"figure": "wake-up of a follower after silence", "seen": f"median {1000 * wake['p50']:.2f} ms, p99 {1000 * wake['p99']:.2f} ms",
                 "wanted": "< 2 ms"})
    write("idle", f"scripts/proof idle {seconds}", table(rows))
    sys.exit(0 if max(shares.values()) < 0.02 and wake["p50"] < 0.002 else 1)


if __name__ == "__main__":
    main()
