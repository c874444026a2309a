"""The page in a real Chromium: opens it, and keeps what a person would not see: console, requests, policy violations."""
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 740}
PATIENCE_MS = 60_000


@contextmanager
def chromium():
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert program, "chromium is missing: scripts/dependencies --tests installs it; CHROMIUM names another"
    sandbox = [] if os.getuid() else ["--no-sandbox"]  # Chromium refuses to sandbox root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


class Visit:
    """One visitor's page at a server; a context manager that ends the visit."""

    def __init__(self, browser, url, viewport=DESKTOP, scheme="light"):
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors, self.requests = [], []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def wait_healthy(self):
        self.page.get_by_text("1 of 1 groups healthy.").wait_for()

    def choose(self, mode, budget, length):
        self.page.get_by_label(mode, exact=True).check()
        for slider, value in (("budget", budget), ("length", length)):
            self.page.locator(f"#{slider}").fill(str(value))

    def answered(self):
        """Waits for the whole answer; its text."""
        self.page.locator("#answer[aria-busy=false]").wait_for()
        return self.text("#answer")
