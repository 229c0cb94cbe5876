"""Django's own applications on these sessions: auth, messages, CSRF, the admin; its settings."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import CommandError, call_command
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from jam_testing.memory import MemorySessions
from jam_web.cookies import encode_id
from jam_web.django import SessionStore, logout_everywhere
from jam_web.django.testing import AsyncClient as VisitorsAsyncClient
from jam_web.django.testing import Client as VisitorsClient

from jam_core import Jam, JamConfigurationError, JamSessionDataError

from . import django_project
from .conftest import Proxied
from .site import MEMORY, Clock

COOKIE = "sessionid"  # Django's name, and on http no prefix
VISITOR = "visitor"
VIEWS = f"{django_project.__name__.rpartition('.')[0]}.django_views"
WEEKS = 1_209_600  # SESSION_COOKIE_AGE


@pytest.fixture
def memory(clock: Clock) -> MemorySessions:
    return MemorySessions(clock=clock)


@pytest.fixture(autouse=True)
def settings(
    request: pytest.FixtureRequest, memory: MemorySessions, clock: Clock
) -> Iterator[None]:
    """Django's settings; a test is parametrized with those of its own."""
    given = {"session": {"session_type": memory}}
    own = getattr(request, "param", {})
    with override_settings(
        JAM_CONFIG=given, JAM_OPTIONS={"clock": clock}, ROOT_URLCONF=VIEWS, **own
    ):
        yield


def with_settings(**own: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("settings", [own], indirect=True, ids=[""])


@pytest.fixture(autouse=True)
def users() -> Iterator[dict[str, Any]]:
    model = get_user_model()
    yield {name: model.objects.create_user(name, password="old") for name in ("ann", "bob")}
    model.objects.all().delete()


@pytest.fixture
def client() -> Client:
    return Client()


def keys(memory: MemorySessions) -> list[str]:
    return [record.session_key for record in memory.kept.values()]


def seen(client: Client, path: str = "/who") -> Any:
    return client.get(path).json()


def ends_in(memory: MemorySessions, clock: Clock) -> float:
    (record,) = memory.kept.values()
    assert record.expires_at is not None
    return record.expires_at - clock.now


# --- django.contrib.auth -----------------------------------------------------------------------


def test_a_log_in_gives_a_new_id_and_files_the_session_under_the_user(
    client: Client, memory: MemorySessions, users: dict[str, Any]
) -> None:
    client.get("/put/cart/jam")
    planted = client.cookies[VISITOR].value
    client.get("/login/ann")
    assert keys(memory) == [str(users["ann"].pk)]
    assert seen(client) == {"user": "ann", "data": {"cart": "jam"}}
    attacker = Client()
    for name in (VISITOR, COOKIE):
        attacker.cookies[name] = planted
        assert seen(attacker) == {"user": "", "data": {}}


def test_who_notes_the_session_of_a_log_in_notes_the_one_that_lasts(client: Client) -> None:
    noted = []

    def note(request: HttpRequest, **_: Any) -> None:
        noted.append(request.session.session_key)

    user_logged_in.connect(note)
    try:
        client.get("/login/ann")
        client.get("/awaited/login/bob")
    finally:
        user_logged_in.disconnect(note)
    assert noted[0] != noted[1] == client.cookies[COOKIE].value
    assert SessionStore(noted[1]).load()["_auth_user_id"]
    assert not SessionStore().exists(noted[0])


def test_another_user_gets_nothing_of_the_one_before(
    client: Client, memory: MemorySessions, users: dict[str, Any]
) -> None:
    client.get("/login/ann")
    client.get("/put/diary/private")
    client.get("/login/bob")
    assert seen(client) == {"user": "bob", "data": {}}
    assert keys(memory) == [str(users["bob"].pk)]


def test_a_log_out_ends_the_session(client: Client, memory: MemorySessions) -> None:
    client.get("/login/ann")
    old = client.cookies[COOKIE].value
    answer = client.get("/logout")
    assert answer.cookies[COOKIE]["max-age"] == "0"
    assert memory.kept == {}
    client.cookies[COOKIE] = old
    assert seen(client) == {"user": "", "data": {}}


def test_a_new_password_ends_the_other_sessions(client: Client) -> None:
    other = Client()
    for one in (client, other):
        one.get("/login/ann")
    old = client.cookies[COOKIE].value
    client.get("/password")
    assert client.cookies[COOKIE].value != old
    assert seen(client)["user"] == "ann"
    assert seen(other)["user"] == ""


def test_a_log_in_whose_view_fails_has_a_cookie_all_the_same(client: Client) -> None:
    client.get("/login/ann")
    assert client.get("/fail/bob").status_code == 500
    answer = client.get("/who").json()
    assert "late" not in answer["data"]
    assert answer["user"] in ("", "bob")


@pytest.mark.parametrize("log_in", ["login", "force_login", "aforce_login"])
def test_the_test_client_logs_in_and_out(
    client: Client, memory: MemorySessions, users: dict[str, Any], log_in: str
) -> None:
    if log_in == "login":
        assert client.login(username="ann", password="old")
    elif log_in == "force_login":
        client.force_login(users["ann"])
    else:
        async_to_sync(client.aforce_login)(users["ann"])
    assert seen(client)["user"] == "ann"
    session = client.session
    session["theme"] = "dark"
    session.save()
    assert seen(client)["data"] == {"theme": "dark"}
    client.logout()
    assert str(users["ann"].pk) not in keys(memory)


def test_the_test_client_s_session_before_any_request(client: Client) -> None:
    session = client.session
    session["theme"] = "dark"
    session.save()
    assert seen(client)["data"] == {"theme": "dark"}


def test_a_test_client_that_knows_visitors(users: dict[str, Any]) -> None:
    client = VisitorsClient()
    client.session.save()
    client.cookies.clear()
    client.get("/put/cart/jam")
    assert client.session["cart"] == "jam"
    session = client.session
    session["cart"] = "bread"
    session.save()
    assert seen(client)["data"] == {"cart": "bread"}
    client.force_login(users["ann"])
    assert seen(client) == {"user": "ann", "data": {"cart": "bread"}}
    assert client.session["cart"] == "bread"
    client.get("/logout")
    client.get("/put/cart/none")
    assert client.session["cart"] == "none"


def test_an_async_test_client_that_knows_visitors(users: dict[str, Any]) -> None:
    client = VisitorsAsyncClient()

    async def requests() -> Any:
        await client.get("/put/cart/jam")
        before = dict(await (await client.asession()).aload())
        await client.aforce_login(users["ann"])
        return before, (await client.get("/who")).json()

    expected = ({"cart": "jam"}, {"user": "ann", "data": {"cart": "jam"}})
    assert async_to_sync(requests)() == expected


# --- devices -----------------------------------------------------------------------------------


def test_every_user_has_devices(users: dict[str, Any]) -> None:
    phone, laptop, bobs = Client(), Client(), Client()
    for one, name in ((phone, "ann"), (laptop, "ann"), (bobs, "bob")):
        one.get(f"/login/{name}")
    handles = {is_this: handle for handle, is_this in seen(phone, "/devices")}
    assert seen(bobs, f"/revoke/{handles[False]}") is False
    assert seen(phone, f"/revoke/{handles[False]}") is True
    assert seen(laptop)["user"] == ""
    laptop.get("/login/ann")
    assert seen(phone, "/others") == 1
    assert seen(laptop)["user"] == ""
    logout_everywhere(users["ann"])
    assert seen(phone)["user"] == ""
    assert seen(bobs)["user"] == "bob"


# --- messages, CSRF, the admin -----------------------------------------------------------------


def test_messages_are_shown_once(client: Client) -> None:
    client.get("/say")
    assert seen(client, "/hear") == ["Saved"]
    assert seen(client, "/hear") == []


@with_settings(CSRF_USE_SESSIONS=True)
def test_the_admin(users: dict[str, Any]) -> None:
    users["ann"].is_staff = users["ann"].is_superuser = True
    users["ann"].save()
    client = Client(enforce_csrf_checks=True)

    def submit(path: str, page: Any, **fields: str) -> Any:
        token = page.content.decode().partition('name="csrfmiddlewaretoken" value="')[2]
        form = {"csrfmiddlewaretoken": token.partition('"')[0], **fields}
        return client.post(path, form, follow=True)

    page = client.get("/admin/", follow=True)
    assert client.post("/admin/login/", {"username": "ann"}).status_code == 403
    page = submit("/admin/login/?next=/admin/", page, username="ann", password="old")
    assert b"Site administration" in page.content
    page = client.get(f"/admin/auth/user/{users['bob'].pk}/change/")
    fields = {"username": "robert", "date_joined_0": "2026-01-01", "date_joined_1": "12:00:00"}
    page = submit(f"/admin/auth/user/{users['bob'].pk}/change/", page, **fields)
    assert b"was changed successfully" in page.content
    page = submit("/admin/logout/", page)
    assert b"Logged out" in page.content
    assert "login" in client.get("/admin/", follow=True).redirect_chain[0][0]


# --- plain and awaited -------------------------------------------------------------------------


def test_an_async_view_under_wsgi(client: Client, memory: MemorySessions) -> None:
    client.get("/awaited/put/cart/jam")
    client.get("/awaited/login/ann")
    assert seen(client) == seen(client, "/awaited/who") == {"user": "ann", "data": {"cart": "jam"}}
    other = Client()
    other.get("/awaited/login/ann")
    old = client.cookies[COOKIE].value
    assert seen(client, "/awaited/powers") == [1, True, True, False]
    assert client.cookies[COOKIE].value != old
    client.get("/awaited/logout")
    assert memory.kept == {}


@pytest.mark.parametrize("prefix", ["/awaited", ""], ids=["async views", "sync views"])
def test_under_asgi(memory: MemorySessions, prefix: str) -> None:
    client = AsyncClient()

    async def requests() -> Any:
        await client.get(f"{prefix}/put/cart/jam")
        await client.get(f"{prefix}/login/ann")
        answer = await client.get(f"{prefix}/who")
        await client.get(f"{prefix}/logout")
        return answer.json()

    assert async_to_sync(requests)() == {"user": "ann", "data": {"cart": "jam"}}
    assert memory.kept == {}


def test_awaited_calls_of_a_plain_view(client: Client) -> None:
    assert client.get("/mixed").content == b"2"
    assert seen(client)["data"] == {"b": "2"}


def test_a_coroutine_that_would_block_is_told(client: Client) -> None:
    client.get("/put/a/1")
    with pytest.raises(SynchronousOnlyOperation, match="a-method"):
        client.get("/blocking")


# --- how long ----------------------------------------------------------------------------------


def test_a_session_idles_as_long_as_django_says(
    client: Client, memory: MemorySessions, clock: Clock
) -> None:
    client.get("/login/ann")
    assert ends_in(memory, clock) == WEEKS
    clock.now += WEEKS / 2
    assert seen(client)["user"] == "ann"
    assert ends_in(memory, clock) == WEEKS


@pytest.mark.parametrize(
    ("how", "seconds", "max_age"),
    [("closed", WEEKS, None), ("hour", 3600, 34_560_000), ("at", 500, 500)],
)
def test_an_expiry_of_its_own(  # noqa: PLR0917
    client: Client,
    memory: MemorySessions,
    clock: Clock,
    how: str,
    seconds: int,
    max_age: int | None,
) -> None:
    client.get("/login/ann")
    old = client.cookies[COOKIE].value
    answer = client.get(f"/expire/{how}")
    given = answer.cookies[COOKIE]["max-age"]
    assert (int(given) if given else None) == pytest.approx(max_age, abs=2)
    assert answer.cookies[COOKIE].value != old
    assert ends_in(memory, clock) == pytest.approx(seconds, abs=2)
    clock.now += 30
    assert client.get(f"/expire/{how}").cookies == {}, "it changes no id again"
    assert seen(client)["user"] == "ann"
    client.get("/expire/none")
    assert ends_in(memory, clock) == WEEKS


def test_a_cookie_that_ends_with_the_browser_does_so_when_its_session_moves(
    tmp_path: Path, client: Client
) -> None:
    old = {"session_type": "json", "json_path": str(tmp_path / "old.json")}
    new = {"session_type": "json", "json_path": str(tmp_path / "new.json")}
    with override_settings(JAM_CONFIG={"session": old}):
        client.get("/login/ann")
        client.get("/expire/closed")
    moving = {"session_type": "moving", "old": old, "new": new}
    with override_settings(JAM_CONFIG={"session": moving}):
        answer = client.get("/who")
        assert answer.json()["user"] == "ann"
        assert answer.cookies[COOKIE]["max-age"] == ""


@with_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=True)
def test_a_cookie_that_ends_with_the_browser(client: Client) -> None:
    assert client.get("/put/a/1").cookies[VISITOR]["max-age"] == ""
    assert client.get("/expire/hour").cookies[VISITOR]["max-age"] != ""


def test_clearsessions(client: Client, memory: MemorySessions, clock: Clock) -> None:
    client.get("/put/a/1")
    clock.now += WEEKS
    Client().get("/put/a/1")
    call_command("clearsessions")
    assert len(memory.kept) == 1


# --- the engine by itself ----------------------------------------------------------------------


def test_a_session_without_a_request() -> None:
    session = SessionStore()
    assert session.session_key is None
    assert session.is_empty()
    session["a"] = 1
    session.save()
    key = session.session_key
    assert key is not None
    again = SessionStore(key)
    assert again.load() == {"a": 1}
    assert not again.is_empty()
    assert session.exists(key)
    again.delete()
    assert not session.exists(key)
    session["a"] = 2
    with pytest.raises(UpdateError):
        session.save()
    session.delete("never issued")


@pytest.mark.parametrize("how", ["create", "save"])
def test_a_session_that_is_created_in_a_log_in_ends_with_it(
    client: Client, users: dict[str, Any], how: str
) -> None:
    client.get("/login/ann")
    session = SessionStore(client.cookies[COOKIE].value)
    if how == "create":
        session.create()
    else:
        session.save(must_create=True)
    assert session.key == str(users["ann"].pk)
    assert session.session_key != client.cookies[COOKIE].value
    client.cookies[COOKIE] = session.session_key
    assert seen(client)["user"] == "ann"
    logout_everywhere(users["ann"])
    assert seen(client)["user"] == ""


def test_a_session_that_is_created_after_a_log_out_brings_nothing_back(
    client: Client, users: dict[str, Any]
) -> None:
    client.get("/login/ann")
    session = SessionStore(client.cookies[COOKIE].value)
    assert session["_auth_user_id"]
    logout_everywhere(users["ann"])
    session.create()
    assert session.load() == {}
    client.cookies[COOKIE] = session.session_key
    assert seen(client)["user"] == ""


def test_a_log_in_that_is_put_into_a_session_at_once_is_one(users: dict[str, Any]) -> None:
    session = SessionStore()

    async def log_in() -> None:
        await session.aupdate({"_auth_user_id": str(users["ann"].pk)})
        await session.asave()

    async_to_sync(log_in)()
    assert session.key == str(users["ann"].pk)


def test_deleting_what_is_no_session_leaves_ones_own(client: Client) -> None:
    client.get("/login/ann")
    session = SessionStore(client.cookies[COOKIE].value)
    session.delete("é of another format")
    assert seen(client)["user"] == "ann"
    SessionStore(client.cookies[COOKIE].value).delete(client.cookies[COOKIE].value)
    assert seen(client)["user"] == ""


@pytest.mark.parametrize("session_key", ["never issued", "", "é; x=1", "x" * 9000])
def test_a_key_that_opens_nothing(session_key: str) -> None:
    session = SessionStore(session_key)
    assert session.session_key is None
    assert session.load() == {}
    assert not session.exists(session_key)


def test_what_cannot_be_stored_is_the_application_s_fault(client: Client) -> None:
    with pytest.raises(JamSessionDataError, match="when"):
        client.get("/wrong")
    client.raise_request_exception = False
    answer = client.get("/wrong")
    assert answer.status_code == 500
    assert COOKIE in answer.cookies


@pytest.mark.parametrize("principal", [("_auth_user_id",), ()], ids=str)
def test_what_names_nobody_is_no_log_in(principal: tuple[str, ...]) -> None:
    with override_settings(JAM_OPTIONS={"principal": principal}):
        session = SessionStore()
        session["_auth_user_id"] = None
        session.save()
        assert session.key is None
        assert session.load() == {"_auth_user_id": None}


def test_nested_changes_need_no_mark(client: Client) -> None:
    client.get("/nest")
    client.get("/nest")
    assert seen(client)["data"] == {"cart": {"items": ["jam", "jam"]}}


@with_settings(
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        *django_project.MIDDLEWARE[1:],
    ]
)
def test_django_s_own_middleware_works_as_well_as_it_can(
    client: Client, memory: MemorySessions
) -> None:
    client.get("/put/theme/dark")
    client.get("/nest")
    old = client.cookies[COOKIE].value
    client.get("/login/ann")
    assert client.cookies[COOKIE].value != old
    assert seen(client)["user"] == "ann"
    client.get("/logout")
    assert memory.kept == {}


# --- outages -----------------------------------------------------------------------------------


@pytest.fixture
def broken(proxied: Proxied, client: Client) -> Iterator[Client]:
    """A client with a session whose store is down."""
    with Jam({"session": proxied.settings}) as jam:
        client.cookies[COOKIE] = encode_id(jam.session_create("1", {}))
    with override_settings(JAM_CONFIG={"session": proxied.settings}):
        proxied.proxy.refuse()
        proxied.proxy.cut()
        yield client


@pytest.mark.parametrize("path", ["/who", "/awaited/who", "/put/a/1", "/login/ann", "/logout"])
def test_an_outage_is_a_503(broken: Client, path: str) -> None:
    answer = broken.get(path)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not {COOKIE, VISITOR} & answer.cookies.keys()


TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [("django.template.loaders.locmem.Loader", {"503.html": "<h1>Soon</h1>"})]
        },
    }
]


@with_settings(TEMPLATES=TEMPLATES)
def test_the_page_of_an_outage_is_a_template(broken: Client) -> None:
    assert broken.get("/who").content == b"<h1>Soon</h1>"


def asks_early(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> HttpResponse:
        request.session.get("theme")
        response: HttpResponse = get_response(request)
        return response

    return middleware


@with_settings(MIDDLEWARE=[*django_project.MIDDLEWARE, f"{__name__}.asks_early"])
def test_an_outage_that_another_middleware_meets(broken: Client) -> None:
    broken.raise_request_exception = False
    answer = broken.get("/nowhere")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"


# --- the settings ------------------------------------------------------------------------------


def checked() -> str:
    output = io.StringIO()
    try:
        call_command("check", stdout=output, stderr=output)
    except CommandError as error:
        return str(error)
    return output.getvalue()


def test_good_settings_pass_the_check() -> None:
    assert checked().strip() == "System check identified no issues (0 silenced)."
    with override_settings(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_NAME="__Host-sessionid"):
        assert "no issues" in checked()


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ({"SESSION_COOKIE_DOMAIN": ".example.org"}, "E001", "SESSION_COOKIE_DOMAIN"),
        ({"SESSION_COOKIE_PATH": "/shop"}, "E001", "SESSION_COOKIE_PATH"),
        ({"SESSION_COOKIE_HTTPONLY": False}, "E001", "SESSION_COOKIE_HTTPONLY"),
        ({"SESSION_COOKIE_SECURE": True}, "E001", '"__Host-sessionid"'),
        ({"SESSION_COOKIE_NAME": "__Host-s"}, "E001", "SESSION_COOKIE_SECURE"),
        ({"SESSION_COOKIE_NAME": "a b"}, "E001", "cannot be a cookie's name"),
        ({"SESSION_COOKIE_NAME": "visitor"}, "E001", "three different names"),
        ({"SESSION_SERIALIZER": "x.Pickle"}, "E001", "SESSION_SERIALIZER"),
        ({"JAM_OPTIONS": {"secure": True}}, "E001", "SESSION_COOKIE_SECURE"),
        ({"JAM_OPTIONS": {"visitors_cookie": "x"}}, "E001", "visitor_cookie"),
        ({"JAM_CONFIG": {"session": {"session_type": "rediz"}}}, "E002", "redis"),
        ({"JAM_CONFIG": {"session": {"session_type": "json", "ttll": 1}}}, "E002", "ttl"),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.file"}, "E004", "SESSION_ENGINE"),
        ({"SESSION_ENGINE": "nowhere"}, "E004", "nowhere"),
        ({"MIDDLEWARE": django_project.MIDDLEWARE[1:]}, "W001", "SessionMiddleware"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_by_name(wrong: dict[str, Any], code: str, said: str) -> None:
    with override_settings(**wrong):
        told = checked()
        assert f"jam_web.{code}" in told
        assert said in told
        if code == "E001":
            with pytest.raises(JamConfigurationError, match=said):
                Client().get("/who")


def test_the_engine_of_a_project_s_own() -> None:
    with override_settings(SESSION_ENGINE=django_project.__name__, JAM_CONFIG=MEMORY):
        assert "no issues" in checked()


def test_when_the_settings_change_the_store_of_before_is_closed(client: Client) -> None:
    closed: list[object] = []

    class Closed(MemorySessions):
        def close(self) -> None:
            closed.append(self)

    with override_settings(JAM_CONFIG={"session": {"session_type": Closed}}):
        client.get("/put/cart/jam")
        assert not closed
    assert len(closed) == 1
