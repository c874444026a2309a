#!/usr/bin/env python3
"""Throughput of the real server over HTTP with long book prompts, mode by mode, under a KV memory cap.

For every case a server is started, warmed up with one request, loaded with all requests at once, and ended. Prints a
table and writes JSON. Needs the built programs and scripts/test's Python environment:

  .venv/bin/python bench/serving/serving.py                      # the demo model, room for two full sequences
  .venv/bin/python bench/serving/serving.py --model DIR -tp 2 --input 3072 --output 256 --requests 32
"""
import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
# name, flags. `decode` with score random is the upper bound of decoding-only compression: its scoring is free.
CASES = {
    "off": ["--compression", "off"],
    "decode": ["--compression", "decode"],
    "decode, random": ["--compression", "decode", "--score", "random"],
    "full": ["--compression", "full"],
    "full, average": ["--compression", "full", "--score", "average"],
}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    def __init__(self, args, flags):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(ROOT / "build" / "bench-serving.log", "w")
        command = [str(ROOT / "build" / args.preset / "bin" / "batchmax"), "serve", args.model, "-tp", str(args.tp),
                   "--port", str(self.port), "--kv-cache-memory-bytes", str(args.kv_bytes // args.tp),
                   "--kv-budget", str(args.budget), "--max-num-seqs", str(args.requests), *flags, *args.extra]
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

    def metric(self, text, name):
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))

    def metrics(self):
        return httpx.get(self.url + "/metrics", timeout=10).text

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def prompts(url, count, length):
    """`count` different prompts of exactly `length` token ids, cut from the demo passages."""
    text = "\n\n".join(json.loads(line)["prompt"] for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8"))
    ids = httpx.post(url + "/tokenize", json={"prompt": text, "add_special_tokens": False}, timeout=60).json()["tokens"]
    while len(ids) < length + count * 97:
        ids = ids + ids
    return [ids[i * 97:i * 97 + length] for i in range(count)]


async def one(client, url, prompt, args):
    body = {"model": args.served, "prompt": prompt, "max_tokens": args.output, "ignore_eos": True, "temperature": 0,
            "stream": True}
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


async def load(server, batch, args):
    running = []

    async def watch(client):
        while True:
            text = (await client.get(server.url + "/metrics")).text
            running.append(server.metric(text, "batchmax_sequences_running"))
            await asyncio.sleep(0.25)

    limits = httpx.Limits(max_connections=len(batch) + 4)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        watcher = asyncio.create_task(watch(client))
        start = time.monotonic()
        results = await asyncio.gather(*(one(client, server.url, prompt, args) for prompt in batch))
        wall = time.monotonic() - start
        watcher.cancel()
    return wall, results, max(running, default=0)


def quantile(values, q):
    return statistics.quantiles(values, n=100, method="inclusive")[q - 1] if len(values) > 1 else values[0]


def measure(name, args):
    server = Server(args, CASES[name])
    try:
        batch = prompts(server.url, args.requests + 1, args.input)
        asyncio.run(load(server, batch[:1], args))  # warm-up
        wall, results, running = asyncio.run(load(server, batch[1:], args))
        text = server.metrics()
    finally:
        server.end()
    first = [times[0] - start for start, times in results]
    gaps = [b - a for _, times in results for a, b in zip(times, times[1:])]
    return {
        "case": name, "wall_s": wall, "output_tokens_per_s": args.requests * args.output / wall,
        "input_tokens_per_s": args.requests * args.input / wall, "batch": running,
        "kv_peak_mb": server.metric(text, "batchmax_kv_bytes_peak") / 2**20,
        "ttft_p50_s": quantile(first, 50), "ttft_p99_s": quantile(first, 99),
        "inter_token_p50_ms": 1e3 * quantile(gaps, 50), "inter_token_p99_ms": 1e3 * quantile(gaps, 99),
    }


def kv_bytes_of_two(args):
    """Memory that holds two full sequences of this model: whole pages of 64 slots, K, V, position and mass."""
    config = json.loads((Path(args.model) / "config.json").read_text())
    heads = config.get("num_key_value_heads", config["num_attention_heads"])
    dim = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    element = 4 if "float32" in " ".join(args.extra) else 2
    slot = config["num_hidden_layers"] * heads * (2 * dim * element + 8)
    return 2 * -(-(args.input + args.output) // 64) * 64 * slot


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "demo" / "longbook-17m"))
    parser.add_argument("--preset", default="release")
    parser.add_argument("-tp", type=int, default=1)
    parser.add_argument("--input", type=int, default=3072)
    parser.add_argument("--output", type=int, default=256)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--budget", type=int, default=1024)
    parser.add_argument("--kv-bytes", type=int, default=0, help="KV memory of the group; 0: room for two full sequences")
    parser.add_argument("--cases", default=",".join(name for name in CASES if "," not in name) + ",decode+random")
    parser.add_argument("--json", default="", help="write the figures to this file")
    parser.add_argument("extra", nargs="*", help="more flags for batchmax serve, after --")
    args = parser.parse_args()
    args.served = Path(args.model).name
    args.kv_bytes = args.kv_bytes or kv_bytes_of_two(args)
    names = [name.replace("+", ", ") for name in args.cases.split(",")]
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no such case: {unknown}; there are {list(CASES)}, written with + for ', '")
    print(f"{args.served}, tp {args.tp}, input {args.input}, output {args.output}, {args.requests} requests at once, "
          f"KV memory {args.kv_bytes / 2**20:.1f} MB, budget {args.budget}, {os.cpu_count()} cores")
    print(f"{'case':16}{'out tok/s':>10}{'in tok/s':>10}{'batch':>7}{'KV peak':>10}{'TTFT p50':>10}{'p99':>8}"
          f"{'token p50':>11}{'p99':>9}{'wall':>8}")
    rows = []
    for name in names:
        row = measure(name, args)
        rows.append(row)
        print(f"{name:16}{row['output_tokens_per_s']:10.1f}{row['input_tokens_per_s']:10.0f}{row['batch']:7.0f}"
              f"{row['kv_peak_mb']:7.1f} MB{row['ttft_p50_s']:8.2f} s{row['ttft_p99_s']:6.2f} s"
              f"{row['inter_token_p50_ms']:8.1f} ms{row['inter_token_p99_ms']:6.0f} ms{row['wall_s']:6.1f} s", flush=True)
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        Path(args.json).write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
