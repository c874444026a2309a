import json

import pytest
from openai import OpenAI

from server import ROOT, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Two ranks, full compression, room for many."""
    with Server(tmp_path_factory.mktemp("server") / "log", "-tp", 2, "--kv-cache-memory-bytes", "256MiB", "--threads", 1) as one:
        yield one


@pytest.fixture(scope="session")
def client(server):
    return OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=300)


@pytest.fixture(scope="session")
def passage():
    """A passage of a book with a question about a fact in it, and the answer."""
    lines = [json.loads(line) for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8")]
    return min(lines, key=lambda line: line["tokens"])
