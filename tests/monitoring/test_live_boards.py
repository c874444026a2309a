"""Real Prometheus scrapes a real cluster under mixed load: every query of every panel returns data, every rule evaluates."""
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
from server import PATIENCE, Server, eventually, free_port  # noqa: E402

SLOWNESS = int(os.environ.get("BATCHMAX_SLOWNESS", 1))
WINDOW = "15s"  # what Grafana would put for $__rate_interval: several scrapes
QUERIES = [line.split("\t") for line in subprocess.run(
    [sys.executable, str(ROOT / "monitoring" / "dashboards" / "build.py"), "--queries"], capture_output=True, text=True,
    check=True).stdout.splitlines()]


class Prometheus:
    def __init__(self, folder, target):
        tool = Path(sys.executable).parent / "prometheus"
        program = str(tool) if tool.exists() else shutil.which("prometheus")
        assert program, "prometheus is missing: scripts/dependencies --tests puts it into .venv/bin"
        rules = ROOT / "monitoring" / "alerts" / "batchmax.rules.yml"
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"scrape_configs: [{{job_name: batchmax, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
            f"rule_files: ['{rules}']\n")
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={self.url[7:]}", "--log.level=warn"], stdout=self.log, stderr=self.log)

    def get(self, path, **parameters):
        answer = httpx.get(self.url + path, params=parameters, timeout=30)
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    def ready(self):
        assert self.process.poll() is None, "Prometheus ended"
        try:
            return httpx.get(self.url + "/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def finite(self, expression, begin, end):
        """Number of finite samples of the query between two times."""
        found = self.get("/api/v1/query_range", query=expression, start=begin, end=end, step=1)["result"]
        return sum(value not in ("NaN", "+Inf", "-Inf") for series in found for _, value in series["values"])

    def end(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()


def load(server, passage):
    """Modes, lengths, streams, clients that leave, requests that are refused."""
    def post(**fields):
        httpx.post(server.url + "/v1/completions", json={"max_tokens": 24, "ignore_eos": True, **fields}, timeout=PATIENCE)

    def leave():
        body = {"prompt": "Chapter one.", "max_tokens": 2000, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", server.url + "/v1/completions", json=body, timeout=PATIENCE) as response:
            next(response.iter_lines())

    work = [lambda mode=mode, length=length: post(prompt=passage[:length], compression=mode)
            for mode in ("off", "decode", "full") for length in (200, 3000)]
    work += [leave, lambda: post(prompt=""), lambda: post(prompt="x", kv_budget=1), lambda: post(prompt="x", max_tokens=100000)]
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """Prometheus, and from when to when the cluster had work."""
    folder = tmp_path_factory.mktemp("prometheus")
    passages = [json.loads(line) for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8")]
    with Server(folder / "server.log", "--groups", 2, "--threads", 1, "--kv-budget", 256, "--prefill-block", 64,
                "--kv-cache-memory-bytes", "64MiB") as server:
        prometheus = Prometheus(folder, server.port)
        try:
            eventually(prometheus.ready, "Prometheus")
            begin = time.time()
            while time.time() < begin + 20:
                load(server, passages[0]["prompt"])
            time.sleep(2)  # the last scrape has the last of it
            yield prometheus, begin, time.time()
        finally:
            prometheus.end()


@pytest.mark.parametrize("board, panel, expression", QUERIES)
def test_the_query_returns_data(scraped, board, panel, expression):
    prometheus, begin, end = scraped
    expression = re.sub(r"^label_values\((\w+), \w+\)$", r"\1", expression)
    expression = expression.replace("$group", ".*").replace("$__rate_interval", WINDOW)
    assert prometheus.finite(expression, begin, end) > 0, expression


def test_rules_evaluate_without_errors(scraped):
    prometheus, _, _ = scraped
    rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    for rule in rules:
        assert rule["health"] == "ok", rule


def test_a_cluster_at_work_alarms_nobody(scraped):
    prometheus, _, _ = scraped
    firing = {alert["labels"]["alertname"] for alert in prometheus.get("/api/v1/alerts")["alerts"] if alert["state"] == "firing"}
    if SLOWNESS > 1:  # a build with sanitizers is slow, and rightly said to be
        firing -= {"BatchmaxFirstTokenSlow", "BatchmaxFirstTokenObjective"}
    assert firing == set()
