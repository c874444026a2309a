"""How soon a client that leaves makes room: a group of one place, one client in it, another that waits behind.

    python tests/proof/leave.py [COUNT]

The time from the one's end to the other's first token, so with the step that makes that token.
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
from samples import percentile  # noqa: E402
from server import Server  # noqa: E402
from streams import request  # noqa: E402

LIMIT = 0.1


def long_answer(chance, stream):
    return {"model": "chain", "prompt": random_prompt(chance), "max_tokens": 3000, "ignore_eos": True, "stream": stream}


async def first_token(port, body):
    _, lines = await request(port, body)
    async for line in lines:
        if "token_ids" in line:
            break
    await lines.aclose()
    return time.perf_counter()


async def wait_for_whole(port, body):
    _, lines = await request(port, body)
    async for _ in lines:
        pass


async def once(port, chance, stream):
    """Seconds."""
    body = long_answer(chance, stream)
    if stream:
        _, lines = await request(port, body)
        await anext(lines)
    else:
        asked = asyncio.create_task(wait_for_whole(port, body))
        await asyncio.sleep(0.1)
    behind = asyncio.create_task(first_token(port, long_answer(chance, True)))
    await asyncio.sleep(chance.uniform(0.05, 0.15))
    assert not behind.done(), "there was room for two"
    begin = time.perf_counter()
    if stream:
        await lines.aclose()
    else:
        asked.cancel()
    return await behind - begin


async def measure(port, count):
    chance = random.Random(1)
    took = {"streamed": [], "whole": []}
    for i in range(count):
        took["whole" if i % 2 else "streamed"].append(await once(port, chance, stream=i % 2 == 0))
    return took


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "log", *flags(groups=1), "--max-num-seqs", 1, model=model_folder(folder)) as server:
            took = asyncio.run(measure(server.port, count))
    rows = [{"answer that is left": kind, "times": len(seen), "p50 (ms)": f"{1000 * percentile(seen, 0.5):.1f}",
             "p99 (ms)": f"{1000 * percentile(seen, 0.99):.1f}", "longest (ms)": f"{1000 * max(seen):.1f}"} for kind, seen in took.items()]
    write("leave", f"scripts/proof leave {count}", "A group with one place: from a client's leaving to the first token of the one that waits "
          f"behind it.\n\n{table(rows)}\n\nWanted: at most {1000 * LIMIT:.0f} ms.")
    sys.exit(0 if max(map(max, took.values())) <= LIMIT else 1)


if __name__ == "__main__":
    main()
