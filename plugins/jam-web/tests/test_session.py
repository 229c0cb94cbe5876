"""The web session without a framework: what it reads, stores, tells the browser, and refuses."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from jam_testing.memory import MemorySessions
from jam_web import Flash, Session, WebSessions, finish

from jam_core import Jam, JamConfigurationError, JamSessionDataError, JamSessionError

from .site import COOKIE, VISITOR, Clock
from .without_framework import Browser, Request

if TYPE_CHECKING:
    from jam.aio import Jam as AwaitedJam


@pytest.fixture
def store(clock: Clock) -> MemorySessions:
    return MemorySessions(clock=clock, ttl=1000, max_age=5000)


@pytest.fixture
def sessions(store: MemorySessions, clock: Clock) -> WebSessions:
    return WebSessions(Jam({"session": {"session_type": store}}), clock=clock)


@pytest.fixture
def browser(sessions: WebSessions) -> Browser:
    return Browser(sessions)


def logged_in(browser: Browser, key: str = "ann", **data: Any) -> Browser:
    request = browser.ask()
    request.session.login(key)
    request.session.update(data)
    request.answer()
    return browser


def data_of(browser: Browser) -> dict[str, Any]:
    return dict(browser.ask().session)


# --- the cookie --------------------------------------------------------------------------------


def test_a_visitor_who_stores_something_gets_a_cookie_of_a_visitors_own(browser: Browser) -> None:
    request = browser.ask()
    request.session["cart"] = ["jam"]
    (line,) = request.answer()
    assert line.startswith(f"{VISITOR}=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=5000"} <= set(line.split("; "))
    assert data_of(browser) == {"cart": ["jam"]}
    assert browser.ask().session.key is None


def test_a_log_in_takes_the_visitors_data_along(browser: Browser, store: MemorySessions) -> None:
    request = browser.ask()
    request.session["cart"] = ["jam"]
    request.answer()
    before = dict(browser.cookies)
    request = browser.ask()
    request.session.login("ann")
    request.answer()
    assert browser.cookies.keys() == {COOKIE}
    assert data_of(browser) == {"cart": ["jam"]}
    assert browser.ask().session.key == "ann"
    browser.cookies = before
    assert data_of(browser) == {}
    assert len(store.kept) == 1


def test_a_log_in_takes_nothing_of_another_user_along(
    browser: Browser, store: MemorySessions
) -> None:
    logged_in(browser, "ann", diary="private", profile={"iban": "private"})
    request = browser.ask()
    assert request.session["diary"] == "private"
    request.session["theme"] = "dark"
    request.session["profile"]["seen"] = True
    request.session.login("bob")
    request.answer()
    assert data_of(browser) == {"theme": "dark"}
    assert [record.session_key for record in store.kept.values()] == ["bob"]


@pytest.mark.parametrize(
    "value", ["", "unknown", "dW5rbm93bg", "dW5rbm93bg==", "é", "%00", "x" * 5000, "a b"]
)
def test_an_id_that_was_never_issued_is_left_alone(
    browser: Browser, store: MemorySessions, value: str
) -> None:
    browser.cookies[COOKIE] = value
    request = browser.ask()
    assert dict(request.session) == {}
    assert request.answer() == []
    assert store.kept == {}


def test_an_id_opens_in_one_spelling_only(browser: Browser) -> None:
    logged_in(browser, name="Ann")
    browser.cookies[COOKIE] += "="
    assert data_of(browser) == {}


def test_of_two_cookies_of_one_name_neither_is_believed(browser: Browser) -> None:
    (ours,) = logged_in(browser, name="Ann").cookies.values()
    header = f"{COOKIE}={ours}; {COOKIE}=planted"
    assert dict(Session(browser.sessions.open([header]))) == {}
    assert dict(Session(browser.sessions.open([f"{COOKIE}={ours}; {COOKIE}={ours}"]))) != {}


def test_a_name_that_only_resembles_ours_is_another(browser: Browser) -> None:
    (ours,) = logged_in(browser, name="Ann").cookies.values()
    for name in (f"\xa0{COOKIE}", COOKIE.lower(), "session", f"{COOKIE}\x0b"):
        assert dict(Session(browser.sessions.open([f"{name}={ours}"]))) == {}


def test_a_visitors_cookie_opens_no_log_in(browser: Browser) -> None:
    (ours,) = logged_in(browser, name="Ann").cookies.values()
    browser.cookies = {VISITOR: ours}
    assert data_of(browser) == {}


def test_a_cookie_lives_as_long_as_its_session_may(browser: Browser, clock: Clock) -> None:
    request = browser.ask()
    request.session.login("ann", max_age=77)
    assert "Max-Age=77" in request.answer()[0]
    clock.now += 70
    request = browser.ask()
    request.session.rotate()
    assert "Max-Age=7;" in request.answer()[0]
    request = browser.ask()
    request.session.login("ann", ttl=None, max_age=None)
    assert "Max-Age=34560000" in request.answer()[0]


def test_an_id_that_fits_no_cookie_is_refused() -> None:
    store = MemorySessions(id_factory=lambda: "x" * 5000)
    request = Browser(WebSessions(Jam({"session": {"session_type": store}}))).ask()
    with pytest.raises(JamSessionDataError, match="too long for a cookie"):
        request.session.login("ann")
    assert request.answer() == []
    assert store.kept == {}


# --- what is stored ----------------------------------------------------------------------------


def test_a_reader_writes_nothing_and_gets_no_cookie(
    browser: Browser, store: MemorySessions
) -> None:
    logged_in(browser, name="Ann", tags=["a"])
    before = dict(store.kept)
    request = browser.ask()
    assert request.session["name"] == "Ann"
    assert request.session.get("none") is None
    assert "tags" in request.session
    assert request.answer() == []
    assert store.kept == before


@pytest.mark.parametrize(
    ("change", "stored"),
    [
        (lambda s: s["cart"]["items"].append(2), {"cart": {"items": [1, 2]}, "n": 1}),
        (lambda s: s.update(n=True), {"cart": {"items": [1]}, "n": True}),
        (lambda s: s.update(n=1.0), {"cart": {"items": [1]}, "n": 1.0}),
        (lambda s: s.pop("cart"), {"n": 1}),
        (lambda s: s.clear(), {}),
        (lambda s: s.update(t=(1, 2)), {"cart": {"items": [1]}, "n": 1, "t": [1, 2]}),
        (lambda s: s["cart"].update({3: "x"}), {"cart": {"items": [1], "3": "x"}, "n": 1}),
    ],
    ids=["nested", "True", "float", "removed", "cleared", "a tuple", "a number as a key"],
)
def test_every_change_is_noticed(browser: Browser, change: Any, stored: dict[str, Any]) -> None:
    logged_in(browser, cart={"items": [1]}, n=1)
    request = browser.ask()
    change(request.session)
    request.answer()
    found = data_of(browser)
    assert found == stored
    assert [type(value) for value in found.values()] == [type(one) for one in stored.values()]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: (s.update(n=2), s.update(n=1)),
        lambda s: (s["cart"].append(2), s["cart"].pop()),
        lambda s: s.update(cart=(1,)),
        lambda s: s.update(dict(reversed(list(s.items())))),
    ],
    ids=["there and back", "nested", "a tuple", "another order"],
)
def test_what_is_the_same_json_is_no_change(
    browser: Browser, store: MemorySessions, change: Any
) -> None:
    logged_in(browser, cart=[1], n=1)
    before = dict(store.kept)
    request = browser.ask()
    change(request.session)
    request.answer()
    assert store.kept == before


def test_a_handler_that_fails_changes_nothing(browser: Browser) -> None:
    logged_in(browser, n=1)
    request = browser.ask()
    request.session["n"] = 2
    request.answer(failed=True)
    assert data_of(browser) == {"n": 1}


def test_what_no_json_holds_is_refused_by_its_place(browser: Browser) -> None:
    logged_in(browser, n=1)
    request = browser.ask()
    request.session["at"] = {"when": object()}
    with pytest.raises(JamSessionDataError, match="when"):
        request.answer()
    assert data_of(browser) == {"n": 1}
    request = browser.ask()
    circle: list[Any] = []
    circle.append(circle)
    request.session["circle"] = circle
    with pytest.raises(JamSessionDataError, match="contains itself"):
        request.answer()


@pytest.mark.parametrize("key", [1, None, "_jam.login"])
def test_keys_are_strings_of_the_applications_own(browser: Browser, key: Any) -> None:
    session = browser.ask().session
    with pytest.raises(JamSessionDataError, match="keys"):
        session[key] = 1
    assert key not in session


# --- two at once -------------------------------------------------------------------------------


def test_two_requests_that_change_different_keys_both_win(browser: Browser) -> None:
    logged_in(browser, a=1, b=1, c=1, d=1)
    one, other = browser.ask(), browser.ask()
    one.session["a"] = 2
    other.session["b"] = 2
    del one.session["c"]
    other.session["e"] = 2
    one.answer()
    other.answer()
    assert data_of(browser) == {"a": 2, "b": 2, "d": 1, "e": 2}


def test_of_one_key_the_later_answer_wins(browser: Browser) -> None:
    logged_in(browser, a=1, b=1)
    one, other = browser.ask(), browser.ask()
    one.session.update(a=2, b=2)
    del other.session["a"]
    other.session["b"] = 3
    one.answer()
    other.answer()
    assert data_of(browser) == {"b": 3}


def test_twenty_at_once_all_win(browser: Browser) -> None:
    logged_in(browser)
    requests = [browser.ask() for _ in range(20)]
    for number, request in enumerate(requests):
        request.session[str(number)] = number
    for request in reversed(requests):
        request.answer()
    assert data_of(browser) == {str(number): number for number in range(20)}


def test_what_a_handler_holds_stays_its_own_across_save_and_log_in(browser: Browser) -> None:
    request = browser.ask()
    request.session["cart"] = cart = [1]
    request.session.save()
    cart.append(2)
    other = browser.ask()
    browser.take(request.state.cookies.set_cookies)
    other = browser.ask()
    other.session["seen"] = True
    other.answer()
    request.session.save()
    cart.append(3)
    request.session.login("ann")
    cart.append(4)
    request.answer()
    assert data_of(browser) == {"cart": [1, 2, 3, 4], "seen": True}


@pytest.mark.parametrize("end", ["logout", "logout_everywhere", "rotate", "expiry"])
def test_what_has_ended_meanwhile_stays_ended(
    browser: Browser, store: MemorySessions, clock: Clock, end: str
) -> None:
    logged_in(browser, n=1)
    writer, other = browser.ask(), browser.ask()
    writer.session["n"] = 2
    if end == "expiry":
        clock.now += 1000
    else:
        getattr(other.session, end)()
        other.answer()
    cookies = dict(browser.cookies)
    assert writer.answer() == []
    assert writer.session.lost
    assert browser.cookies == cookies
    assert data_of(browser) == ({"n": 1} if end == "rotate" else {})
    writer.session["n"] = 3
    writer.session.save()
    assert writer.session["n"] == 3
    assert [record for record in store.kept.values() if not record.ended(clock.now)] == (
        list(store.kept.values()) if end == "rotate" else []
    )


def test_a_log_in_after_the_loss_brings_nothing_of_it_back(browser: Browser) -> None:
    logged_in(browser, diary="private")
    request, thief = browser.ask(), browser.ask()
    request.session["theme"] = "dark"
    thief.session.logout_everywhere()
    request.session.save()
    assert request.session.lost
    request.session.login("ann")
    request.answer()
    assert data_of(browser) == {"theme": "dark"}


def test_of_two_log_ins_at_once_both_are_logged_in(browser: Browser) -> None:
    request = browser.ask()
    request.session["cart"] = ["jam"]
    request.answer()
    one, other = browser.ask(), browser.ask()
    for each in (one, other):
        assert each.session["cart"]
    for each in (one, other):
        each.session.login("ann")
    for each in (other, one):
        each.answer()
        assert browser.ask().session.key == "ann"
        assert data_of(browser) == {"cart": ["jam"]}


@pytest.mark.parametrize("failed", [False, True])
def test_a_late_answer_sets_no_cookie_of_a_session_that_has_ended(
    browser: Browser, failed: bool
) -> None:
    logged_in(browser)
    late = browser.ask()
    late.session.rotate()
    browser.take(late.state.cookies.set_cookies)
    browser.ask().session.logout()
    late.session["n"] = 1
    late.session.save()
    assert late.session.lost
    assert late.answer(failed=failed) == []


def test_a_late_answer_to_a_visitor_does_not_undo_a_log_in(browser: Browser) -> None:
    late = browser.ask()
    late.session["cart"] = ["jam"]
    logged_in(browser)
    late.answer()
    assert browser.ask().session.key == "ann"


# --- time --------------------------------------------------------------------------------------


def test_the_ttl_starts_again_once_a_tenth_of_it_has_passed(browser: Browser, clock: Clock) -> None:
    logged_in(browser)
    ends = []
    for seconds in (50, 49, 2, 50):
        clock.now += seconds
        request = browser.ask()
        request.session.get("name")
        request.answer()
        ends.append(browser.ask().session.expires_at)
    start = clock.now - 151
    assert ends == [start + 1000, start + 1000, start + 1101, start + 1101]


def test_a_page_that_does_not_look_at_the_session_does_not_prolong_it(
    browser: Browser, clock: Clock
) -> None:
    logged_in(browser)
    clock.now += 999
    request = browser.ask()
    finish(request.state.load())
    request.answer()
    clock.now += 1
    assert browser.ask().session.key is None


def test_a_recent_log_in(browser: Browser, clock: Clock) -> None:
    assert not browser.ask().session.recent_login(60)
    logged_in(browser)
    clock.now += 60
    assert browser.ask().session.recent_login(60)
    assert browser.ask().session.issued_at == clock.now - 60
    clock.now += 1
    request = browser.ask()
    assert not request.session.recent_login(60)
    request.session.rotate()
    request.answer()
    assert not browser.ask().session.recent_login(60)
    logged_in(browser)
    assert browser.ask().session.recent_login(0)


def test_is_new(browser: Browser) -> None:
    assert browser.ask().session.is_new
    logged_in(browser)
    assert not browser.ask().session.is_new


# --- limits of a session's own, as frameworks set them -----------------------------------------


def test_a_session_that_is_given_other_limits_is_not_logged_in_again(
    browser: Browser, clock: Clock, store: MemorySessions
) -> None:
    logged_in(browser, n=1)
    old = dict(browser.cookies)
    clock.now += 100
    for _ in range(2):
        request = browser.ask()
        request.state.ttl = request.state.max_age = 50
        request.state.put_off = request.state.renew
        assert "Max-Age=50;" in request.answer()[0]
    clock.now += 49
    session = browser.ask().session
    assert session.key == "ann"
    assert dict(session) == {"n": 1}
    assert session.expires_at == clock.now + 1
    assert not session.recent_login(148)
    assert session.recent_login(149)
    assert len(store.kept) == 1
    browser.cookies, mine = old, browser.cookies
    assert data_of(browser) == {}
    browser.cookies = mine
    assert logged_in(browser).ask().session.recent_login(0)


def test_limits_of_a_session_that_this_request_begins(browser: Browser, clock: Clock) -> None:
    request = browser.ask()
    request.state.ttl = 7
    request.state.cookies.are_kept = False
    request.session["cart"] = 1
    assert "Max-Age" not in request.answer()[0]
    assert browser.ask().session.expires_at == clock.now + 7
    request = browser.ask()
    request.state.ttl = 8
    request.session.login("ann")
    request.answer()
    assert browser.ask().session.expires_at == clock.now + 8


def test_a_visitors_session_opens_from_either_cookie(browser: Browser) -> None:
    """A test client may know one name of a cookie only."""
    request = browser.ask()
    finish(request.state.begin())
    request.answer()
    browser.cookies = {COOKIE: browser.cookies[VISITOR]}
    request = browser.ask()
    request.session["cart"] = 1
    assert request.answer() == []
    assert data_of(browser) == {"cart": 1}
    logged_in(browser)
    assert browser.ask().session.key == "ann"


# --- devices, log-out --------------------------------------------------------------------------


def test_devices_are_shown_and_ended(sessions: WebSessions) -> None:
    phone, laptop, bobs = (Browser(sessions) for _ in range(3))
    logged_in(phone, device="phone")
    logged_in(laptop, device="laptop")
    logged_in(bobs, "bob")
    mine = phone.ask()
    devices = {one.data["device"]: one for one in mine.session.devices()}
    assert devices.keys() == {"phone", "laptop"}
    assert devices["phone"].is_this
    assert not devices["laptop"].is_this
    assert not bobs.ask().session.revoke(devices["laptop"].handle)
    assert mine.session.revoke(devices["laptop"].handle)
    assert not mine.session.revoke(devices["laptop"].handle)
    assert laptop.ask().session.key is None
    assert mine.session.revoke(devices["phone"].handle)
    mine.answer()
    assert phone.cookies == {}
    assert bobs.ask().session.key == "bob"


def test_log_out_of_the_others_and_everywhere(sessions: WebSessions) -> None:
    phone, laptop, tablet = (logged_in(Browser(sessions)) for _ in range(3))
    assert phone.ask().session.logout_others() == 2
    assert laptop.ask().session.key is None
    logged_in(tablet)
    request = phone.ask()
    request.session.logout_everywhere()
    request.answer()
    assert phone.cookies == {}
    assert tablet.ask().session.key is None


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("deed", ["logout_others", "logout_everywhere", "revoke"])
def test_who_ends_sessions_ends_a_thiefs_who_has_rotated(
    browser: Browser, store: MemorySessions, deed: str, is_known: bool
) -> None:
    """A thief with the same cookie gets a new id while the user changes the password."""
    thief, device, bobs = (Browser(browser.sessions) for _ in range(3))
    logged_in(browser, n=1)
    logged_in(device)
    logged_in(bobs, "bob")
    request = browser.ask()
    assert request.session["n"] == 1
    thief.cookies = dict(browser.cookies)
    theirs = thief.ask()
    theirs.session.rotate()
    theirs.answer()
    if is_known:
        request.session.rotate()
        assert request.session.lost
    if deed == "revoke":
        (handle,) = (one.handle for one in thief.ask().session.devices() if one.is_this)
        assert request.session.revoke(handle)
    else:
        assert getattr(request.session, deed)() == (2 if deed == "logout_others" else None)
    request.answer()
    assert thief.ask().session.key is None
    assert (device.ask().session.key is None) == (deed != "revoke")
    assert bobs.ask().session.key == "bob"


def test_a_visitor_has_no_devices(browser: Browser) -> None:
    session = browser.ask().session
    assert session.devices() == []
    assert session.logout_others() == 0
    assert not session.revoke("0" * 16)


def test_a_log_out_ends_the_session_before_the_answer(
    browser: Browser, store: MemorySessions
) -> None:
    logged_in(browser, n=1)
    request = browser.ask()
    request.session.logout()
    assert store.kept == {}
    assert dict(request.session) == {}
    request.session.flash("Goodbye")
    request.answer()
    assert browser.cookies.keys() == {VISITOR}
    assert browser.ask().session.flashes() == [Flash("Goodbye", "message")]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_log_out_wins_against_a_rotation(
    browser: Browser, clock: Clock, times: int, is_known: bool
) -> None:
    """The user has two tabs: one is given a new id while the other logs out."""
    logged_in(browser, n=1)
    clock.now += 1
    other_device = logged_in(Browser(browser.sessions))
    leaving = browser.ask()
    assert leaving.session["n"] == 1
    for _ in range(times):
        rotating = browser.ask()
        rotating.session.rotate()
        rotating.answer()
    if is_known:
        leaving.session["n"] = 2
        leaving.session.save()
        assert leaving.session.lost
    leaving.session.logout()
    assert browser.ask().session.key is None
    assert other_device.ask().session.key == "ann"


def test_a_log_out_wins_against_a_rotation_though_the_log_in_failed_afterwards(
    clock: Clock,
) -> None:
    class Forgetful(MemorySessions):
        """Does not keep when a session began, as Redis does not."""

        def info(self, session_id: str) -> Any:
            found = super().info(session_id)
            return found and replace(found, created_at=None)

        def list_sessions(self, session_key: str) -> Any:
            return [replace(one, created_at=None) for one in super().list_sessions(session_key)]

    store = Forgetful(clock=clock)
    browser = Browser(WebSessions(Jam({"session": {"session_type": store}}), clock=clock))
    visitor = browser.ask()
    visitor.session["cart"] = 1
    visitor.answer()
    request = browser.ask()
    request.session.login("ann")
    request.session["unfinished"] = True
    request.answer(failed=True)
    assert data_of(browser) == {"cart": 1}
    leaving, rotating = browser.ask(), browser.ask()
    assert leaving.session.key == "ann"
    rotating.session.rotate()
    rotating.answer()
    leaving.session.logout()
    assert browser.ask().session.key is None
    assert store.kept == {}


@pytest.mark.parametrize("key", ["", "visitor-1"])
def test_a_key_that_is_no_users_is_refused(browser: Browser, key: str) -> None:
    with pytest.raises(JamSessionDataError):
        browser.ask().session.login(key)


# --- said once, and forms ----------------------------------------------------------------------


def test_what_is_flashed_is_shown_once(browser: Browser, clock: Clock) -> None:
    logged_in(browser)
    one, other = browser.ask(), browser.ask()
    one.session.flash("one")
    clock.now += 1
    other.session.flash("two", "error")
    other.answer()
    one.answer()
    request = browser.ask()
    assert dict(request.session) == {}
    assert request.session.flashes() == [Flash("one", "message"), Flash("two", "error")]
    request.answer()
    assert browser.ask().session.flashes() == []


def test_a_token_is_of_this_session_only(sessions: WebSessions) -> None:
    browser, other = logged_in(Browser(sessions)), logged_in(Browser(sessions))
    token = browser.ask().session.csrf_token
    assert browser.ask().session.check_csrf(token)
    assert browser.ask().session.csrf_token != token
    assert not other.ask().session.check_csrf(token)
    logged_in(browser)
    assert not browser.ask().session.check_csrf(token)


@pytest.mark.parametrize("token", ["", "x", "é", None, 1, "A" * 86, b"x", "=", "\0"])
def test_what_is_no_token_is_refused(browser: Browser, token: object) -> None:
    assert not browser.ask().session.check_csrf(token)
    logged_in(browser)
    assert not browser.ask().session.check_csrf(token)


def test_a_visitor_without_a_session_has_a_token_and_stores_nothing(
    browser: Browser, store: MemorySessions
) -> None:
    request = browser.ask()
    token = request.session.csrf_token
    (line,) = request.answer()
    assert line.startswith("__Host-csrf=")
    assert store.kept == {}
    assert browser.ask().session.check_csrf(token)
    assert browser.ask().answer() == []
    cart = browser.ask()
    cart.session["cart"] = ["jam"]
    cart.answer()
    assert browser.ask().session.check_csrf(token), "the form is still open in another tab"
    logged_in(browser)
    assert not browser.ask().session.check_csrf(token)


# --- the headers have left ---------------------------------------------------------------------


def test_no_session_begins_after_the_headers(browser: Browser, store: MemorySessions) -> None:
    request = browser.ask()
    request.answer()
    request.session["cart"] = ["jam"]
    for call in (request.session.save, lambda: request.session.login("ann")):
        with pytest.raises(JamSessionError, match="headers"):
            call()
    assert store.kept == {}


def test_a_session_is_changed_and_ended_after_the_headers(browser: Browser) -> None:
    logged_in(browser)
    request = browser.ask()
    request.answer()
    request.session["n"] = 1
    request.session.save()
    assert data_of(browser) == {"n": 1}
    request.session.logout()
    assert data_of(browser) == {}
    assert request.state.cookies.set_cookies == []


def test_a_stream_learns_of_a_log_out(browser: Browser) -> None:
    logged_in(browser, n=1)
    stream, other = browser.ask(), browser.ask()
    assert stream.session.reload()
    other.session["n"] = 2
    other.session.save()
    stream.session["mine"] = 1
    assert stream.session.reload()
    assert dict(stream.session) == {"n": 2, "mine": 1}
    other.session.logout()
    assert not stream.session.reload()
    assert stream.session.lost


# --- a log-in that a library notes -------------------------------------------------------------


@pytest.fixture
def noticing(store: MemorySessions, clock: Clock) -> Browser:
    jam = Jam({"session": {"session_type": store}})
    return Browser(WebSessions(jam, clock=clock, principal=("user_id", "mark")))


def test_a_log_in_by_a_library_is_a_log_in(noticing: Browser, store: MemorySessions) -> None:
    request = noticing.ask()
    request.session["cart"] = ["jam"]
    request.answer()
    planted = dict(noticing.cookies)
    request = noticing.ask()
    request.session["user_id"] = 7
    request.answer()
    assert noticing.ask().session.key == "7"
    assert data_of(noticing) == {"cart": ["jam"], "user_id": 7}
    noticing.cookies, mine = planted, noticing.cookies
    assert data_of(noticing) == {}
    noticing.cookies = dict(mine)
    request = noticing.ask()
    request.session["mark"] = "of a new password"
    request.answer()
    assert noticing.cookies != mine
    assert noticing.ask().session.key == "7"
    assert len(store.kept) == 1


def noted(browser: Browser, user: object = "ann", **data: Any) -> Browser:
    """Log in as a library does."""
    request = browser.ask()
    request.session.update(user_id=user, **data)
    request.answer()
    return browser


def test_a_log_out_by_a_library_leaves_nothing_of_the_user(
    noticing: Browser, store: MemorySessions
) -> None:
    noted(noticing, diary={"today": "private"}, mark=1)
    request = noticing.ask()
    del request.session["user_id"]
    request.session.update(mark=2, goodbye=True)
    request.session["diary"]["seen"] = True
    request.answer()
    assert noticing.cookies.keys() == {VISITOR}
    assert data_of(noticing) == {"goodbye": True}
    assert len(store.kept) == 1
    assert data_of(noted(noticing, "bob")) == {"goodbye": True, "user_id": "bob"}


@pytest.mark.parametrize("how", ["rotate", "nothing", "renew"])
def test_another_user_whom_a_library_notes_gets_nothing_of_the_one_before(
    noticing: Browser, store: MemorySessions, how: str
) -> None:
    noted(noticing, diary={"today": "private"}, mark=1)
    request = noticing.ask()
    if how == "rotate":
        request.session.rotate()
    elif how == "renew":
        finish(request.state.renew())
    request.session["diary"]["seen"] = True
    request.session.update(user_id="bob", theme="dark")
    request.answer()
    assert noticing.ask().session.key == "bob"
    assert data_of(noticing) == {"user_id": "bob", "theme": "dark"}
    assert [record.session_key for record in store.kept.values()] == ["bob"]


@pytest.mark.parametrize("key", ["7", "ann"])
def test_what_else_a_library_notes_of_the_same_user_is_no_log_in(
    noticing: Browser, clock: Clock, key: str
) -> None:
    request = noticing.ask()
    request.session.login(key, ttl=100, max_age=900)
    request.session.update(user_id=7, diary="private")
    request.answer()
    before = dict(noticing.cookies)
    clock.now += 10
    leaving, request = noticing.ask(), noticing.ask()
    issued_at = leaving.session.issued_at
    request.session["mark"] = "of a new password"
    request.answer()
    assert noticing.cookies != before
    session = noticing.ask().session
    assert session.key == key
    assert session.issued_at == issued_at
    assert session.expires_at == clock.now + 100
    assert session["diary"] == "private"
    leaving.session.logout()
    assert noticing.ask().session.key is None


def no_visitor_holds(store: MemorySessions, *names: str) -> bool:
    return not any(
        json.loads(one.data).keys() & set(names)
        for one in store.kept.values()
        if one.session_key.startswith("visitor-")
    )


@pytest.mark.parametrize("is_lost", ["", "known", "unknown"])
@pytest.mark.parametrize("noted_again", [False, True])
def test_a_session_that_is_begun_in_a_users_is_no_copy_of_it(
    noticing: Browser, store: MemorySessions, is_lost: str, noted_again: bool
) -> None:
    noted(noticing, mark=1, diary="private")
    before, request = dict(noticing.cookies), noticing.ask()
    request.session.update(theme="dark", mark=2)
    if is_lost:
        noticing.ask().session.logout_everywhere()
    if is_lost == "known":
        request.session.save()
    if noted_again:
        request.session["user_id"] = "bob"
    finish(request.state.begin())
    request.answer()
    assert noticing.cookies != before
    assert no_visitor_holds(store, "user_id", "mark", "diary")
    user = "bob" if noted_again else "ann"
    assert noticing.ask().session.key in ((None, user) if is_lost else (user,))
    assert noticing.ask().session["theme"] == "dark"
    finish(noticing.sessions.jam.session_clear(user))
    assert "user_id" not in noticing.ask().session


def test_a_log_in_that_a_library_notes_in_a_session_that_is_just_begun(noticing: Browser) -> None:
    for visits in (False, True):
        if visits:
            noticing.cookies.clear()
            request = noticing.ask()
            request.session["cart"] = 1
            request.answer()
        request = noticing.ask()
        request.session["user_id"] = "ann"
        finish(request.state.begin())
        assert request.session.key == "ann"
        request.answer()
        assert noticing.ask().session.key == "ann"


def test_no_visitor_is_given_the_log_in_of_a_session_that_has_ended(
    noticing: Browser, store: MemorySessions
) -> None:
    request = noticing.ask()
    request.session["cart"] = 1
    request.answer()
    request = noticing.ask()
    request.session["cart"] = 2
    store.kept.clear()
    request.session.save()
    request.session["user_id"] = "ann"
    finish(request.state.begin())
    request.answer()
    assert data_of(noticing) == {"cart": 2}


def test_a_log_in_of_the_applications_own_is_not_repeated(noticing: Browser) -> None:
    request = noticing.ask()
    request.session.login("ann")
    request.session["user_id"] = 7
    request.answer()
    assert noticing.ask().session.key == "ann"


# --- two tasks with one session ----------------------------------------------------------------


class SlowAnswers:
    """A Jam that is awaited, and whose answers to some calls come when they are let through."""

    def __init__(self, jam: Jam) -> None:
        self._jam = jam
        self._gates: dict[str, list[asyncio.Event]] = {}

    def hold(self, name: str) -> asyncio.Event:
        """Hold the answer to the next call back, until the event is set."""
        gate = asyncio.Event()
        self._gates.setdefault(name, []).append(gate)
        return gate

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        call = getattr(self._jam, name)

        async def called(*args: Any, **kwargs: Any) -> Any:
            gates = self._gates.get(name)
            gate = gates.pop(0) if gates else None
            try:
                return call(*args, **kwargs)
            finally:
                if gate is not None:
                    await gate.wait()

        return called


class Deeds:
    """A request of a browser that is logged in as ann, and what its tasks do."""

    def __init__(self, browser: Browser, store: MemorySessions) -> None:
        jam = Jam({"session": {"session_type": store}})
        self.slow = SlowAnswers(jam)
        sessions = WebSessions(cast("AwaitedJam", self.slow), clock=browser.sessions.settings.clock)
        header = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self.state = sessions.open([header] if header else [])

    async def carry_out(self, deed: str) -> None:
        match deed:
            case "put":
                await self.state.load()
                self.state.use()["n"] = 2
                await self.state.save()
            case "ann" | "bob":
                await self.state.login(deed)
            case _:
                await getattr(self.state, deed)()

    def run(self, held: str, slow: str, fast: str) -> None:
        """Do something whose answer comes after another task has done something else."""

        async def both() -> None:
            if held != "session_info" or slow != "load":
                await self.state.load()
                self.state.use()
            gate = self.slow.hold(held)
            waiting = asyncio.create_task(self.carry_out(slow))
            await asyncio.sleep(0)
            assert not waiting.done()
            await self.carry_out(fast)
            gate.set()
            await waiting
            await self.state.respond(failed=False)

        asyncio.run(both())


@pytest.mark.parametrize("fast", ["logout", "logout_everywhere", "bob"])
@pytest.mark.parametrize(
    ("held", "slow"),
    [
        ("session_info", "load"),
        ("session_info", "reload"),
        ("session_update", "put"),
        ("session_rework", "rotate"),
        ("session_info", "rotate"),
        ("session_rework", "renew"),
        ("session_rework", "ann"),
        ("session_clear_others", "logout_others"),
    ],
)
def test_what_a_task_was_waiting_for_brings_no_session_back(
    browser: Browser, store: MemorySessions, held: str, slow: str, fast: str
) -> None:
    logged_in(browser, diary="private")
    deeds = Deeds(browser, store)
    deeds.run(held, slow, fast)
    browser.take(deeds.state.cookies.set_cookies)
    assert "diary" not in deeds.state.data
    assert browser.ask().session.key == (fast if fast == "bob" else None)
    assert [one.session_key for one in store.kept.values()] == (["bob"] if fast == "bob" else [])


@pytest.mark.parametrize(
    ("held", "slow", "fast"),
    [
        ("session_update", "put", "rotate"),
        ("session_rework", "rotate", "put"),
        ("session_rework", "rotate", "rotate"),
        ("session_info", "reload", "put"),
        ("session_info", "reload", "rotate"),
        ("session_update", "put", "put"),
    ],
)
def test_two_tasks_lose_nothing(
    browser: Browser, store: MemorySessions, held: str, slow: str, fast: str
) -> None:
    logged_in(browser, n=1)
    deeds = Deeds(browser, store)
    deeds.run(held, slow, fast)
    browser.take(deeds.state.cookies.set_cookies)
    assert browser.ask().session.key == "ann"
    assert data_of(browser) == deeds.state.data == {"n": 2 if "put" in (slow, fast) else 1}


@pytest.mark.parametrize(("slow", "fast"), [("put", "ann"), ("ann", "put")])
def test_a_visitors_session_that_a_task_begins_does_not_undo_a_log_in(
    browser: Browser, store: MemorySessions, slow: str, fast: str
) -> None:
    deeds = Deeds(browser, store)
    deeds.run("session_create", slow, fast)
    browser.take(deeds.state.cookies.set_cookies)
    assert browser.ask().session.key == "ann"
    assert data_of(browser) == {"n": 2}
    assert len(store.kept) == 1


@pytest.mark.parametrize(("slow", "fast"), [("rotate", "ann"), ("ann", "rotate")])
def test_a_rotation_by_another_task_does_not_undo_a_log_in(
    browser: Browser, store: MemorySessions, slow: str, fast: str
) -> None:
    request = browser.ask()
    request.session["n"] = 1
    request.answer()
    deeds = Deeds(browser, store)
    deeds.run("session_rework", slow, fast)
    browser.take(deeds.state.cookies.set_cookies)
    assert browser.ask().session.key == "ann"
    assert data_of(browser) == {"n": 1}
    assert len(store.kept) == 1


# --- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cookies": "x"}, "did you mean cookie"),
        ({"cookie": "a b"}, "cannot be a cookie's name"),
        ({"cookie": "__Host-x"}, "prefix"),
        ({"cookie": "visitor"}, "three different names"),
        ({"secure": "no"}, "secure"),
        ({"samesite": "Lax"}, "samesite"),
        ({"samesite": "none", "secure": False}, "secure=True"),
        ({"principal": "user_id"}, "tuple"),
        ({"retry_after": 0}, "retry_after"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(
    store: MemorySessions, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(JamConfigurationError, match=said):
        WebSessions(Jam({"session": {"session_type": store}}), **options)


def test_what_is_no_jam_is_refused() -> None:
    with pytest.raises(JamConfigurationError, match=r"jam\.aio\.Jam"):
        WebSessions("config.toml")  # type: ignore[arg-type]


def test_without_https_the_log_says_so(
    store: MemorySessions, caplog: pytest.LogCaptureFixture
) -> None:
    jam = Jam({"session": {"session_type": store}})
    browser = logged_in(Browser(WebSessions(jam, secure=False)))
    assert browser.cookies.keys() == {"session"}
    assert "secure=False" in caplog.text


# --- anything in any order ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", [*range(60), pytest.param(None, marks=pytest.mark.exhaustive)])
def test_requests_in_any_order_keep_every_promise(seed: int | None) -> None:
    for chosen in range(1000, 6000) if seed is None else [seed]:
        History(random.Random(chosen)).run()


class History:
    """Requests of one browser, begun, carried out and answered in a random order."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.clock = chance, Clock()
        self.store = MemorySessions(clock=self.clock, ttl=1000)
        jam = Jam({"session": {"session_type": self.store}})
        self.browser = Browser(WebSessions(jam, clock=self.clock))
        self.written: dict[str, int] = {}

    def run(self) -> None:
        logged_in(self.browser, "ann", secret="ann")
        others = [logged_in(Browser(self.browser.sessions), "bob", secret="bob") for _ in range(2)]
        requests = [self.browser.ask() for _ in range(self.chance.randint(2, 5))]
        for request in requests:
            assert request.session["secret"] == "ann"
        deeds = [(request, step) for request in requests for step in self._steps()]
        self.chance.shuffle(deeds)
        for number, (request, step) in enumerate(deeds):
            self._carry_out(request, step, number)
        steps = {step for _, step in deeds}
        self.chance.shuffle(requests)
        for request in requests:
            request.answer()
        if "logout" in steps:
            assert self._keys() == {"bob"}
        else:
            (kept,) = [one for one in self.store.kept.values() if one.session_key == "ann"]
            assert json.loads(kept.data) == {"secret": "ann", **self.written}
            if "rotate" not in steps:
                assert data_of(self.browser) == {"secret": "ann", **self.written}
        for other in others:
            assert data_of(other) == {"secret": "bob"}

    def _carry_out(self, request: Request, step: str, number: int) -> None:
        self.clock.now += 1
        if step != "write":
            getattr(request.session, step)()
        else:
            request.session[f"n{number}"] = number
            request.session.save()
            if not request.session.lost:
                self.written[f"n{number}"] = number
        if step == "logout":
            assert self._keys() == {"bob"}, "a log-out that ended nothing"

    def _steps(self) -> list[str]:
        deeds = ["write", "rotate", "reload", "logout"]
        return self.chance.choices(deeds, [8, 2, 2, 1], k=self.chance.randint(1, 3))

    def _keys(self) -> set[str]:
        """Whose sessions there are, but for visitors'."""
        keys = {record.session_key for record in self.store.kept.values()}
        return {key for key in keys if not key.startswith("visitor-")}
