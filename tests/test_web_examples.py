"""The examples of web frameworks, each an application of one file, as two browsers use them."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.isolated import ROOT

COOKIE, VISITOR = "__Host-session", "__Host-visitor"


@pytest.fixture
def fastapi_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The application, with an empty place for its sessions."""
    monkeypatch.chdir(tmp_path)
    file = ROOT / "examples" / "fastapi_app.py"
    spec = importlib.util.spec_from_file_location("fastapi_app", file)
    assert spec
    assert spec.loader
    module = sys.modules["fastapi_app"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fastapi_app"]


class Browser:
    """A browser that fills in the forms of the page that it shows."""

    def __init__(self, application: ModuleType, name: str) -> None:
        headers = {"User-Agent": name}
        address = "https://testserver"
        self.client = TestClient(application.app, base_url=address, headers=headers)
        self.page = self.client.get("/").text

    def submit(self, action: str, **fields: Any) -> None:
        form = self.page.partition(f'action="{action}"')[2]
        token = form.partition('name="csrf" value="')[2].partition('"')[0]
        answer = self.client.post(action, data={"csrf": token, **fields})
        assert answer.status_code == 200
        self.page = answer.text

    def log_in(self, **fields: Any) -> None:
        self.submit("/login", user="ann", password="strawberry", **fields)


def test_a_cart_survives_the_log_in_and_devices_are_ended(fastapi_app: ModuleType) -> None:
    phone, laptop = Browser(fastapi_app, "phone"), Browser(fastapi_app, "laptop")
    phone.submit("/cart", item="<jam>")
    phone.submit("/cart", item="bread")
    assert list(phone.client.cookies) == ["__Host-csrf", VISITOR]
    phone.log_in()
    assert "&lt;jam&gt;<li>bread" in phone.page
    assert "Hello ann" in phone.page
    assert VISITOR not in phone.client.cookies
    laptop.log_in(remember="on")
    assert "phone" in laptop.page
    assert "Hello ann" not in laptop.client.get("/").text
    phone.page = phone.client.get("/").text
    phone.submit("/everywhere")
    assert "Remember me" in phone.page
    assert "Remember me" in laptop.client.get("/").text


def test_a_wrong_password_logs_nobody_in(fastapi_app: ModuleType) -> None:
    browser = Browser(fastapi_app, "phone")
    browser.submit("/login", user="ann", password="wrong")
    assert "do not belong together" in browser.page
    assert COOKIE not in browser.client.cookies


def test_forms_of_others_are_refused(fastapi_app: ModuleType) -> None:
    browser = Browser(fastapi_app, "phone")
    browser.log_in()
    for path in ("/cart", "/logout", "/everywhere", "/revoke", "/login"):
        assert browser.client.post(path, data={"item": "x", "csrf": "x"}).status_code in (403, 422)
    assert "this one" in browser.client.get("/").text
