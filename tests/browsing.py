"""An installed browser without a window, and a page in it with everything that it said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 780}


def executable() -> str | None:
    """A browser that is installed on this machine."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses to start for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=arguments)
        yield browser
        browser.close()


class Tab:
    """A page with everything that it said on the console and asked for."""

    def __init__(self, browser: Any, file: Path, viewport: dict[str, int], **options: Any) -> None:
        self.page = browser.new_context(viewport=viewport, **options).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url.partition(":")[0]))
        self.page.goto(file.as_uri())

    @property
    def shown(self) -> int:
        """How many traces pass the filters, by the page's own word."""
        return int(self.page.inner_text("#count").split()[0].replace(",", ""))

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))
