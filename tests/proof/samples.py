"""What processes hold, sampled over time: memory, descriptors, threads."""
import os
import time
from pathlib import Path

from server import alive


def sample(pid):
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"memory_mb": int(status["VmRSS"].split()[0]) / 1024, "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": int(status["Threads"])}


def cpu_seconds(pid):
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def slope_per_hour(points):
    """Least squares over (seconds, value)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Sampler:
    """Call look() now and then; the series by process label and quantity."""

    def __init__(self, processes):
        self.processes = processes  # label -> pid
        self.begin = time.monotonic()
        self.series = {}

    def gone(self):
        """Labels of the processes that have ended."""
        return [label for label, pid in self.processes.items() if not alive(pid)]

    def look(self):
        at = time.monotonic() - self.begin
        for label, pid in self.processes.items():
            for quantity, value in sample(pid).items():
                self.series.setdefault((label, quantity), []).append((at, value))
