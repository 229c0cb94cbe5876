"""examples/notes-app, attacked and used in a browser, with every store."""

import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.cookies import SimpleCookie
from pathlib import Path
from threading import Event
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
from jam_web.cookies import decode_id, encode_id
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import complaints_of, open_browser, set_width, too_wide
from tests.isolated import ROOT
from tests.places import Configure
from tests.servers import RedisServer, StartRedis

EXAMPLE = ROOT / "examples" / "notes-app"
COOKIE = "__Host-session"
CSRF_COOKIE = "__Host-csrf"
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


class Answer(NamedTuple):
    status: int
    page: str
    cookies: dict[str, str]


def ask(
    address: str,
    path: str = "/",
    cookies: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
) -> Answer:
    """Ask as no browser would: with any cookies, and with forms that were never shown."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())}
    if form is None:
        connection.request("GET", path, headers=headers)
    else:
        connection.request("POST", path, urlencode(form), headers)
    answer = connection.getresponse()
    given: SimpleCookie = SimpleCookie()
    for header in answer.headers.get_all("Set-Cookie", []):
        given.load(header)
    page = answer.read().decode()
    connection.close()
    return Answer(answer.status, page, {name: cookie.value for name, cookie in given.items()})


def ask_to_log_in(address: str, password: str = PASSWORD, user: str = "ann") -> Answer:
    page = ask(address, "/login")
    form = {"csrf": token_in(page), "user": user, "password": password}
    return ask(address, "/login", page.cookies, form)


def is_logged_in(address: str, cookies: Mapping[str, str]) -> bool:
    return ask(address, "/", cookies).status == 200


def token_in(answer: Answer) -> str:
    return answer.page.partition('name="csrf" value="')[2].partition('"')[0]


def press(browser: Chrome, words: str) -> None:
    """Press a button, and wait until another page is there."""
    browser.execute_script("window.isOld = true")
    browser.find_element(By.XPATH, f"//button[normalize-space()='{words}']").click()
    # While one page takes the place of the other, there may be none to ask.
    wait = WebDriverWait(browser, 10, ignored_exceptions=[WebDriverException])
    script = "return !window.isOld && document.readyState === 'complete'"
    wait.until(lambda _: browser.execute_script(script))


def log_in(browser: Chrome, address: str, password: str = PASSWORD, user: str = "ann") -> None:
    browser.get(f"{address}/login")
    browser.find_element(By.NAME, "user").send_keys(user)
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


@pytest.mark.parametrize("planted", ["invented", "of the attacker's own"])
def test_a_planted_id_opens_nothing(address: str, open_another: OpenBrowser, planted: str) -> None:
    attacker, victim = open_another(), open_another()
    session_id = "invented"
    if planted != session_id:
        log_in(attacker, address, "raspberry", user="bob")
        session_id = cookie_of(attacker)
    plant(victim, address, session_id)
    log_in(victim, address)
    assert title_of(victim) == "Notes of ann"
    assert cookie_of(victim) != session_id
    plant(attacker, address, session_id)
    attacker.get(address)
    assert title_of(attacker) == "Log in"


@pytest.mark.exhaustive
def test_a_cookie_that_only_looks_like_ours_is_none(address: str) -> None:
    """A browser lets a subdomain set it: to it, the name does not begin with the prefix."""
    session_id = ask_to_log_in(address).cookies[COOKIE]
    assert is_logged_in(address, {COOKIE: session_id})
    assert not is_logged_in(address, {f"\xa0{COOKIE}": session_id})
    assert is_logged_in(address, {f"\xa0{COOKIE}": "planted", COOKIE: session_id})


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


@pytest.fixture
def redis_config(tmp_path: Path, start_redis: StartRedis) -> tuple[Path, RedisServer]:
    """A configuration for a Redis of the test's own."""
    server = start_redis()
    config = tmp_path / "redis.toml"
    config.write_text(f'[jam.session]\nsession_type = "redis"\nredis_uri = "{server.uri}"\n')
    return config, server


def test_an_outage_is_no_log_out(serve: Serve, redis_config: tuple[Path, RedisServer]) -> None:
    config, server = redis_config
    address = serve(config)
    server.stop()
    answer = ask(address, "/", {COOKIE: encode_id("ann:1")})
    assert answer.status == 503
    assert "Nobody has been logged out" in answer.page
    assert answer.cookies == {}


@pytest.mark.exhaustive
def test_a_damaged_session_can_log_in_again(
    serve: Serve, redis_config: tuple[Path, RedisServer]
) -> None:
    config, server = redis_config
    address = serve(config)
    cookies = ask_to_log_in(address).cookies
    (key,) = server.client.keys("sessions:*")
    server.client.hset(key, decode_id(cookies[COOKIE]) or "", "damaged")
    answer = ask(address, "/", cookies)
    assert answer.status == 303
    assert answer.cookies == {}, "it may be repaired"
    again = ask_to_log_in(address)
    assert is_logged_in(address, again.cookies)


@pytest.mark.exhaustive
def test_visitors_store_nothing(serve: Serve, redis_config: tuple[Path, RedisServer]) -> None:
    config, server = redis_config
    address = serve(config)
    for _ in range(5):
        assert ask(address, "/login").status == 200
        assert ask_to_log_in(address, "wrong").status == 401
    assert server.client.dbsize() == 0


@pytest.mark.exhaustive
def test_an_id_does_not_tell_whose_session_it_is(
    serve: Serve, redis_config: tuple[Path, RedisServer]
) -> None:
    address = serve(redis_config[0])
    assert "ann" not in (decode_id(ask_to_log_in(address).cookies[COOKIE]) or "ann")


@pytest.mark.exhaustive
def test_no_log_in_with_the_old_password_outlives_it(address: str) -> None:
    """The password is checked while it changes; the session is stored after that."""
    mine = ask_to_log_in(address).cookies
    is_over = Event()

    def log_in_again_and_again() -> list[Answer]:
        answers = []
        while not is_over.is_set():
            answers.append(ask_to_log_in(address))
        return answers

    with ThreadPoolExecutor(3) as thieves:
        begun = [thieves.submit(log_in_again_and_again) for _ in range(3)]
        form = {"old": PASSWORD, "new": "gooseberry", "csrf": token_in(ask(address, "/", mine))}
        changed = ask(address, "/password", mine, form)
        is_over.set()
    assert changed.status == 303
    stolen = [answer.cookies for one in begun for answer in one.result() if answer.status == 303]
    assert stolen
    assert not any(is_logged_in(address, cookies) for cookies in [mine, *stolen])
    assert is_logged_in(address, changed.cookies)


@pytest.mark.exhaustive
def test_of_two_new_passwords_at_once_one_wins(address: str) -> None:
    """A thief who knows the old one does not get the last word."""
    mine = ask_to_log_in(address).cookies
    form = {"old": PASSWORD, "csrf": token_in(ask(address, "/", mine))}

    def change(new: str) -> Answer:
        return ask(address, "/password", mine, {**form, "new": new})

    new = ["gooseberry", "blackberry", "elderberry"]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(change, new))
    won = [COOKIE in answer.cookies for answer in answers]
    assert won.count(True) == 1
    assert [ask_to_log_in(address, one).status == 303 for one in new] == won


@pytest.mark.exhaustive
def test_a_new_password_is_not_too_short(address: str) -> None:
    mine = ask_to_log_in(address).cookies
    form = {"old": PASSWORD, "csrf": token_in(ask(address, "/", mine))}
    assert ask(address, "/password", mine, form).status == 422
    assert ask(address, "/password", mine, {**form, "new": "short"}).status == 422
    assert ask_to_log_in(address).status == 303


@pytest.mark.parametrize("path", ["/login", "/notes"])
@pytest.mark.exhaustive
def test_a_form_is_no_place_for_megabytes(address: str, path: str) -> None:
    assert ask(address, path, form={"text": "x" * 20_000}).status == 413


@pytest.mark.exhaustive
@pytest.mark.parametrize("cookies", [{}, {CSRF_COOKIE: ""}, {CSRF_COOKIE: "guessed"}])
def test_a_log_in_from_another_site_is_refused(address: str, cookies: dict[str, str]) -> None:
    form = {"csrf": "", "user": "ann", "password": PASSWORD}
    assert ask(address, "/login", cookies, form).status == 403


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
