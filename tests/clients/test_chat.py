"""`batchmax chat` against the real server: from a pipe, on a terminal, interrupted, refused."""
import http.server
import os
import re
import signal
import subprocess
import threading

import httpx
import pytest

from server import BIN, MODEL, PATIENCE, Server, eventually, free_port
from terminal import Terminal
from test_tls import certificate

BATCHMAX = str(BIN / "batchmax")
QUESTION = "Tell me about the sea."
CONTROL_C = "\x03"
CONTROL_D = "\x04"


def environment(**more):
    clean = {name: value for name, value in os.environ.items() if name not in ("OPENAI_API_KEY", "BATCHMAX_API_KEY")}
    return {**clean, **more}


def chat(*arguments, stdin="", **variables):
    """Exit status, answer, what else was said."""
    done = subprocess.run([BATCHMAX, "chat", *map(str, arguments)], input=stdin if isinstance(stdin, bytes) else stdin.encode(),
                          capture_output=True, timeout=PATIENCE, env=environment(**variables))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def on_terminal(server, *flags):
    return Terminal([BATCHMAX, "chat", "--url", server.url, "--temperature", "0", *map(str, flags)], environment())


def answer_of(client, messages, **fields):
    whole = client.chat.completions.create(model="longbook-17m", messages=messages, temperature=0, **fields)
    return whole.choices[0].message.content


def user(text):
    return {"role": "user", "content": text}


def line(answer):
    """An answer as it leaves on standard output."""
    return answer if answer.endswith("\n") else answer + "\n"


@pytest.mark.parametrize("form", ["argument", "words", "standard input"])
def test_one_question_is_answered_as_the_openai_client_has_it(server, client, form):
    expected = answer_of(client, [user(QUESTION)], max_tokens=24)
    asked = {"argument": [QUESTION], "words": QUESTION.split(), "standard input": []}[form]
    told = chat("--url", server.url, "--temperature", 0, "--max-tokens", 24, *asked,
                stdin="" if asked else QUESTION + "\n")
    assert told == (0, line(expected), "")


def test_a_system_message_and_a_base_url(server, client):
    expected = answer_of(client, [{"role": "system", "content": "Be brief."}, user(QUESTION)], max_tokens=16)
    assert chat("--url", server.url + "/v1", "--system", "Be brief.", "--temperature=0", "--max-tokens=16", QUESTION) == \
        (0, line(expected), "")


@pytest.mark.parametrize("form", ["file", "standard input", "whole"])
def test_a_document_goes_before_the_question(server, passage, tmp_path, form):
    text, question = passage["prompt"].rsplit("\n\n", 1)
    (tmp_path / "document").write_text(passage["prompt"] if form == "whole" else text + "\n")
    flags = ["--url", server.url, "--temperature", 0, "--compression", "off"]
    if form == "file":
        told = chat(*flags, "--file", tmp_path / "document", question)
    elif form == "standard input":
        told = chat(*flags, "--file", "-", question, stdin=text)
    else:
        told = chat(*flags, "--file", tmp_path / "document")
    assert (told[0], told[1].strip(), told[2]) == (0, passage["answer"], "")


def test_a_conversation_on_a_terminal(server, client):
    """Earlier turns are sent, /reset forgets them, /usage adds up, Ctrl-D ends."""
    first = answer_of(client, [user("Who came to the house?")], max_tokens=12)
    second = answer_of(client, [user("Who came to the house?"), {"role": "assistant", "content": first}, user("Why?")], max_tokens=12)
    alone = answer_of(client, [user("Why?")], max_tokens=12)
    assert len({first, second, alone}) == 3
    with on_terminal(server, "--max-tokens", 12) as terminal:
        for typed, expected in (("Who came to the house?", first), ("Why?", second), ("/reset", None), ("Why?", alone)):
            terminal.expect("> $")
            terminal.type(typed + "\n")
            if expected is not None:
                shown = terminal.expect(r"\(\d+ \+ \d+ tokens; first after [\d.]+ s, then [\d.]+ tokens/s; KV cache .*\)\n")
                assert shown.split("\n", 1)[1].rsplit("(", 1)[0] == line(expected)
        terminal.expect("> $")
        terminal.type("/usage\n")
        terminal.expect(r"answers: 3, tokens read: \d+, written: \d+\n")
        terminal.type("/nonsense\n")
        terminal.expect("/reset.*\n.*\n.*/quit.*\n?")
        terminal.type(CONTROL_D)
        assert terminal.wait() == 0


# Greedily, the model goes on for thousands of tokens.
COUNTING = "1 2 3 4 5 6 7 8 9 10 11 12 13 14"
LONG = ("--temperature", "0", "--max-tokens", "3500")


def given_up(server):
    """Requests that ended because their client left."""
    metrics = httpx.get(server.url + "/metrics").text
    return sum(map(float, re.findall(r'^batchmax_requests_total\{.*finish_reason="abort".*\} (\S+)$', metrics, re.MULTILINE)))


def test_control_c_ends_the_answer_then_the_program(server):
    before = given_up(server)
    with Terminal([BATCHMAX, "chat", "--url", server.url, *LONG], environment()) as terminal:
        terminal.expect("> $")
        terminal.type(COUNTING + "\n")
        terminal.expect(r"\n.*\S+ \S+ \S+")
        terminal.type(CONTROL_C)
        terminal.expect(r"\(stopped.*\)\n> $")
        eventually(lambda: given_up(server) == before + 1 and server.idle(), "free pages")
        terminal.type(CONTROL_C)
        assert terminal.wait() == -signal.SIGINT


def test_an_interrupted_question_ends_with_130(server):
    before = given_up(server)
    running = subprocess.Popen([BATCHMAX, "chat", "--url", server.url, *LONG, COUNTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment())
    assert running.stdout.read(8)
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 130
    assert running.stderr.read() == b""
    running.stdout.close()
    running.stderr.close()
    eventually(lambda: given_up(server) == before + 1 and server.idle(), "free pages")


@pytest.mark.parametrize("arguments, status, words", [
    (["--model", "other", "Hi"], 1, ["other", "longbook-17m"]),
    (["--kv-budget", 3, "Hi"], 1, ["kv_budget 3", "least"]),
    (["--max-tokens", 4096, "Hi"], 1, ["maximum context length is 4096 tokens"]),
    (["--file", "/nowhere/file", "Hi"], 1, ["--file", "/nowhere/file"]),
    (["--file", os.path.dirname(__file__), "Hi"], 1, ["--file", "cannot be read"]),
    (["--file", BATCHMAX, "Hi"], 1, ["--file", "UTF-8"]),
    ([b"\xff".decode("utf-8", "surrogateescape")], 1, ["UTF-8"]),
    ([], 2, ["nothing is asked", "batchmax chat"]),
    (["--temperature", "hot", "Hi"], 2, ["--temperature", "'hot'", "0 to 2"]),
    (["--urls", "x"], 2, ["--urls", "--url?"]),
])
def test_what_cannot_be_answered_is_said_in_one_line(server, arguments, status, words):
    code, answer, said = chat("--url", server.url, *arguments)
    assert (code, answer) == (status, "")
    assert said.startswith("batchmax chat: ") and said.count("\n") == 1, said
    for word in words:
        assert word in said


@pytest.mark.parametrize("url, status, words", [
    ("http://127.0.0.1:{free}", 1, ["nobody answers", "Connection refused", "batchmax serve"]),
    ("http://nowhere.invalid", 1, ["nowhere.invalid", "not known", "--url"]),
    ("http://127.0.0.1:99999", 2, ["--url", "http://HOST:PORT"]),
    ("127.0.0.1:8000", 2, ["--url", "http://HOST:PORT"]),
])
def test_a_server_that_is_not_there(url, status, words):
    code, answer, said = chat("--url", url.format(free=free_port()), "Hi")
    assert (code, answer) == (status, "")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_an_answer_that_cannot_be_written_is_no_success(server):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BATCHMAX, "chat", "--url", server.url, "--max-tokens", "4", "Hi"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE, env=environment())
    assert done.returncode == 1
    assert "standard output" in done.stderr


def test_an_error_leaves_the_conversation_open(server):
    with on_terminal(server, "--max-tokens", 4095) as terminal:
        terminal.expect("> $")
        terminal.type("word " * 8 + "\n")
        terminal.expect("batchmax chat: This model's maximum context length.*\n> $")
        terminal.type("/quit\n")
        assert terminal.wait() == 0


def test_keys(tmp_path):
    with Server(tmp_path / "log", "--api-key", "alpha,beta", "--threads", 1) as server:
        ask = ("--url", server.url, "--max-tokens", 4, "Hi")
        code, answer, said = chat(*ask)
        assert (code, answer) == (1, "")
        assert "BATCHMAX_API_KEY" in said and "--api-key" in said and said.count("\n") == 1
        assert chat(*ask, OPENAI_API_KEY="wrong")[0] == 1
        assert chat("--api-key", "beta", *ask, OPENAI_API_KEY="wrong")[0] == 0
        assert chat(*ask, OPENAI_API_KEY="beta")[0] == 0
        assert chat(*ask, BATCHMAX_API_KEY="alpha,beta", OPENAI_API_KEY="wrong")[0] == 0


def test_https_is_verified(tmp_path):
    mine, other = certificate(tmp_path, "mine"), certificate(tmp_path, "other")
    with Server(tmp_path / "log", "--ssl-certfile", mine[0], "--ssl-keyfile", mine[1], "--threads", 1, trust=mine[0]) as server:
        ask = ("--url", server.url, "--max-tokens", 4, "Hi")
        assert chat("--ca-file", mine[0], *ask)[::2] == (0, "")
        for flags in ((), ("--ca-file", other[0])):
            code, answer, said = chat(*flags, *ask)
            assert (code, answer) == (1, "")
            assert "is not trusted" in said and "--ca-file" in said and said.count("\n") == 1
        said = chat("--url", server.url.replace("https", "http"), "Hi")[2]
        assert "closed the connection" in said or "speaks no HTTP" in said
        assert "--ca-file" in chat("--ca-file", MODEL / "config.json", *ask)[2]
        code, answer, said = chat("--ca-file", mine[0], *ask, "--url", server.url.replace("127.0.0.1", "localhost"))
        assert (code, answer) == (1, "")
        assert "is for another host" in said and said.count("\n") == 1


class Stranger(http.server.BaseHTTPRequestHandler):
    """A server of somebody else: its answer to a chat is what the test says."""
    protocol_version = "HTTP/1.0"
    status, answer = 200, b""

    def do_GET(self):
        self._send(200, b'{"data": [{"id": "theirs"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.status, self.answer)

    def _send(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def event(text):
    return b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % text


@pytest.mark.parametrize("status, answer, expected", [
    (200, event(b"a") + event(b"b") + b"data: [DONE]\n\n", (0, "ab\n", "")),
    (200, event(b"a"), (1, "a\n", "the server ended the stream before")),
    (200, event(b"a") + b'data: {"error": {"message": "its\\nend."}}\n\n', (1, "a\n", "batchmax chat: its end.\n")),
    (200, b"data: nonsense\n\n", (1, "", "no JSON")),
    (404, b"<html>", (1, "", "HTTP status 404: no server with OpenAI's API? check --url")),
    (429, b'{"error": {"message": "Slow down."}}', (1, "", "Slow down; try again later\n")),
    (500, b"", (1, "", "HTTP status 500")),
])
def test_other_servers(status, answer, expected):
    handler = type("Handler", (Stranger,), {"status": status, "answer": answer})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        code, text, said = chat("--url", f"http://127.0.0.1:{stranger.server_port}", "Hi")
        stranger.shutdown()
    assert (code, text) == expected[:2]
    assert expected[2] in said and said.count("\n") == (1 if expected[2] else 0)


def test_a_terminal_is_not_steered():
    """What an answer holds of control characters is shown, not obeyed; a pipe gets it as it is."""
    handler = type("Handler", (Stranger,), {"answer": event(b"\\u001b[2Jx") + b"data: [DONE]\n\n"})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{stranger.server_port}"
        assert chat("--url", url, "Hi") == (0, "\x1b[2Jx\n", "")
        with Terminal([BATCHMAX, "chat", "--url", url, "Hi"], environment()) as terminal:
            assert terminal.wait() == 0
            assert "\ufffd[2Jx\n" in terminal.shown and "\x1b" not in terminal.shown
        stranger.shutdown()


def test_bench_counts_what_it_asked_for(server):
    done = subprocess.run([BATCHMAX, "bench", "--url", server.url, "--input", "100", "--output", "9", "--requests", "5", "--concurrency", "2"],
                          capture_output=True, text=True, timeout=PATIENCE, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    rows = {words[0]: words[1].split() for words in re.findall(r"^(\S[^:\n]*?)  +(.*)$", done.stdout, re.MULTILINE)}
    assert rows["requests"] == ["5"]
    seconds = float(rows["seconds"][0])
    assert float(rows["prompt tokens/s"][0]) * seconds == pytest.approx(5 * 100, rel=0.01)
    assert float(rows["output tokens/s"][0]) / float(rows["prompt tokens/s"][0]) == pytest.approx(9 / 100, rel=0.05)
    for name in ("to the first token", "between tokens", "whole request"):
        p50, p99 = map(float, rows[name])
        assert 0 <= p50 <= p99
    assert 0 < float(rows["to the first token"][0]) <= float(rows["whole request"][0])


def test_bench_says_what_failed(server):
    done = subprocess.run([BATCHMAX, "bench", "--url", server.url, "--input", "5000", "--requests", "3"], capture_output=True,
                          text=True, timeout=PATIENCE, env=environment())
    assert done.returncode == 1
    assert "3 requests failed, the first because: This model's maximum context length" in done.stderr
