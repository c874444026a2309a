"""Makes docs/page-*.png: the page of a server under load. BATCHMAX_BIN: where the programs are."""
import json
import sys
import tempfile
import threading
from pathlib import Path

import httpx

from browser import DESKTOP, PHONE, ROOT, Visit, chromium
from server import Server

LOADED_S = 20  # seconds of charts before the picture is taken
FLAGS = ("--groups", 2, "--kv-cache-memory-bytes", "64MiB", "--threads", 1, "--kv-budget", 512)


def load(url, prompts, ended):
    """One client after the other's heels."""
    while not ended.is_set():
        body = {"prompt": prompts[0], "max_tokens": 200, "ignore_eos": True}
        prompts.append(prompts.pop(0))
        httpx.post(url + "/v1/completions", json=body, timeout=120)


def main():
    lines = [json.loads(line) for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8")]
    prompts = [line["prompt"] for line in sorted(lines, key=lambda line: line["tokens"])[:8]]
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "log", *FLAGS) as server, chromium() as browser:
        ended = threading.Event()
        clients = [threading.Thread(target=load, args=(server.url, prompts[i:] + prompts[:i], ended)) for i in range(6)]
        for client in clients:
            client.start()
        for name, viewport, scheme in (("light", {**DESKTOP, "height": 1240}, "light"), ("phone", PHONE, "dark")):
            with Visit(browser, server.url, viewport, scheme) as visit:
                visit.page.get_by_text("2 of 2 groups healthy.").wait_for()
                visit.choose("full", 512, 48)
                visit.page.locator("#prompt").fill(prompts[0])
                visit.page.wait_for_timeout(LOADED_S * 1000)
                visit.page.get_by_role("button", name="Send").click()
                visit.page.locator("#answer-saved:not(:text('–'))").wait_for()
                visit.page.evaluate("scrollTo(0, 0)")
                visit.page.screenshot(path=ROOT / "docs" / f"page-{name}.png")
        ended.set()
        for client in clients:
            client.join()


if __name__ == "__main__":
    sys.exit(main())
