#!/usr/bin/env python3
"""The tables of docs/performance.md: serving.py over models, memory caps and prompts, one cell per GPU at a time.

  python bench/serving/grid.py --ceilings 4270,640 --out bench/results [--only REGEX] [--seconds 300] [--program build/cuda/bin/batchmax]

Weights are random (--load-format dummy): shapes and bytes are real, words are not. Cells that need several GPUs run alone,
all others side by side, one per GPU. --seconds: start no cell after that. A cell's figures go to OUT/NAME.json.
"""
import argparse
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = HERE.parent / "shapes"
PAPER = "off,full,decode+random"


@dataclass
class Cell:
    name: str
    model: str
    loads: str
    cases: str = PAPER
    cap: int = 0  # GiB of each GPU that the server may use; 0: nine tenths of the memory
    budget: int = 512
    tp: int = 1
    groups: int = 1
    batches: int = 0  # static batches; 0: all at once
    step: int = 0  # prompt tokens of a step; 0: the default, four blocks

    def gpus(self):
        return self.tp * self.groups


CELLS = [
    # Several GPUs: a step and a prompt over two, tp 2 against two replicas, two groups against one.
    Cell("tp2-steps-13b", "llama-2-13b", "1100:128:16,1100:128:64,1100:128:128,3600:1:64", "full", budget=1024, tp=2, batches=1),
    Cell("cap32-tp2-13b", "llama-2-13b", "3600:256:64", "full", cap=32, budget=1024, tp=2),
    Cell("cap32-two-replicas-13b", "llama-2-13b", "3600:256:64", "full", cap=32, budget=1024, groups=2),
    Cell("two-groups-phi", "phi-3.5-mini", "3600:256:256", "full", groups=2),
    # One GPU. The paper's setting: 13B, static batches.
    Cell("tp1-steps-13b", "llama-2-13b", "1100:128:16,1100:128:64,1100:128:128,3600:1:64", "full", budget=1024, batches=1),
    Cell("static-cap40-13b", "llama-2-13b", "3600:256:256", cap=40, batches=2),
    Cell("one-group-phi", "phi-3.5-mini", "3600:256:128", "full"),
    Cell("static-cap32-13b", "llama-2-13b", "3600:256:256", cap=32, batches=2),
    Cell("static-cap32-phi", "phi-3.5-mini", "3600:256:256", cap=32, batches=1),
    Cell("steps-126-13b", "llama-2-13b", "1100:512:126", "full", budget=1024, batches=1),
    Cell("prefill-phi", "phi-3.5-mini", "3600:1:64,1100:128:128", "full", budget=1024, batches=1),
    Cell("prefill-phi-1024", "phi-3.5-mini", "3600:1:64", "full", budget=1024, batches=1),
    Cell("prefill-phi-2048", "phi-3.5-mini", "3600:1:64", "full", budget=1024, batches=1, step=2048),
    Cell("prefill-phi-4096", "phi-3.5-mini", "3600:1:64", "full", budget=1024, batches=1, step=4096),
    Cell("prefill-13b-2048", "llama-2-13b", "3600:1:64", "full", budget=1024, batches=1, step=2048),
    Cell("prefill-13b-4096", "llama-2-13b", "3600:1:64", "full", budget=1024, batches=1, step=4096),
    Cell("static-cap40-13b-average", "llama-2-13b", "3600:256:256", "decode+average,full+average", cap=40, batches=1),
    Cell("static-cap40-13b-lengths", "llama-2-13b", "1024:256:256,8192:256:256", cap=40, batches=1),
    Cell("continuous-cap32-phi", "phi-3.5-mini", "3600:256:96", cap=32),
    Cell("static-cap80-13b", "llama-2-13b", "3600:256:256", cap=80, batches=1),
    Cell("continuous-cap40-13b", "llama-2-13b", "3600:256:32", cap=40),
    Cell("static-cap32-8b", "llama-3-8b", "3600:256:128", cap=32, batches=1),
    Cell("static-cap40-13b-budget1024", "llama-2-13b", "3600:256:256,8192:256:256", cap=40, budget=1024, batches=1),
    Cell("static-cap80-phi", "phi-3.5-mini", "8192:256:128", cap=80, budget=1024, batches=1),
    Cell("static-all-13b-budget1024", "llama-2-13b", "8192:256:64", budget=1024, batches=1),
]


def memory_gib():
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    return [float(line) / 1024 for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()]


class Grid:
    def __init__(self, args):
        self.args = args
        self.end = time.monotonic() + args.seconds
        self.memory = memory_gib()
        self.print_lock = threading.Lock()
        self.failed = 0

    def run(self, cell, gpus):
        left = self.end - time.monotonic()
        if left <= 0:
            return self.tell(f"== {cell.name}: not started, the time is up")
        command = [sys.executable, str(HERE / "serving.py"), "--program", self.args.program, "--model", str(SHAPES / cell.model),
                   "-tp", str(cell.tp), "--groups", str(cell.groups), "--loads", cell.loads, "--cases", cell.cases,
                   "--budget", str(cell.budget), "--whole-memory", "--ceilings", self.args.ceilings,
                   "--json", str(self.args.out / f"{cell.name}.json")]
        if cell.batches:
            command += ["--static", "--batches", str(cell.batches)]
        command += ["--", "--load-format", "dummy"]
        if cell.cap:
            command += ["--gpu-memory-utilization", f"{cell.cap / self.memory[gpus[0]]:.4f}"]
        if cell.step:
            command += ["--max-num-seqs", "128", "--max-num-batched-tokens", str(128 + cell.step)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
        begin = time.monotonic()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              start_new_session=True) as process:
            try:
                output, _ = process.communicate(timeout=left + self.args.grace)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                output, _ = process.communicate()
            status = process.returncode
        self.failed += status != 0
        self.tell(f"== {cell.name} on GPU {gpus}, {time.monotonic() - begin:.0f} s, status {status}\n{output.rstrip()}")

    def tell(self, text):
        with self.print_lock:
            print(text, flush=True)

    def side_by_side(self, cells):
        waiting = queue.SimpleQueue()
        for cell in cells:
            waiting.put(cell)

        def serve(gpu):
            while not waiting.empty():
                try:
                    self.run(waiting.get_nowait(), [gpu])
                except queue.Empty:
                    return
        threads = [threading.Thread(target=serve, args=(gpu,)) for gpu in range(len(self.memory))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ceilings", required=True, help="GB/s,TFLOP/s of one device, as bench_kernels_cuda prints them")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results")
    parser.add_argument("--only", default=".", help="cells whose name matches")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--grace", type=float, default=60, help="seconds for the cells that run when the time is up")
    parser.add_argument("--program", default=str(HERE.parents[1] / "build" / "cuda" / "bin" / "batchmax"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    grid = Grid(args)
    cells = [cell for cell in CELLS if re.search(args.only, cell.name)]
    several = [cell for cell in cells if 1 < cell.gpus() <= len(grid.memory)]
    for cell in cells:
        if cell.gpus() > len(grid.memory):
            grid.tell(f"== {cell.name}: needs {cell.gpus()} GPUs")
    for cell in several:
        grid.run(cell, list(range(cell.gpus())))
    grid.side_by_side([cell for cell in cells if cell.gpus() == 1])
    sys.exit(1 if grid.failed else 0)


if __name__ == "__main__":
    main()
