"""A real browser for the tests: Chromium, where the machine has one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian's package chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


class Visit:
    """A browser window that notes what a page must not do."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"pageerror: {error}"))
        self.page.on("request", lambda request: self.hosts.add("/".join(request.url.split("/")[:3])))

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(f"{kind}: {text}")


OpenWindow = Callable[..., Visit]


@pytest.fixture
def window(browser: Browser) -> Iterator[OpenWindow]:
    """Opens windows that end with the test, and fails it if one complained."""
    opened: list[Visit] = []

    @contextmanager
    def closing() -> Iterator[OpenWindow]:
        def open_window(*, scheme: str = "light", width: int = 1280, height: int = 900, script: bool = True) -> Visit:
            context = browser.new_context(
                color_scheme=scheme,  # type: ignore[arg-type]
                viewport={"width": width, "height": height}, java_script_enabled=script,
            )  # fmt: skip
            opened.append(Visit(context))
            return opened[-1]

        yield open_window
        for visit in opened:
            visit.context.close()

    with closing() as open_window:
        yield open_window
