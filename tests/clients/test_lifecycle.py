"""Starts that fail, signals, deaths: what the operator and the clients see, and that nothing is left behind."""
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import termios

import httpx
import pytest

from server import BIN, MODEL, PATIENCE, Server, alive, eventually

LONG = {"prompt": "Chapter one.", "max_tokens": 4000, "ignore_eos": True, "stream": True}


def failed_start(*arguments, environment=None):
    """Exit status and what was said, of a start that must fail."""
    done = subprocess.run([str(BIN / "batchmax"), "serve", *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE, env=environment)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments, words", [
    ([], ["no model", "batchmax serve"]),
    (["/nowhere"], ["/nowhere", "folder"]),
    ([os.path.dirname(__file__)], ["config.json"]),
    ([MODEL, "--model", "/another"], [str(MODEL), "--model /another"]),
    ([MODEL, "--compresion", "full"], ["--compresion", "--compression"]),
    ([MODEL, "--kv-budget", "3"], ["kv_budget"]),
    ([MODEL, "--port", "0", "-tp", "3"], ["KV heads"]),
    ([MODEL, "--port", "0", "--kv-cache-memory-bytes", "1000"], ["--kv-cache-memory-bytes"]),
    ([MODEL, "--port", "0", "--secret-file", "/nowhere/secret"], ["/nowhere/secret"]),
    ([MODEL, "--port", "0", "--chat-template", "/nowhere/template"], ["--chat-template", "/nowhere/template"]),
    ([MODEL, "--port", "0", "--chat-template", MODEL], ["--chat-template", f"{MODEL}: is a directory"]),
    ([MODEL, "--port", "0", "--chat-template", __file__], ["--chat-template", __file__, "line"]),  # {% a statement that is none %}
    ([MODEL, "--port", "0", "--ssl-certfile", "/nowhere/crt"], ["--ssl-certfile", "/nowhere/crt"]),
    ([MODEL, "--ssl-keyfile", "/nowhere/key"], ["--ssl-keyfile", "--ssl-certfile"]),
    ([MODEL, "--port", "0", "--worker-ssl-certfile", __file__], ["--worker-ssl-certfile", __file__, "PEM"]),
    ([MODEL, "--port", "0", "--worker-ssl-ca-certs", __file__], ["--worker-ssl-certfile"]),
])
def test_a_start_that_cannot_work_says_why_and_fails(arguments, words):
    status, said = failed_start(*arguments)
    assert status not in (0, None)
    last = said.strip().splitlines()[-1]
    assert last.startswith("batchmax"), said
    for word in words:
        assert word in last, said


def test_a_group_without_its_secret_says_so_before_it_loads_the_model(tmp_path):
    secret = tmp_path / "secret"
    secret.touch()
    done = subprocess.run([str(BIN / "batchmax-worker"), "--model", str(MODEL), "--worker-port", "1", "--threads", "1",
                           "--secret-file", str(secret)], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert f"batchmax-worker: --secret-file {secret} is empty" in done.stderr
    assert "replica ready" not in done.stderr + done.stdout


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, said = failed_start(MODEL, "--port", taken.getsockname()[1])
    assert status != 0
    assert "--port" in said.strip().splitlines()[-1]


def test_a_missing_mpirun_is_named(tmp_path):
    status, said = failed_start(MODEL, "--port", 0, environment={**os.environ, "PATH": str(tmp_path)})
    assert status != 0
    assert "openmpi-bin" in said.strip().splitlines()[-1]


def test_a_missing_worker_is_named(tmp_path):
    shutil.copy(BIN / "batchmax", tmp_path / "batchmax")
    done = subprocess.run([str(tmp_path / "batchmax"), "serve", str(MODEL), "--port", "0"], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode != 0
    assert "batchmax-worker" in done.stderr.strip().splitlines()[-1]


def test_starts_in_an_empty_environment(tmp_path):
    with Server(tmp_path / "log", "--threads", 1, environment={}) as server:
        assert server.status("/readyz") == 200


def test_keys_open_the_api(tmp_path):
    with Server(tmp_path / "log", "--api-key", "alpha,beta", "--threads", 1) as server:
        assert httpx.get(server.url + "/v1/models").status_code == 401
        assert httpx.get(server.url + "/v1/models", headers={"Authorization": "Bearer beta"}).status_code == 200
        for pid in server.descendants():
            assert not any("alpha" in word for word in server_words(pid)), "a key on a command line"


def server_words(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def stream_of(server, then):
    """Streams a long answer, calls then() after the first tokens; the data lines that came, and whether it was cut off."""
    lines = []
    try:
        with httpx.stream("POST", server.url + "/v1/completions", json=LONG, timeout=PATIENCE) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                if line.startswith("data: "):
                    lines.append(line[6:])
                    if len(lines) == 3:
                        then()
    except httpx.TransportError:
        return lines, True
    return lines, False


def test_sigterm_lets_streams_finish_and_leaves_nothing(tmp_path):
    with Server(tmp_path / "log", "-tp", 2, "--threads", 1, "--shutdown-timeout", PATIENCE) as server:
        children = server.descendants()
        assert len(server.ranks()) == 2
        short = {**LONG, "max_tokens": 200}
        with httpx.stream("POST", server.url + "/v1/completions", json=short, timeout=PATIENCE) as response:
            lines = response.iter_lines()
            next(lines)
            server.send_signal(signal.SIGTERM)
            eventually(lambda: server.status("/readyz") in (0, 503), "not ready")
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert server.process.wait(PATIENCE) == 0
        eventually(lambda: not any(map(alive, children)), "ended children")


def test_what_does_not_finish_in_time_ends_honestly(tmp_path):
    with Server(tmp_path / "log", "--shutdown-timeout", 0, "--threads", 1) as server:
        lines, cut_off = stream_of(server, lambda: server.send_signal(signal.SIGTERM))
        assert not cut_off
        assert '"error"' in lines[-1] and "shutting down" in lines[-1]
        assert server.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_at_once(tmp_path):
    with Server(tmp_path / "log", "-tp", 2, "--threads", 1) as server:
        children = server.descendants()

        def interrupt_twice():
            server.send_signal(signal.SIGINT)
            eventually(lambda: server.status("/readyz") in (0, 503), "not ready")
            server.send_signal(signal.SIGINT)
        stream_of(server, interrupt_twice)
        assert server.process.wait(PATIENCE) != 0
        eventually(lambda: not any(map(alive, children)), "ended children")


def test_ends_with_its_terminal_and_leaves_nothing(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    server = Server(tmp_path / "log", "-tp", 2, "--threads", 1, environment={**os.environ, "TMPDIR": str(folder)})
    server.log.touch()
    terminal, end = os.openpty()
    server.process = subprocess.Popen(server.command, stdin=end, stdout=end, stderr=end, env=server.environment,
                                      start_new_session=True,
                                      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(end)
    server.wait_healthy()
    children = server.descendants()
    assert list(folder.iterdir())
    os.close(terminal)
    assert server.process.wait(PATIENCE) == 0
    eventually(lambda: not any(map(alive, children)), "ended children")
    assert not list(folder.glob("batchmax-*"))


def test_outlives_its_terminal_under_nohup(tmp_path):
    server = Server(tmp_path / "log", "--threads", 1)
    server.command.insert(0, "nohup")
    with server:
        server.send_signal(signal.SIGHUP)
        server.send_signal(signal.SIGHUP)
        done = httpx.post(server.url + "/v1/completions", json={**LONG, "max_tokens": 4, "stream": False},
                          timeout=PATIENCE)
        assert done.status_code == 200


def test_outlives_the_reader_of_its_log(tmp_path):
    server = Server(tmp_path / "log", "--threads", 1)
    server.log.touch()
    read_end, write_end = os.pipe()
    server.process = subprocess.Popen(server.command, stdout=write_end, stderr=write_end)
    os.close(write_end)
    try:
        server.wait_healthy()
        first = server.ranks()
        os.close(read_end)
        os.kill(first[0], signal.SIGKILL)  # the new group has much to say
        eventually(lambda: server.ranks() and server.ranks() != first, "a new rank")
        server.wait_healthy()
    finally:
        server.end()


def test_children_die_with_a_killed_server(tmp_path):
    with Server(tmp_path / "log", "-tp", 2, "--threads", 1) as server:
        children = server.descendants()
        assert len(server.ranks()) == 2
        server.send_signal(signal.SIGKILL)
        server.process.wait()
        eventually(lambda: not any(map(alive, children)), "ended children")


@pytest.mark.parametrize("victim", [0, 1], ids=["leader", "follower"])
def test_a_killed_rank_ends_requests_honestly_and_comes_back(tmp_path, victim):
    with Server(tmp_path / "log", "-tp", 2, "--migration-limit", 0, "--threads", 1) as server:
        before = server.ranks()
        lines, cut_off = stream_of(server, lambda: os.kill(server.ranks()[victim], signal.SIGKILL))
        assert not cut_off
        assert '"error"' in lines[-1]
        assert "[DONE]" not in lines
        eventually(lambda: server.status("/health") == 200 and not set(server.ranks()) & set(before), "a new group")
        answer = httpx.post(server.url + "/v1/completions", json={"prompt": "Once", "max_tokens": 4}, timeout=PATIENCE)
        assert answer.status_code == 200
        assert server.metric("batchmax_group_up") == 1
