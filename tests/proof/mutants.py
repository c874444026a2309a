"""Mutants of HTTP requests against the real server, each followed on its connection by a request that must not be touched.

    python tests/proof/mutants.py [COUNT]

Every answer is a whole one with a status of 2xx or 4xx (501 and 505 where HTTP says so). A reader of its own, by the letter of
RFC 9112, says how many requests the bytes hold and where they begin: there are no more answers than that, and the request
behind is answered only where it is one. One client in ten leaves at once. The server lives at the end.
"""
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

for folder in ("clients", "faults"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))

from campaign import flags, model_folder  # noqa: E402
from report import table, write  # noqa: E402
from server import Server  # noqa: E402

BODY = json.dumps({"model": "chain", "prompt": [1, 2, 3], "max_tokens": 1, "temperature": 0.5, "stop_token_ids": [5]})
CHAT = json.dumps({"model": "chain", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1})


def post(path, body):
    return (f"POST {path} HTTP/1.1\r\nHost: a:80\r\nContent-Type: application/json\r\nAccept: */*\r\n"
            f"Content-Length: {len(body)}\r\nAuthorization: Bearer k\r\n\r\n{body}").encode()


# Those who promise a body that does not come are waited for.
LIMITS = ["--header-timeout", 0.5, "--body-timeout", 0.5, "--idle-timeout", 0.5]
SEEDS = [post("/v1/completions", BODY), post("/v1/chat/completions", CHAT), post("/tokenize", '{"prompt":"x"}'),
         b"GET /v1/models HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\n\r\n", b"GET /health?x=1 HTTP/1.0\r\nHost: a\r\n\r\n",
         b"HEAD /livez HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"]
PIECES = [b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\r\n\r\n", b"\r\n ", b"Transfer-Encoding: chunked\r\n",
          b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length : 7\r\n", b"Host: b\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n",
          b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"HTTP/1.1", b"HTTP/2.0", b"\xff", b"\xc3\xa4", b"-1", b"99999999999999999999",
          b"{", b"}", b"[", b"]", b'"', b"1e400", b"null", b"\\u0000", b"%00", b"/../", b"http://b/", b"A" * 300]


def mutate(chance):
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice([1, 1, 2, 3, 6])):
        at = chance.randrange(len(data) + 1)
        length = chance.choice([1, 1, 2, 8, 30])
        what = chance.randrange(6)
        if what == 0:
            data[at:at + 1] = bytes([chance.randrange(256)])
        elif what == 1:
            del data[at:at + length]
        elif what == 2:
            data[at:at] = chance.choice(PIECES)
        elif what == 3:
            data[at:at + length] = chance.choice(PIECES)
        elif what == 4:
            data[at:at] = data[chance.randrange(len(data) + 1):][:length]
        else:
            del data[at:]
        data = data or bytearray(b"\r\n")
    return bytes(data)


ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


def answers_of(data):
    """[(status, fields, body)] of a connection; raises on bytes that are no answer."""
    found = []
    at = 0
    while at < len(data):
        match = ANSWER.match(data, at)
        if not match:
            raise ValueError(f"no answer: {data[at:at + 100]!r}")
        status, fields, at = int(match[1]), match[2].lower(), match.end()
        if status == 100:
            continue
        length = re.search(rb"content-length: (\d+)", fields)
        size = int(length[1]) if length else 0
        body = data[at:at + size]
        # HEAD and its like have none; a further answer begins at once.
        if body.startswith(b"HTTP/1.1 "):
            body, size = b"", 0
        at += size
        found.append((status, fields, body))
    return found


LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


def length_of(head):
    """Bytes of the body behind a head, read by the letter of RFC 9112; None: not to be understood."""
    line, *fields = head.split(b"\r\n")
    parsed = [FIELD.fullmatch(field) for field in fields]
    if not LINE.fullmatch(line) or not all(parsed):
        return None
    named = [(match[1].lower(), match[2].strip(b" \t")) for match in parsed]
    lengths = [value for name, value in named if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in named) or len(lengths) > 1:
        return None
    if sum(name == b"host" for name, _ in named) != 1 or lengths and not lengths[0].isdigit():
        return None
    return int(lengths[0]) if lengths else 0


def requests_in(stream):
    """Where the requests of a connection begin, as far as they can be understood; the last one may be one that cannot."""
    starts, at = [], 0
    while at < len(stream):
        while stream.startswith(b"\r\n", at):
            at += 2
        starts.append(at)
        end = stream.find(b"\r\n\r\n", at)
        length = None if end < 0 else length_of(stream[at:end])
        if length is None:
            break
        at = end + 4 + length
    return starts


def judge(mutant, behind, answers, token):
    """What is wrong; empty: nothing."""
    for status, _, _ in answers:
        if status >= 500 and status not in (501, 505) or status < 200:
            return f"status {status}"
    starts = requests_in(mutant + behind)
    if len(answers) > len(starts):
        return f"{len(answers)} answers to {len(starts)} requests"
    own = [i for i, (status, fields, _) in enumerate(answers) if status == 200 and b"x-request-id: " + token in fields]
    if own and len(mutant) in starts and own != [len(answers) - 1]:
        return "the request behind it was answered out of turn"
    return ""


def request_behind(token):
    return b"GET /livez HTTP/1.1\r\nHost: c\r\nX-Request-Id: " + token + b"\r\nConnection: close\r\n\r\n"


async def one(port, data, leaves):
    """What came back; None where nobody stayed to see it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if leaves:
            await writer.drain()
            return None
        return await asyncio.wait_for(reader.read(-1), 30)
    except (ConnectionResetError, BrokenPipeError):  # it closed before it had read all
        return b""
    finally:
        writer.close()


async def run(port, count, workers=64):
    statuses, faults = Counter(), []

    async def work(index):
        chance = random.Random(index)
        for i in range(index, count, workers):
            mutant, token = mutate(chance), b"behind-%d" % i
            fault = ""
            try:
                behind = request_behind(token)
                came = await one(port, mutant + behind, leaves=chance.random() < 0.1)
                if came is not None:
                    answers = answers_of(came)
                    fault = judge(mutant, behind, answers, token)
                    statuses.update(status for status, _, _ in answers)
            except ConnectionRefusedError:
                faults.append(("nobody listens any more, after", mutant))
                return
            except asyncio.TimeoutError:
                fault = "no end within 30 s"
            except ValueError as error:
                fault = str(error)
            if fault:
                faults.append((fault, mutant))
    await asyncio.gather(*(work(i) for i in range(workers)))
    return statuses, faults


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        with Server(Path(folder) / "log", *flags(groups=1), *LIMITS, model=model_folder(folder)) as server:
            statuses, faults = asyncio.run(run(server.port, count))
            lives = server.process.poll() is None and server.status("/health") == 200
    rows = [{"status": status, "answers": number} for status, number in sorted(statuses.items())]
    write("mutants", f"scripts/proof mutants {count}",
          f"{count} mutants in {time.monotonic() - begin:.0f} s; {len(faults)} faults; the server is "
          f"{'healthy' if lives else 'NOT healthy'} at the end.\n\n" + table(rows))
    for fault, mutant in faults[:10]:
        print(fault, mutant)
    sys.exit(0 if lives and not faults else 1)


if __name__ == "__main__":
    main()
