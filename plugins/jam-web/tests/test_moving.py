"""Sessions that move to another store while a browser uses them: it gets the new id by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jam_web import WebSessions
from jam_web.cookies import decode_id

from jam_core import Jam

from .site import COOKIE
from .without_framework import Browser


@contextmanager
def application(store: dict[str, Any], browser: Browser) -> Iterator[Jam]:
    """An application on a store, which the browser's requests go to from now on."""
    with Jam({"session": store}) as jam:
        browser.sessions = WebSessions(jam)
        yield jam


@pytest.fixture
def old(tmp_path: Path) -> dict[str, Any]:
    return {"session_type": "json", "json_path": str(tmp_path / "sessions.json")}


@pytest.fixture
def new(tmp_path: Path) -> dict[str, Any]:
    return {
        "session_type": "sqlalchemy",
        "database_uri": f"sqlite:///{tmp_path}/sessions.db",
        "max_age": 600,
    }


@pytest.fixture
def browser(old: dict[str, Any]) -> Browser:
    """A browser that is logged in, in the old store."""
    with Jam({"session": old}) as jam:
        browser = Browser(WebSessions(jam))
        request = browser.ask()
        request.session["cart"] = ["tea"]
        request.session.login("ann")
        request.answer()
    return browser


def test_a_browser_gets_the_new_id_and_notices_nothing(
    browser: Browser, old: dict[str, Any], new: dict[str, Any]
) -> None:
    with application({"session_type": "moving", "new": new, "old": old}, browser):
        before = browser.cookies[COOKIE]
        late = browser.ask()  # with the old cookie, answered when another had the new one
        first = browser.ask()
        assert first.session["cart"] == ["tea"]
        first.session["cart"].append("jam")
        first.answer()
        assert browser.cookies[COOKIE] != before
        late.session["seen"] = True
        late.answer()
    with application(new, browser):
        request = browser.ask()
        assert request.session.key == "ann"
        assert dict(request.session) == {"cart": ["tea", "jam"], "seen": True}
        request.answer()
        assert request.state.cookies.set_cookies == []


def test_a_form_from_before_the_move_is_accepted_by_the_request_that_moves(
    browser: Browser, old: dict[str, Any], new: dict[str, Any]
) -> None:
    with application(old, browser):
        token = browser.ask().session.csrf_token
    with application({"session_type": "moving", "new": new, "old": old}, browser):
        request = browser.ask()
        assert request.session.check_csrf(token)
        request.session.rotate()
        assert not request.session.check_csrf(token)


def test_after_the_headers_the_old_id_goes_on_leading_to_the_session(
    browser: Browser, old: dict[str, Any], new: dict[str, Any]
) -> None:
    with application({"session_type": "moving", "new": new, "old": old}, browser) as jam:
        request = browser.ask()
        request.answer()  # it has not looked at its session
        assert request.session["cart"] == ["tea"]
        request.session["cart"] = []
        request.session.save()
        assert request.state.cookies.set_cookies == []
        later = browser.ask()
        assert dict(later.session) == {"cart": []}
        later.answer()
        session_id = decode_id(browser.cookies[COOKIE])
        assert session_id is not None
        later.session.logout()
        assert jam.session_get(session_id) is None
        assert not browser.ask().session.key


@pytest.mark.parametrize("writes", [False, True])
def test_a_late_answer_to_who_moved_the_session_does_not_undo_a_rotation(
    browser: Browser, old: dict[str, Any], new: dict[str, Any], writes: bool
) -> None:
    with application({"session_type": "moving", "new": new, "old": old}, browser):
        late, rotating = browser.ask(), browser.ask()
        assert late.session.key == rotating.session.key == "ann"
        rotating.session.rotate()
        rotating.answer()
        if writes:
            late.session["seen"] = True
        late.answer()
        assert late.state.cookies.set_cookies == []
        assert browser.ask().session.key == "ann"
