"""Clients that stream completions of the hash chain and compare every token with what must come."""
import asyncio
import json
import random
from collections import Counter

from chain import random_prompt, tokens_after

PATIENCE = 90  # seconds without a byte: a hang


class Wrong(Exception):
    """A kind (lost, wrong, error, hang, cut) and what was seen."""

    def __init__(self, kind, detail):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


async def request(port, body):
    """Status and an iterator over the lines of the answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    payload = json.dumps(body).encode()
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
                 b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(payload) + payload)
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    except BaseException:  # cancelled too: whoever leaves closes
        writer.close()
        raise
    status = int(head.split()[1])
    chunked = b"chunked" in head.lower()

    async def lines():
        rest = b""
        try:
            while True:
                if chunked:
                    size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), PATIENCE), 16)
                    data = (await asyncio.wait_for(reader.readexactly(size + 2), PATIENCE))[:-2]
                else:
                    data = await asyncio.wait_for(reader.read(65536), PATIENCE)
                if not data:
                    if rest:
                        yield rest.decode()
                    return
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    yield line.decode()
        finally:
            writer.close()
    return status, lines()


def compare(got, expected):
    if got == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
    kind = "lost" if got == expected[:len(got)] else "wrong"
    raise Wrong(kind, f"{len(got)} of {len(expected)} tokens, first difference at {at}: "
                      f"{got[at:at + 3]} for {expected[at:at + 3]}")


async def completion(port, prompt, max_tokens, stream, on_token=lambda: None):
    """One completion from its first to its last byte; raises Wrong."""
    body = {"model": "chain", "prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "stream": stream}
    try:
        status, lines = await request(port, body)
        got, finish, done = [], None, not stream
        if status != 200:
            raise Wrong("error", f"{status} " + "".join([line async for line in lines])[:300])
        async for line in lines:
            if stream and not line.startswith("data: "):
                continue
            text = line.removeprefix("data: ")
            if text == "[DONE]":
                done = True
                continue
            answer = json.loads(text)
            if "error" in answer:
                raise Wrong("error", text[:300])
            for choice in answer["choices"]:
                if finish:
                    raise Wrong("wrong", "something after the end")
                got += choice["token_ids"]
                finish = choice["finish_reason"]
            on_token()
        compare(got, tokens_after(prompt, max_tokens))
        if finish != "length" or not done:
            raise Wrong("wrong", f"ends with {finish}, done: {done}")
    except asyncio.TimeoutError:
        raise Wrong("hang", f"no byte for {PATIENCE} s") from None
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Wrong("cut", repr(error)) from None


class Load:
    """`clients` clients, one completion after the other, until stop()."""

    def __init__(self, port, clients, seed, longest=150):
        self.port, self.clients, self.seed, self.longest = port, clients, seed, longest
        self.counts = Counter()
        self.failures = []
        self.tokens = 0
        self.stopping = False

    async def run(self):
        await asyncio.gather(*(self.client(random.Random(f"{self.seed}/{i}")) for i in range(self.clients)))

    def stop(self):
        self.stopping = True

    async def client(self, chance):
        def count():
            self.tokens += 1
        while not self.stopping:
            try:
                await completion(self.port, random_prompt(chance), chance.randint(self.longest // 5, self.longest),
                                 stream=chance.random() < 0.9, on_token=count)
                self.counts["complete"] += 1
            except Wrong as wrong:
                self.counts[wrong.kind] += 1
                self.failures.append(str(wrong))
                await asyncio.sleep(0.2)
