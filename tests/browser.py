"""A real browser, without a screen: Debian's Chromium, or whatever the PATH has."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextmanager
def open_browser(profile: Path, width: int = 1280, height: int = 800) -> Iterator[Chrome]:
    """Open a browser of its own, with cookies of its own; skip where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = browser
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(driver))
    try:
        set_width(chrome, width, height)
        yield chrome
    finally:
        chrome.quit()


def set_width(browser: Chrome, width: int, height: int = 800) -> None:
    """Make the page so wide: a window may not be as narrow as a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_colours(browser: Chrome, scheme: str) -> None:
    """Prefer "light" or "dark"."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def complaints_of(browser: Chrome) -> list[str]:
    """Return what the console has said since it was asked last."""
    return [entry["message"] for entry in browser.get_log("browser")]


def too_wide(browser: Chrome) -> bool:
    """Tell whether the page scrolls sideways."""
    script = "const page = document.documentElement; return page.scrollWidth > page.clientWidth"
    return bool(browser.execute_script(script))
