"""Ten times the load that it can carry: what is done, how fast the rest is turned away, and what memory does.

    python tests/proof/overload.py [SECONDS]

A hash chain for a model, so that every answer is checked; its step takes 24 ms, as that of a 13B model on a GPU does: what the
group can carry does not depend on what the clients leave of the cores. Peak: as many clients as the group runs sequences, each
with its next request at once. Then requests arrive ten times as often, whether answered or not. The peak is measured before
and after, and the higher one counts.
"""
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

for folder in ("clients", "faults"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))

from campaign import chain_steps, flags, model_folder  # noqa: E402
from chain import random_prompt, tokens_after  # noqa: E402
from report import table, write  # noqa: E402
from samples import Sampler, percentile  # noqa: E402
from server import Server  # noqa: E402

SEQUENCES = 8
QUEUE = 32
STEP_MS = 24  # as Llama-2-13B with 64 sequences on an H200 (docs/performance.md)
TOKENS = 20
PROMPTS = [random_prompt(random.Random(i), 30) for i in range(64)]
EXPECTED = [tokens_after(prompt, TOKENS) for prompt in PROMPTS]
BODIES = [json.dumps({"model": "chain", "prompt": prompt, "max_tokens": TOKENS, "ignore_eos": True}).encode()
          for prompt in PROMPTS]


async def ask(port, which):
    """Status and seconds; a wrong answer raises."""
    body = BODIES[which % len(BODIES)]
    begin = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                     b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = await reader.read(-1)
    finally:
        writer.close()
    took = time.perf_counter() - begin
    head, _, rest = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if status == 200 and json.loads(rest)["choices"][0]["token_ids"] != EXPECTED[which % len(BODIES)]:
        raise AssertionError("a wrong answer")
    return status, took


async def peak(port, seconds):
    done = 0
    end = time.monotonic() + seconds

    async def client(i):
        nonlocal done
        while time.monotonic() < end:
            status, _ = await ask(port, i)
            assert status == 200
            if time.monotonic() < end:
                done += 1
            i += 1
    await asyncio.gather(*(client(i * 7) for i in range(SEQUENCES + 2)))
    return done / seconds


async def flood(port, rate, seconds, sampler):
    answers, tasks = [], set()
    begin = time.monotonic()

    async def one(i):
        answers.append((*await ask(port, i), time.monotonic() - begin))
    sent = 0
    next_look = 0.0
    while (now := time.monotonic() - begin) < seconds:
        while sent < now * rate:
            task = asyncio.create_task(one(sent))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        if now >= next_look:
            sampler.look()
            next_look = now + 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    sampler.look()
    return sent, answers


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        extra = ["--max-num-seqs", SEQUENCES, "--max-num-queued-reqs", QUEUE]
        with Server(Path(folder) / "log", *flags(groups=1), *extra, model=model_folder(folder),
                    environment=chain_steps(STEP_MS)) as server:
            # Clients would have machines of their own: here they run only when the server does not want to.
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            asyncio.run(peak(server.port, 3))
            best = asyncio.run(peak(server.port, 15))
            names = {"coordinator": server.process.pid, **{f"rank {i}": pid for i, pid in enumerate(server.ranks())}}
            sampler = Sampler(names)
            sent, answers = asyncio.run(flood(server.port, 10 * best, seconds, sampler))
            best = max(best, asyncio.run(peak(server.port, 15)))
    done = [at for status, _, at in answers if status == 200 and at <= seconds]
    turned_away = [took for status, took, _ in answers if status == 503]
    others = sorted({status for status, _, _ in answers} - {200, 503})
    goodput = len(done) / seconds
    p99 = percentile(turned_away, 0.99) * 1000
    memory = sampler.series["coordinator", "memory_mb"]
    settled = [value for at, value in memory if at >= seconds / 4]
    growth = settled[-1] - settled[0]
    write("overload", f"scripts/proof overload {seconds}", table([
        {"figure": "peak", "seen": f"{best:.1f} requests/s of {TOKENS} tokens, a step {STEP_MS} ms", "wanted": ""},
        {"figure": "offered", "seen": f"{sent / seconds:.0f} requests/s for {seconds} s", "wanted": "10 x"},
        {"figure": "goodput", "seen": f"{goodput:.1f} requests/s, {100 * goodput / best:.0f} % of the peak", "wanted": ">= 95 %"},
        {"figure": "turned away (503)", "seen": f"{len(turned_away)}, p50 {percentile(turned_away, 0.5) * 1000:.1f} ms, p99 {p99:.1f} ms",
         "wanted": "p99 <= 10 ms"},
        {"figure": "other answers", "seen": others or "none", "wanted": "none"},
        {"figure": "coordinator's memory", "seen": f"{memory[0][1]:.1f} MB before, {memory[-1][1]:.1f} MB after; "
         f"{growth:+.1f} MB over the last three quarters", "wanted": "flat"},
    ]) + "\n\nThe clients run on the same cores as coordinator and ranks, but only when these do not want to (SCHED_IDLE); latencies are seen by them.")
    sys.exit(0 if goodput >= 0.95 * best and p99 <= 10 and not others and growth < 2 else 1)


if __name__ == "__main__":
    main()
