"""A real browser before a real server. Not part of the default suite; needs Debian's chromium and chromium-driver.

`SCREENSHOTS=folder` keeps a picture of every page at every size.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from flask import Flask, request
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from campaign_engine.db import db, transaction
from campaign_engine.models import User
from tests import factories
from tests.web.visitor import person
from web.app import create_app

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE_S = 60.0
PHONE = (390, 844)
DESKTOP = (1280, 900)
SIZES = (PHONE, DESKTOP)
_TOO_WIDE = """
const width = arguments[0];
// A table may be scrolled within its card where there is little room, not on a desk.
if (width >= 1024) {
  const cut = [...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth);
  if (cut.length) return cut.map((box) => `cut: ${box.textContent.trim().slice(0, 80)}`);
}
if (document.documentElement.scrollWidth <= width) return [];
const stickingOut = [...document.body.querySelectorAll("*")].filter((element) =>
  element.getBoundingClientRect().left + element.scrollWidth > width);
return [`${document.documentElement.scrollWidth} instead of ${width} pixels`, ...stickingOut.slice(-5).map((element) =>
  `${element.tagName}.${element.className}: ${element.textContent.trim().slice(0, 60)}`)];
"""
# What Chromium writes about an answer that is an error on purpose.
_ANSWER = re.compile(r"Failed to load resource: the server responded with a status of 40[0-9]")


@dataclass(slots=True)
class Site:
    """The application behind an address, its database, and what it was asked for."""

    app: Flask
    url: str
    asked: list[str] = field(default_factory=list)

    def database(self) -> AbstractContextManager[Session]:
        """Open a transaction: `with site.database() as session:`."""
        return _in_transaction(self.app)


@contextmanager
def _in_transaction(app: Flask) -> Iterator[Session]:
    with app.app_context(), transaction() as session:
        yield session


@pytest.fixture
def site(database_url: str, redis_url: str, redis_client: redis.Redis, tmp_path: Path) -> Iterator[Site]:
    """The web with an empty database, listening."""
    config = factories.config(database_url=database_url, redis_url=redis_url, VAR_DIR=str(tmp_path))
    app = create_app(config)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    site = Site(app, f"http://127.0.0.1:{server.port}")
    app.before_request_funcs.setdefault(None, []).insert(0, lambda: site.asked.append(request.path))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    thread.join(5)
    server.server_close()
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="session")
def driver() -> Iterator["WebDriver"]:
    """Chromium without a window. A missing one fails, it does not skip."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    binary = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.fail("These tests need Chromium: apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en-US"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's own does not work for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(chromedriver))
    yield driver
    driver.quit()


class Window:
    """What a person sees and does."""

    def __init__(self, driver: "WebDriver", site: Site) -> None:
        self.driver = driver
        self.site = site
        self._width = 0

    def size(self, width: int, height: int) -> None:
        """Be as large as a device; a narrow one is a phone, with a finger."""
        self._width = width  # a phone's browser zooms out of what is too wide, so that it cannot be asked
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def open(self, path: str) -> None:
        """Go to a page of the site."""
        self.driver.get(self.site.url + path)

    def sign_in(self, user: User) -> None:
        """Fill the form of the sign-in page."""
        self.open("/login")
        self.one("#email").send_keys(user.email)
        self.one("#password").send_keys(factories.PASSWORD)
        self.one("main button").click()
        self.until(lambda: self.path == "/")

    @property
    def path(self) -> str:
        """Where it is, without the address of the site."""
        return self.driver.current_url.removeprefix(self.site.url)

    def one(self, selector: str) -> "WebElement":
        """Return the first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> "list[WebElement]":
        """Return all elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """Return what stands in the first element, as it is in the document, also where it is not visible."""
        return str(self.one(selector).get_property("textContent")).strip()

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page; `return` answers."""
        return self.driver.execute_script(script, *arguments)  # type: ignore[no-untyped-call]

    def until(self, claim: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until something is so; parts of a page may be exchanged while it is looked at."""
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if claim():
                    return
            except (NoSuchElementException, StaleElementReferenceException):
                pass
            assert time.monotonic() < deadline, "it did not become so"
            time.sleep(0.05)

    def until_text(self, selector: str, wanted: str, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until an element says something."""
        self.until(lambda: wanted in self.text(selector), timeout_s=timeout_s)

    def too_wide(self) -> list[str]:
        """Return what sticks out of the window; empty when nothing has to be scrolled sideways."""
        return list(self.run(_TOO_WIDE, self._width))

    def complaints(self) -> list[str]:
        """Return what the console has said since the last look, refusals of the server aside."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if not _ANSWER.search(entry["message"])
        ]

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, where pictures are wanted."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            height = self.run("return document.documentElement.scrollHeight")
            width = self._width
            before = self.run("return window.innerHeight")
            self.size(width, max(height, before))
            self.driver.save_screenshot(str(Path(folder) / f"{name}-{width}.png"))
            self.size(width, before)


@pytest.fixture
def window(driver: "WebDriver", site: Site) -> Iterator[Window]:
    """A clean browser of desktop size."""
    driver.delete_all_cookies()
    window = Window(driver, site)
    window.size(*DESKTOP)
    yield window
    driver.get("about:blank")  # nothing polls any more
    driver.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.fixture
def admin(site: Site) -> User:
    """An administrator of the company that runs the installation."""
    with site.database() as session:
        return person(session, factories.company(session, name="Padaria Boa Vista"))
