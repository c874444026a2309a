#!/usr/bin/env python3
"""Throughput of the real server over HTTP with long prompts, mode by mode, under a KV memory cap.

Prompts are cut from novels; a model without a tokenizer (--load-format dummy) gets random token ids. For every score one
server is started, warmed up with one request per mode, loaded mode by mode, and ended. Prints a table and writes JSON.
Needs the built programs and scripts/test's Python environment:

  .venv/bin/python bench/serving/serving.py                      # the demo model, room for two full sequences
  .venv/bin/python bench/serving/serving.py --model DIR -tp 2 --loads 3072:256:32,1024:256:32
  .venv/bin/python bench/serving/serving.py --model bench/shapes/llama-2-13b --static --whole-memory \
      --ceilings 3000,700 -- --load-format dummy --gpu-memory-utilization 0.5

Continuous batching (the default): all requests at once, the server admits them as memory allows. --static: as the paper
measures, batches of as many requests as fit, one batch after the other. grid.py runs the tables of docs/performance.md.
"""
import argparse
import asyncio
import itertools
import json
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
# name: score, fields of the request. `decode` with score random is the upper bound of decoding-only compression: its
# scoring is free.
CASES = {
    "off": ("key_distance", {"compression": "off"}),
    "decode": ("key_distance", {"compression": "decode"}),
    "full": ("key_distance", {"compression": "full"}),
    "decode, random": ("random", {"compression": "decode"}),
    "decode, average": ("average", {"compression": "decode"}),
    "full, average": ("average", {"compression": "full"}),
}
# Tokens of a prompt, tokens of an answer, requests at once at most.
Load = namedtuple("Load", "input output requests")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    def __init__(self, args, score):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(Path(tempfile.gettempdir()) / f"batchmax-bench-{self.port}.log", "w")
        command = [args.program or str(ROOT / "build" / args.preset / "bin" / "batchmax"), "serve", args.model, "-tp",
                   str(args.tp), "--port", str(self.port), "--score", score, "--kv-budget", str(args.budget),
                   "--max-num-seqs", str(max(load.requests for load in args.loads)), "--groups", str(args.groups), *args.extra]
        if not args.whole_memory:
            command += ["--kv-cache-memory-bytes", str(args.kv_bytes // args.tp)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        for _ in range(600):
            try:
                if httpx.get(self.url + "/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"the server ended: {Path(self.log.name).read_text()[-2000:]}")
            time.sleep(0.2)
        sys.exit("the server did not become healthy")

    def metric(self, text, name, label=""):
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{") and label in line)

    def metrics(self):
        return httpx.get(self.url + "/metrics", timeout=10).text

    def steps(self):
        """Count and seconds of steps and their parts so far, by phase, over all groups."""
        time.sleep(0.6)  # figures travel with heartbeats
        text = self.metrics()
        return {phase: [self.metric(text, f"batchmax_step_seconds_{what}", f'phase="{phase}"') for what in ("count", "sum")]
                for phase in ("decode", "prefill", "mixed", "all_reduce", "selection", "plan")}

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def prompts(url, count, length, args):
    """`count` different prompts of `length` token ids: cut from the demo passages, or random ones."""
    if not (Path(args.model) / "tokenizer.json").exists():
        draw = random.Random(7)
        return [[draw.randrange(args.config["vocab_size"]) for _ in range(length)] for _ in range(count)]
    text = "\n\n".join(json.loads(line)["prompt"] for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8"))
    ids = httpx.post(url + "/tokenize", json={"prompt": text, "add_special_tokens": False}, timeout=60).json()["tokens"]
    while len(ids) < length + count * 97:
        ids = ids + ids
    return [ids[i * 97:i * 97 + length] for i in range(count)]


async def one(client, url, prompt, output, fields, args):
    body = {"model": args.served, "prompt": prompt, "max_tokens": output, "ignore_eos": True, "temperature": 0,
            "stream": True, **fields}
    start = time.monotonic()
    times = []
    async with client.stream("POST", url + "/v1/completions", json=body) as response:
        if response.status_code != 200:
            raise RuntimeError((await response.aread()).decode())
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            times.append(time.monotonic())
    return start, times


def reserved_pages(server, prompt, output, fields, args):
    """Pages that one request of this kind reserves; it ends after a token, and warms the server up."""
    body = {"model": args.served, "prompt": prompt, "max_tokens": output, "temperature": 0, "logit_bias": {"7": 100},
            "stop_token_ids": [7], **fields}
    answer = httpx.post(server.url + "/v1/completions", json=body, timeout=None)
    if answer.status_code != 200:
        raise RuntimeError(answer.json()["error"]["message"])
    return answer.json()["batchmax"]["kv_bytes_reserved"] // (64 * slot_bytes(args))


async def drive(server, batches, output, fields, args):
    running = []

    async def watch(client):
        while True:
            text = (await client.get(server.url + "/metrics")).text
            running.append(server.metric(text, "batchmax_sequences_running"))
            await asyncio.sleep(0.25)

    limits = httpx.Limits(max_connections=max(map(len, batches)) + 4)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        watcher = asyncio.create_task(watch(client))
        start = time.monotonic()
        results = []
        for batch in batches:
            results += await asyncio.gather(*(one(client, server.url, prompt, output, fields, args) for prompt in batch))
        wall = time.monotonic() - start
        watcher.cancel()
    return wall, results, max(running, default=0)


def quantile(values, q):
    return statistics.quantiles(values, n=100, method="inclusive")[q - 1] if len(values) > 1 else values[0]


def ideal_seconds(weight_bytes, load, batch, slots, args):
    """What weights, KV cache and products cost at the ceilings alone: prompts at the matmul rate, every decode step a read
    of the weights and of the batch's slots."""
    if not args.ceilings:
        return None
    bandwidth, flops = (float(value) for value in args.ceilings.split(","))
    bandwidth, flops = bandwidth * 1e9 * args.tp * args.groups, flops * 1e12 * args.tp * args.groups
    prompts = load.requests * load.input * weight_bytes / flops  # 2 operations per weight of 2 bytes
    steps = load.output * load.requests / batch
    return prompts + steps * (weight_bytes * args.groups + batch * slots * slot_bytes(args)) / bandwidth


def measure(server, name, load, args):
    fields = CASES[name][1]
    pages = reserved_pages(server, prompts(server.url, 1, load.input, args)[0], load.output, fields, args)
    fits = int(server.metric(server.metrics(), "batchmax_kv_pages_total")) // pages
    size = min(fits, load.requests) if args.static else load.requests
    requests = size * args.batches if args.static and args.batches else load.requests
    batch = prompts(server.url, requests + 1, load.input, args)[1:]
    batches = [batch[i:i + size] for i in range(0, requests, size)]
    before = server.steps()
    wall, results, running = asyncio.run(drive(server, batches, load.output, fields, args))
    steps = {phase: [count - before[phase][0], seconds - before[phase][1]]
             for phase, (count, seconds) in server.steps().items()}
    busy = sum(steps[phase][1] for phase in ("decode", "prefill", "mixed"))
    first = [times[0] - start for start, times in results]
    gaps = [b - a for _, times in results for a, b in zip(times, times[1:])] or [0.0]
    slots = load.input + load.output / 2 if fields["compression"] == "off" else min(args.budget, load.input)
    weights = server.metric(server.metrics(), "batchmax_device_memory_bytes", 'use="weights"') / args.groups
    ideal = ideal_seconds(weights, load._replace(requests=requests), min(fits, size), slots, args)
    return {
        "case": name, "input": load.input, "output": load.output, "requests": requests, "wall_s": wall,
        "output_tokens_per_s": requests * load.output / wall, "input_tokens_per_s": requests * load.input / wall,
        "batch": running, "sequences_that_fit": fits, "kv_reserved_mb": min(size, fits) * pages * 64 * slot_bytes(args) / 2**20,
        "ttft_p50_s": quantile(first, 50), "ttft_p99_s": quantile(first, 99),
        "inter_token_p50_ms": 1e3 * quantile(gaps, 50), "inter_token_p99_ms": 1e3 * quantile(gaps, 99),
        "share_of_roofline": ideal / wall if ideal else None, "share_in_steps": busy / wall / args.groups,
        "steps": {phase: {"count": count, "mean_ms": 1e3 * seconds / count} for phase, (count, seconds) in steps.items() if count},
    }


def slot_bytes(args):
    """K, V, position and mass of one slot in all layers and heads."""
    config = args.config
    heads = config.get("num_key_value_heads", config["num_attention_heads"])
    dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    element = 4 if "float32" in " ".join(args.extra) else 2
    return config["num_hidden_layers"] * heads * (2 * dim * element + 8)


def kv_bytes_of_two(args):
    """Memory that holds two full sequences of this model, in whole pages."""
    return 2 * -(-max(load.input + load.output for load in args.loads) // 64) * 64 * slot_bytes(args)


def machine():
    """The GPUs, where there are any, else the processor."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True).stdout.split("\n")
        if lines[0]:
            return lines[0]
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else "unknown"


def loads(text):
    return [Load(*(int(word) for word in item.split(":"))) for item in text.split(",")]


def header():
    return (f"{'case':16}{'input':>7}{'output':>7}{'requests':>9}{'out tok/s':>10}{'in tok/s':>10}{'fit':>6}{'batch':>7}{'KV':>10}{'TTFT p50':>10}{'p99':>8}"
            f"{'token p50':>11}{'p99':>9}{'wall':>8}{'in steps':>10}{'roofline':>10}")


def line_of(row):
    share = f"{100 * row['share_of_roofline']:8.0f} %" if row["share_of_roofline"] else ""
    return (f"{row['case']:16}{row['input']:7}{row['output']:7}{row['requests']:9}{row['output_tokens_per_s']:10.1f}{row['input_tokens_per_s']:10.0f}"
            f"{row['sequences_that_fit']:6}{row['batch']:7.0f}{row['kv_reserved_mb']:7.0f} MB{row['ttft_p50_s']:8.2f} s"
            f"{row['ttft_p99_s']:6.2f} s{row['inter_token_p50_ms']:8.1f} ms{row['inter_token_p99_ms']:6.0f} ms"
            f"{row['wall_s']:6.1f} s{100 * row['share_in_steps']:8.0f} %{share}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "demo" / "longbook-17m"))
    parser.add_argument("--preset", default="release")
    parser.add_argument("-tp", type=int, default=1)
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--loads", type=loads, default=[Load(3072, 256, 32)],
                        help="INPUT:OUTPUT:REQUESTS, tokens and requests at once at most; a list: one after the other")
    parser.add_argument("--batches", type=int, default=0, help="with --static: so many batches; 0: as many as hold the requests")
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--kv-bytes", type=int, default=0, help="KV memory of the group; 0: room for two full sequences")
    parser.add_argument("--whole-memory", action="store_true", help="no cap but what the flags after -- say")
    parser.add_argument("--static", action="store_true", help="batches of what fits, one after the other")
    parser.add_argument("--ceilings", default="", help="GB/s,TFLOP/s of one device, for the share of the roofline")
    parser.add_argument("--cases", default="off,decode,full,decode+random")
    parser.add_argument("--program", default="", help="batchmax, where it does not lie under build/PRESET/bin")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("extra", nargs="*", help="more flags for batchmax serve, after --")
    args = parser.parse_args()
    args.served = Path(args.model).name
    args.config = json.loads((Path(args.model) / "config.json").read_text())
    args.kv_bytes = args.kv_bytes or kv_bytes_of_two(args)
    names = [name.replace("+", ", ") for name in args.cases.split(",")]
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no such case: {unknown}; there are {list(CASES)}, written with + for ', '")
    memory = "all KV memory" if args.whole_memory else f"KV memory {args.kv_bytes / 2**20:.1f} MB"
    print(f"{args.served}, {args.groups} x tp {args.tp}, "
          f"{'static batches' if args.static else 'all at once'}, {memory}, budget {args.budget}, {machine()}, "
          f"{' '.join(args.extra)}")
    print(header())
    rows = []

    def add(row):
        """A file that is stopped half-way holds what was measured."""
        rows.append(row)
        if args.json:
            kept = ("served", "tp", "groups", "static", "batches", "budget", "whole_memory", "kv_bytes", "ceilings", "extra")
            settings = {key: getattr(args, key) for key in kept if key != "kv_bytes" or not args.whole_memory}
            Path(args.json).write_text(json.dumps({"machine": machine(), "settings": settings, "rows": rows}, indent=1) + "\n")

    for score in dict.fromkeys(CASES[name][0] for name in names):
        server = Server(args, score)
        try:
            for name, load in itertools.product(names, args.loads):
                if CASES[name][0] != score:
                    continue
                try:
                    add(measure(server, name, load, args))
                    print(line_of(rows[-1]), flush=True)
                except RuntimeError as error:  # cannot run under this cap: that is a result
                    add({"case": name, **load._asdict(), "error": str(error)})
                    print(f"{name:16}{load.input:7} {error}", flush=True)
        finally:
            server.end()


if __name__ == "__main__":
    main()
