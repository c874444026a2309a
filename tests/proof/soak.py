"""Hours of mixed load: streams, whole answers, clients that leave, bad requests. Slopes of what every process holds.

    python tests/proof/soak.py [MINUTES]
"""
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

for folder in ("clients", "faults"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))

from campaign import flags, model_folder  # noqa: E402
from chain import random_prompt  # noqa: E402
from report import table, write  # noqa: E402
from samples import Sampler, sample, slope_per_hour  # noqa: E402
from server import Server, eventually  # noqa: E402
from streams import Load, request  # noqa: E402

GROUPS = 2


async def leave_early(port, chance):
    """Reads a few lines of a stream, or none of a whole answer, and goes."""
    stream = chance.random() < 0.5
    body = {"model": "chain", "prompt": random_prompt(chance), "max_tokens": 3000, "ignore_eos": True, "stream": stream}
    task = asyncio.create_task(read_some(port, body))
    await asyncio.sleep(chance.uniform(0, 0.5))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def read_some(port, body):
    _, lines = await request(port, body)
    try:
        async for _ in lines:
            pass
    finally:
        await lines.aclose()


async def ask_nonsense(port, chance):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(chance.choice([b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n\r\n",
                                b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]))
    await asyncio.wait_for(reader.read(1000), 30)
    writer.close()


async def run(server, seconds, sampler):
    load = Load(server.port, clients=4, seed="soak")
    running = asyncio.create_task(load.run())
    chance = random.Random(5)
    end = time.monotonic() + seconds
    others = 0
    next_look = 0.0
    while time.monotonic() < end and not sampler.gone():
        await (leave_early if chance.random() < 0.3 else ask_nonsense)(server.port, chance)
        others += 1
        if time.monotonic() >= next_look:
            sampler.look()
            next_look = time.monotonic() + max(1.0, seconds / 600)
        await asyncio.sleep(0.05)
    load.stop()
    await running
    return load, others


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "log", *flags(groups=GROUPS), model=model_folder(folder)) as server:
            eventually(lambda: server.metric("batchmax_group_up") == GROUPS, "all groups")
            names = {"coordinator": server.process.pid, **{f"rank {i}": pid for i, pid in enumerate(server.ranks())}}
            before = {label: sample(pid) for label, pid in names.items()}
            sampler = Sampler(names)
            load, others = asyncio.run(run(server, 60 * minutes, sampler))
            if gone := sampler.gone():
                sys.exit(f"soak: {', '.join(gone)} ended; the end of the server's log:\n{server.log.read_text()[-3000:]}")
            eventually(server.idle, "free pages")
            after = {label: sample(pid) for label, pid in names.items()}
    rows, good = [], not load.failures
    for label in names:
        points = sampler.series[label, "memory_mb"]
        late = [point for point in points if point[0] >= points[-1][0] / 2]
        slope = slope_per_hour(late)
        rows.append({"process": label, "memory before, after (MB)": f"{before[label]['memory_mb']:.1f}, {after[label]['memory_mb']:.1f}",
                     "slope, second half (MB/h)": f"{slope:+.2f}",
                     "descriptors": f"{before[label]['descriptors']}, {after[label]['descriptors']}",
                     "threads": f"{before[label]['threads']}, {after[label]['threads']}"})
        good = good and slope < 1 and after[label]["descriptors"] <= before[label]["descriptors"] + 2
        good = good and after[label]["threads"] == before[label]["threads"]
    write("soak", f"scripts/proof soak {minutes:g}",
          f"{minutes:g} minutes: {load.counts['complete']} answers of {load.tokens} pieces compared, {len(load.failures)} of them "
          f"wrong; {others} clients that left or asked nonsense. All pages free at the end.\n\n" + table(rows) +
          "\n\nWanted: less than 1 MB/h, descriptors and threads back at the start.")
    print("\n".join(load.failures[:10]))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
