"""The page for people in a real Chromium against the real programs."""
import json
import os
import signal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error

from browser import DESKTOP, PHONE, ROOT, Visit, chromium
from server import Server, command_of

REFUSED = "net::ERR_CONNECTION_REFUSED"
SMALL = ("--kv-cache-memory-bytes", "128MiB", "--threads", 1)
KEY = "a-key-for-people"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server") / "log", *SMALL) as one:
        yield one


@pytest.fixture(scope="module")
def passage():
    lines = [json.loads(line) for line in open(ROOT / "demo" / "passages.jsonl", encoding="utf-8")]
    return min(lines, key=lambda line: line["tokens"])["prompt"]


def number(text):
    return int(text.replace(",", ""))


def complaints(visit):
    """What axe-core finds, be it minor."""
    found = Axe().run(visit.page).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]


def test_it_loads_from_this_host_alone_and_says_how_the_groups_are(browser, server):
    with Visit(browser, server.url) as visit:
        visit.wait_healthy()
        assert visit.text("#model") == "longbook-17m"
        assert "free of" in visit.text("#groups li")
        visit.page.locator("#tokens-chart canvas").wait_for()
        visit.page.get_by_label("now 0 running, 0 waiting").wait_for()
        assert {url.rsplit("/", 1)[-1] for url in visit.requests} >= {"app.js", "uplot.js", "style.css", "status"}
        assert all(url.startswith(server.url + "/") for url in visit.requests), visit.requests
        assert visit.errors == []


def test_the_policy_lets_nothing_in(browser, server):
    answer = httpx.get(server.url + "/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    with Visit(browser, server.url) as visit:
        visit.wait_healthy()
        for attempt in ("document.body.innerHTML = '<b>markup</b>'", "document.createElement('script').textContent = '1'",
                        "fetch('http://localhost:1/')"):
            with pytest.raises(Error):
                visit.page.evaluate(f"async () => {{ await ({attempt}); }}")
        assert sum("Trusted" in said or "Content Security Policy" in said for said in visit.errors) >= 3, visit.errors


def test_an_answer_streams_and_says_what_it_cost(browser, server, passage):
    with Visit(browser, server.url) as visit:
        visit.wait_healthy()
        visit.choose("full", 256, 32)
        visit.page.locator("#prompt").fill(passage)
        visit.page.get_by_role("button", name="Send").click()
        visit.page.locator("#answer-first:not(:text('–'))").wait_for()
        assert visit.answered()
        read, written = map(number, visit.text("#answer-tokens").split(" / "))
        assert read > 1000 and 1 <= written <= 32
        assert number(visit.text("#answer-evicted")) >= read - 256
        assert 50 < int(visit.text("#answer-saved").split()[0]) < 100
        visit.page.get_by_role("cell", name="full 256").first.wait_for()
        assert visit.errors == []
    assert passage[:40] not in httpx.get(server.url + "/page/status").text


def test_a_running_answer_can_be_stopped_by_keyboard(browser, server):
    with Visit(browser, server.url, PHONE) as visit:
        visit.wait_healthy()
        keys = visit.page.keyboard
        keys.press("Tab")
        keys.press("Enter")  # the link to the prompt
        visit.page.locator("#prompt:focus").wait_for()
        keys.type("Once upon a time")  # the model never ends this story
        keys.press("Tab")
        keys.press("ArrowLeft")
        assert visit.page.get_by_label("decode", exact=True).is_checked()
        keys.press("Tab")
        keys.press("Home")
        assert visit.text("#budget-value") == "64"
        keys.press("Tab")
        keys.press("End")
        visit.page.locator("#prompt").focus()
        keys.press("Control+Enter")
        visit.page.locator("#answer:not(:empty)").wait_for()
        keys.press("Escape")
        visit.page.locator("#stop:disabled").wait_for()
        assert visit.text("#failure") == ""
        visit.page.get_by_role("cell", name="left").first.wait_for()
        assert visit.errors == []


def test_what_the_server_refuses_is_said(browser, server):
    with Visit(browser, server.url) as visit:
        visit.wait_healthy()
        visit.page.locator("#length").evaluate("slider => { slider.max = 1e6; slider.value = 1e6; }")
        visit.page.locator("#prompt").fill("Too long.")
        visit.page.get_by_role("button", name="Send").click()
        visit.page.locator("#failure:not(:empty)").wait_for()
        assert "max_tokens" in visit.text("#failure")


def test_text_from_elsewhere_is_never_markup(browser, server):
    body = {"prompt": "x", "max_tokens": 1}
    httpx.post(server.url + "/v1/completions", json=body, headers={"x-request-id": "<b>bold</b>"}, timeout=60).raise_for_status()
    with Visit(browser, server.url) as visit:
        visit.page.get_by_role("cell", name="<b>bold</b>").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_accessible_and_fits(browser, server, viewport, scheme):
    with Visit(browser, server.url, viewport, scheme) as visit:
        visit.wait_healthy()
        assert complaints(visit) == []
        assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_asks_for_the_key_and_forgets_it(browser, tmp_path):
    with Server(tmp_path / "log", *SMALL, "--api-key", KEY) as locked, Visit(browser, locked.url) as visit:
        dialog = visit.page.get_by_role("dialog")
        dialog.wait_for()
        assert complaints(visit) == []
        visit.page.keyboard.type("wrong")
        visit.page.keyboard.press("Enter")
        visit.page.get_by_text("did not take this key").wait_for()
        visit.page.keyboard.type(KEY)
        visit.page.keyboard.press("Enter")
        visit.wait_healthy()
        assert not dialog.is_visible()
        visit.choose("decode", 64, 16)
        visit.page.locator("#prompt").fill("Chapter one.")
        visit.page.keyboard.press("Control+Enter")
        assert visit.answered()
        kept = visit.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href, document.documentElement.outerHTML])")
        assert KEY not in kept and visit.context.cookies() == []
        assert KEY not in "".join(visit.requests)
        assert all("401" in said for said in visit.errors), visit.errors  # what the browser itself writes of a refused request
        visit.page.reload()
        dialog.wait_for()


def test_a_group_that_dies_is_shown_and_comes_back(browser, tmp_path):
    with Server(tmp_path / "log", *SMALL, "--groups", 2) as pair, Visit(browser, pair.url) as visit:
        visit.page.get_by_text("2 of 2 groups healthy.").wait_for()
        rank = next(pid for pid in pair.descendants() if command_of(pid)[0].endswith("batchmax-worker")
                    and any(word.endswith("g0.yaml") for word in command_of(pid)))
        os.kill(rank, signal.SIGKILL)
        visit.page.get_by_text("1 of 2 groups healthy.").wait_for()
        assert "lost" in visit.text("[data-group=g0]") and "free of" in visit.text("[data-group=g1]")
        assert complaints(visit) == []
        visit.page.get_by_text("2 of 2 groups healthy.").wait_for()
        visit.page.locator("[data-group=g0] .bar").wait_for()
        assert visit.errors == []


def test_it_survives_a_restart_of_the_server(browser, server):
    with Visit(browser, server.url) as visit:
        visit.wait_healthy()
        server.end()
        visit.page.get_by_text("The server does not answer").wait_for()
        server.start()
        visit.wait_healthy()
        visit.choose("full", 256, 16)
        visit.page.locator("#prompt").fill("Chapter one.")
        visit.page.get_by_role("button", name="Send").click()
        assert visit.answered()
        assert all(REFUSED in said for said in visit.errors), visit.errors
