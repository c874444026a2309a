"""TLS on both ports of the real programs: the unmodified OpenAI client over HTTPS, groups that dial in, and refusals."""
import os
import re
import socket
import ssl
import subprocess

import httpx
import openai
import pytest

from server import BIN, MODEL, PATIENCE, ROOT, Server


def certificate(folder, name, names="IP:127.0.0.1"):
    """Files of a certificate that signs itself, and of its key."""
    files = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-out", files[0], "-keyout", files[1]],
                   check=True, capture_output=True)
    return files


def flags(prefix, files):
    return f"--{prefix}-certfile", files[0], f"--{prefix}-keyfile", files[1]


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    http, worker = certificate(folder, "http"), certificate(folder, "worker", "DNS:coordinator.example")
    with Server(folder / "log", "-tp", 2, "--threads", 1, *flags("ssl", http), *flags("worker-ssl", worker),
                "--worker-ssl-server-name", "coordinator.example", trust=http[0]) as server:
        yield server, worker[0]


def test_the_openai_client_speaks_https(secured):
    server, _ = secured
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", http_client=httpx.Client(verify=server.verify))
    whole = client.chat.completions.create(model="longbook-17m", max_tokens=8, temperature=0,
                                           messages=[{"role": "user", "content": "Who came to the house?"}])
    assert whole.usage.completion_tokens > 0
    ask = {"model": "longbook-17m", "prompt": "Chapter one.", "max_tokens": 40, "temperature": 0, "extra_body": {"ignore_eos": True}}
    expected = client.completions.create(**ask).choices[0].text
    chunks = client.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == expected
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="other", prompt="x")


def test_a_client_that_trusts_somebody_else_sends_nothing(secured):
    server, worker = secured
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/livez", verify=ssl.create_default_context(cafile=worker))
    assert server.status("/livez") == 200


def test_the_health_check_of_containers_speaks_https_too(secured):
    server, certfile = secured
    check = [ROOT / "docker" / "libexec" / "healthy"]
    there = {**os.environ, "BATCHMAX_PORT": str(server.port)}
    assert subprocess.run(check, env={**there, "BATCHMAX_SSL_CERTFILE": str(certfile)}).returncode == 0
    assert subprocess.run(check, env=there).returncode != 0


def test_plain_http_gets_one_clean_end(secured):
    server, _ = secured
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        while data := plain.recv(4096):
            received += data
    assert b"HTTP" not in received
    assert server.status("/livez") == 200


def worker_port(server):
    return int(re.search(r"groups_port=(\d+)", server.log.read_text()).group(1))


def test_the_port_for_groups_speaks_tls_and_nothing_else(secured):
    server, worker = secured
    context = ssl.create_default_context(cafile=worker)
    with socket.create_connection(("127.0.0.1", worker_port(server)), timeout=PATIENCE) as raw:
        with context.wrap_socket(raw, server_hostname="coordinator.example") as stranger:
            assert stranger.version() in ("TLSv1.2", "TLSv1.3")
            stranger.sendall(b"x" * 40)  # no greeting of ours
            assert stranger.recv(1) == b""
    with socket.create_connection(("127.0.0.1", worker_port(server)), timeout=PATIENCE) as plain:
        plain.sendall(b"BATCHMX1" + bytes(32))
        assert b"BATCHMX1" not in plain.recv(4096)
    assert server.status("/health") == 200


def started(*arguments):
    done = subprocess.run([str(BIN / "batchmax"), "serve", str(MODEL), "--port", "0", "--threads", "1", *map(str, arguments)],
                          capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_groups_that_trust_another_authority_refuse_in_one_line(tmp_path):
    mine, other = certificate(tmp_path, "mine"), certificate(tmp_path, "other")
    status, said = started(*flags("worker-ssl", mine), "--worker-ssl-ca-certs", other[0])
    assert status == 1
    assert said.startswith("batchmax: group g0 cannot be started: ")
    assert "is not trusted" in said and "--worker-ssl-ca-certs" in said


def test_groups_refuse_a_certificate_for_another_name(tmp_path):
    status, said = started(*flags("worker-ssl", certificate(tmp_path, "mine", "DNS:elsewhere.example")))
    assert status == 1
    assert "mismatch" in said and "--worker-ssl-server-name" in said


def test_a_key_of_another_certificate_is_refused_at_start(tmp_path):
    mine, other = certificate(tmp_path, "mine"), certificate(tmp_path, "other")
    status, said = started("--ssl-certfile", mine[0], "--ssl-keyfile", other[1])
    assert status == 1
    assert said.startswith(f"batchmax: --ssl-keyfile {other[1]} cannot be used")
