"""Show pages in a headless chromium, for tests."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The most seconds for a page to load, on a busy host.
DEADLINE = 240

#: Returns the contrast of each visible text with its background, and the beginning of the text.
CONTRASTS = """
const light = (colour) => {
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const face = one.matches(".cell") && one.querySelector(".face");
    const colour = face ? getComputedStyle(face).fill : getComputedStyle(one).backgroundColor;
    if (colour.startsWith("rgb(")) return colour;
  }
  return "rgb(255, 255, 255)";
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const parent = node.parentElement;
  if (!node.data.trim() || parent.closest("script, style, title, option") || !parent.checkVisibility()) continue;
  const ink = parent.namespaceURI.endsWith("svg") ? getComputedStyle(parent).fill : getComputedStyle(parent).color;
  const [low, high] = [light(ink), light(behind(parent))].sort((a, b) => a - b);
  found.push([(high + 0.05) / (low + 0.05), node.data.trim().slice(0, 40)]);
}
return found;
"""

#: Returns the texts of an SVG file that extend beyond its edges.
OUTSIDE = """
const sheet = document.documentElement.viewBox.baseVal;
return [...document.querySelectorAll("text")].filter((text) => {
  const box = text.getBBox(), m = text.getCTM(), root = document.documentElement.getCTM();
  const x = (m.e - root.e) / root.a + box.x, y = (m.f - root.f) / root.d + box.y;
  return x < 4 || y < 4 || x + box.width > sheet.width - 4 || y + box.height > sheet.height - 4;
}).map((text) => text.textContent);
"""


class Browser:
    """A browser with one page.

    Args:
        driver: The driver of the browser.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def show(
        self, path: Path, *, width: int = 1100, height: int = 900, scheme: str = "light"
    ) -> None:
        """Open a file.

        Args:
            path: The file.
            width: The width of the screen, in pixels.
            height: The height of the screen, in pixels.
            scheme: The colour scheme: "light" or "dark".
        """
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        self.driver.get(path.resolve().as_uri())

    def js(self, script: str, *arguments: object) -> Any:
        """Run JavaScript as the body of a function in the page, and return its return value."""
        return self.driver.execute_script(script, *arguments)

    def log(self) -> list[str]:
        """Return the messages on the browser's console since the last call."""
        messages: list[dict[str, str]] = self.driver.execute("getLog", {"type": "browser"})["value"]
        return [entry["message"] for entry in messages]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser, and end it after the block."""
    options = Options()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        # The sandbox does not work as root. It is not needed, since all pages are from this project.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(shutil.which("chromedriver") or "chromedriver")
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(DEADLINE)
        driver.set_script_timeout(DEADLINE)
        yield Browser(driver)
    finally:
        driver.quit()
