"""What every adapter has to do right, whatever its framework and store.

An adapter's test module inherits `WebCases`, names its `default_store` and makes its `Site`; what
its framework has besides (`StreamCases`, `CutOffCases`) it inherits, too. The requests go through
the framework; only the network is left out.
"""

import itertools
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest

from jam_core import Jam

from .conftest import OpenSite, Proxied, Settings
from .site import COOKIE, VISITOR, Browser, Commands, Gates, Pending, Site

PRIVATE = 'private, no-cache="Set-Cookie"'
ENDS: list[Any] = ["logout", "clear", "revoke"]
ENDS += [
    pytest.param(how, marks=pytest.mark.exhaustive)
    for how in ("logout_everywhere", "another user", "expiry")
]


def first_only(values: Iterable[Any]) -> list[Any]:
    """Leave all but the first value of a parameter to CI."""
    first, *others = values
    return [first, *(pytest.param(one, marks=pytest.mark.exhaustive) for one in others)]


def end(jam: Jam, browser: Browser, how: str) -> None:
    """End a session from somewhere else."""
    elsewhere = Browser(browser.site)
    elsewhere.cookies = dict(browser.cookies)
    match how:
        case "clear":
            jam.session_clear("ann")
        case "revoke":
            (session,) = jam.session_list("ann")
            assert jam.session_revoke("ann", session.handle)
        case "another user":
            elsewhere.log_in("bob")
        case "expiry":
            while jam.session_list("ann"):
                time.sleep(0.01)
        case _:
            elsewhere.ask([how])


class CasesOfOneSite:
    """What all classes of cases need.

    Attributes:
        default_store: The store of everybody's run; CI takes the others, too, unless `stores`
            names fewer.
    """

    default_store: ClassVar[str]

    def make_site(
        self,
        stack: ExitStack,
        configuration: dict[str, Any],
        commands: Commands,
        gates: Gates,
        **options: Any,
    ) -> Site:
        """Return the application.

        Args:
            stack: Closes in the end what is put on it.
            configuration: Of `Jam`.
            commands: A wrapper for that `Jam`.
            gates: Where its requests wait.
            **options: Of the adapter.
        """
        raise NotImplementedError


class WebCases(CasesOfOneSite):
    """The cases for requests with one answer each."""

    # --- 1: two at once ---

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first first", "second first"])
    @pytest.mark.parametrize(
        ("changes", "left"),
        [
            ([["put", "a", 2], ["put", "b", 2]], [{"a": 2, "b": 2}, {"a": 2, "b": 2}]),
            ([["put", "a", 2], ["put", "a", 3]], [{"a": 3, "b": [1]}, {"a": 2, "b": [1]}]),
            ([["put", "a", 2], ["remove", "a"]], [{"b": [1]}, {"a": 2, "b": [1]}]),
            ([["append", "b", 2], ["put", "c", 2]], [{"a": 1, "b": [1, 2], "c": 2}] * 2),
            ([["remove", "a"], ["remove", "b"]], [{}, {}]),
        ],
        ids=["different keys", "the same key", "changed and removed", "nested", "both removed"],
    )
    def test_two_requests_at_once(
        self,
        browser: Browser,
        gates: Gates,
        changes: list[Any],
        left: list[dict[str, Any]],
        order: tuple[int, int],
    ) -> None:
        browser.log_in(a=1, b=[1])
        begun = [
            browser.begin(["all"], change, ["hold", str(number)])
            for number, change in enumerate(changes)
        ]
        for number in order:
            gates.await_request(str(number))
        for number in order:
            gates.open(str(number))
            browser.receive(begun[number].answer())
        assert browser.data == left[order[0]]
        assert browser.key == "ann"

    def test_twenty_requests_at_once_all_win(self, browser: Browser, gates: Gates) -> None:
        browser.log_in()
        numbers = [str(number) for number in range(20)]
        begun = [browser.begin(["put", each, 1], ["hold", each]) for each in numbers]
        for each in numbers:
            gates.await_request(each)
        for each in numbers:
            gates.open(each)
        assert {each.answer().status for each in begun} == {200}
        assert browser.data == dict.fromkeys(numbers, 1)

    # --- 2: ended meanwhile ---

    @pytest.mark.parametrize("how", ENDS)
    @pytest.mark.parametrize("step", [["put", "a", 2], ["get", "a"]], ids=["writer", "reader"])
    def test_what_has_ended_stays_ended(
        self, browser: Browser, jam: Jam, gates: Gates, step: Any, how: str
    ) -> None:
        ttl = 2 if how == "expiry" else 600
        assert browser.ask(["login", "ann", {"ttl": ttl}], ["put", "a", 1]).status == 200
        late = browser.begin(["get", "a"], step, ["hold", "late"])
        gates.await_request("late")
        end(jam, browser, how)
        gates.open("late")
        answer = late.answer()
        assert answer.status == 200
        assert answer.cookies == {}
        assert jam.session_list("ann") == []
        assert browser.key is None
        assert browser.data == {}

    def test_a_handler_learns_that_its_session_was_lost(
        self, browser: Browser, jam: Jam, gates: Gates
    ) -> None:
        browser.log_in(a=1)
        late = browser.begin(["put", "a", 2], ["hold", "late"], ["save"], ["lost"], ["get", "a"])
        gates.await_request("late")
        jam.session_clear("ann")
        gates.open("late")
        assert late.answer().results[-2:] == [True, 2]

    # --- 3: log-in and rotation among other requests ---

    @pytest.mark.parametrize("change", [["login", "ann"], ["rotate"]], ids=["log-in", "rotation"])
    @pytest.mark.parametrize("other", [["put", "b", 2], ["get", "a"]], ids=["writer", "reader"])
    @pytest.mark.parametrize("orders", ["01 01", "01 10", "10 01", "10 10"])
    def test_who_logs_in_ends_logged_in(
        self,
        browser: Browser,
        gates: Gates,
        change: Any,
        other: Any,
        orders: str,
    ) -> None:
        carried_out, delivered = ([int(digit) for digit in order] for order in orders.split())
        if change == ["rotate"]:
            browser.log_in(a=1)
        else:
            browser.ask(["put", "a", 1])
        begun = [
            browser.begin(["get", "a"], ["hold", "0"], change, ["hold", "done"]),
            browser.begin(["get", "a"], other, ["hold", "1"]),
        ]
        gates.await_request("0")
        gates.await_request("1")
        answers: dict[int, Any] = {}
        for number in carried_out:
            gates.open(str(number))
            if number == 0:
                gates.await_request("done")
                gates.open("done")
            answers[number] = begun[number].answer()
        for number in delivered:
            assert answers[number].status == 200
            browser.receive(answers[number])
        assert browser.key == "ann"
        assert browser.data["a"] == 1

    @pytest.mark.parametrize("delivered", first_only(itertools.permutations(range(3))), ids=str)
    def test_of_three_log_ins_at_once_each_is_logged_in(
        self, browser: Browser, gates: Gates, delivered: tuple[int, ...]
    ) -> None:
        browser.ask(["put", "cart", ["jam"]])
        begun = [
            browser.begin(["all"], ["hold", str(number)], ["login", "ann"]) for number in range(3)
        ]
        for number in range(3):
            gates.await_request(str(number))
        for number in range(3):
            gates.open(str(number))
        answers = [each.answer() for each in begun]
        for number in delivered:
            browser.receive(answers[number])
            assert browser.key == "ann"
            assert browser.data == {"cart": ["jam"]}

    # --- 4: ids that are none ---

    @pytest.mark.parametrize("kind", ["expired", "rotated", "logged out", "forged", "malformed"])
    def test_an_id_that_opens_nothing_is_left_alone(
        self, browser: Browser, jam: Jam, commands: Commands, kind: str
    ) -> None:
        browser.ask(["login", "ann", {"ttl": 1}], ["put", "a", 1])
        old = dict(browser.cookies)
        match kind:
            case "expired":
                end(jam, browser, "expiry")
            case "rotated":
                browser.ask(["rotate"])
                jam.session_clear("ann")
            case "logged out":
                browser.ask(["logout"])
            case "forged":
                old = {COOKIE: old[COOKIE][:-4] + "AAAA"}
                jam.session_clear("ann")
            case _:
                old = {COOKIE: "../../etc/passwd%00\x7f"}
                jam.session_clear("ann")
        browser.cookies = dict(old)
        commands.made.clear()
        answer = browser.ask(["all"], ["key"], ["is_new"])
        assert answer.results == [{}, None, True]
        assert answer.cookies == {}
        assert set(commands.made) <= {"info"}
        assert browser.ask(["put", "cart", 1]).cookies.keys() == {VISITOR}
        assert browser.cookies[VISITOR] != old[COOKIE]
        assert browser.ask(["login", "ann"]).status == 200
        assert browser.cookies[COOKIE] != old[COOKIE]
        browser.cookies = old
        assert browser.key is None

    def test_an_id_that_somebody_planted_opens_nothing_after_the_log_in(
        self, browser: Browser, site: Site
    ) -> None:
        attacker = Browser(site)
        attacker.ask(["put", "trap", 1])
        planted = dict(attacker.cookies)
        browser.cookies = dict(planted)
        browser.log_in("ann", secret=1)
        attacker.cookies = planted
        assert attacker.data == {}
        assert attacker.key is None

    # --- 5: what costs nothing ---

    def test_a_reader_writes_nothing_and_gets_no_cookie(
        self, browser: Browser, commands: Commands
    ) -> None:
        browser.log_in(a={"b": [1]})
        commands.made.clear()
        answer = browser.ask(["get", "a"], ["all"], ["key"])
        assert answer.cookies == {}
        assert answer.all("cache-control") == []
        assert [value.lower() for value in answer.all("vary")] == ["cookie"]
        assert commands.made == ["info"]

    def test_a_page_without_the_session_is_as_without_the_adapter(
        self, browser: Browser, commands: Commands
    ) -> None:
        answer = browser.ask(path="/plain")
        assert answer.status == 200
        assert answer.all("vary") == answer.all("cache-control") == []
        assert answer.cookies == {}
        browser.log_in()
        commands.made.clear()
        answer = browser.ask(path="/plain")
        assert answer.all("vary") == answer.all("cache-control") == []
        assert answer.cookies == {}
        assert set(commands.made) <= {"info"}

    def test_a_bot_makes_no_session(self, site: Site, commands: Commands) -> None:
        for _ in range(3):
            answer = Browser(site).ask(["get", "a"], ["all"], ["key"], ["flashes"])
            assert answer.status == 200
            assert answer.cookies == {}
        assert commands.made == []

    # --- 6: changes ---

    def test_nested_changes_and_kinds_of_values_are_kept(self, browser: Browser) -> None:
        browser.log_in(a={"b": [1]}, n=1)
        value = {"big": 2**70, "true": True, "one": 1.0, "none": None, "text": "\u00e9\U0001f36f"}
        browser.ask(["put", "a", value], ["put", "n", True])
        found = browser.data
        assert found == {"a": value, "n": True}
        assert found["n"] is True

    def test_what_is_changed_back_is_not_written(
        self, browser: Browser, commands: Commands
    ) -> None:
        browser.log_in(a=1, b=[1])
        commands.made.clear()
        browser.ask(["put", "a", 2], ["put", "b", [1]], ["put", "a", 1])
        assert commands.made == ["info"]

    # --- 7: answers of every kind ---

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_handler_that_fails_changes_nothing(self, browser: Browser, status: int) -> None:
        browser.log_in(a=1)
        answer = browser.ask(["put", "a", 2], status=status)
        assert answer.status == status
        assert browser.data == {"a": 1}

    def test_a_handler_that_raises_changes_nothing(self, browser: Browser) -> None:
        browser.log_in(a=1)
        answer = browser.ask(["put", "a", 2], ["raise"])
        assert answer.status == 500
        assert answer.cookies == {}
        assert browser.data == {"a": 1}

    @pytest.mark.parametrize("plan", [{"status": 500}, {"last": ["raise"]}], ids=["500", "raises"])
    @pytest.mark.parametrize("step", [["login", "ann"], ["rotate"]], ids=["log-in", "rotation"])
    def test_who_is_given_a_new_id_gets_it_even_if_the_handler_fails_then(
        self, browser: Browser, step: Any, plan: dict[str, Any]
    ) -> None:
        browser.log_in(a=1)
        answer = browser.ask(step, *([plan["last"]] if "last" in plan else []), **plan)
        assert answer.status == 500
        assert COOKIE in answer.cookies
        assert browser.key == "ann"

    @pytest.mark.parametrize("status", [200, 201, 303, 404])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_change_is_stored_whatever_the_answer(
        self, browser: Browser, status: int, method: str
    ) -> None:
        headers = {"location": "/"} if status == 303 else {}
        plan: Any = {"status": status, "headers": headers, "method": method}
        answer = browser.ask(["login", "ann"], ["put", "a", 1], **plan)
        assert answer.status == status
        assert answer.all("cache-control") == [PRIVATE]
        assert browser.data == {"a": 1}
        assert browser.key == "ann"

    @pytest.mark.parametrize("plan", [{"status": 304}, {"method": "HEAD"}], ids=["304", "HEAD"])
    def test_an_answer_without_a_body_stores_and_varies(
        self, browser: Browser, plan: dict[str, Any]
    ) -> None:
        browser.log_in(a=1)
        answer = browser.ask(["put", "a", 2], **plan)
        assert answer.body == b""
        assert [value.lower() for value in answer.all("vary")] == ["cookie"]
        assert browser.data == {"a": 2}

    def test_headers_of_the_applications_own_stay(self, browser: Browser) -> None:
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding, cookie"}
        answer = browser.ask(["login", "ann"], headers=headers)
        assert answer.all("cache-control") == ["no-store"]
        assert ", ".join(answer.all("vary")).lower().count("cookie") == 1

    @pytest.mark.parametrize(
        ("given", "sent"),
        [
            ("public, max-age=3600", "private, max-age=3600"),
            ("max-age=60, S-MaxAge=600", "private, max-age=60"),
            ("Public , private", "private"),
            ('private="x-name", max-age=60', 'private, private="x-name", max-age=60'),
            ("private, max-age=60", "private, max-age=60"),
            ("no-store, public", "no-store"),
        ],
    )
    def test_no_shared_cache_may_keep_an_answer_with_a_cookie(
        self, browser: Browser, given: str, sent: str
    ) -> None:
        headers = {"Cache-Control": given}
        assert browser.ask(["login", "ann"], headers=headers).all("cache-control") == [sent]
        assert browser.ask(["get", "a"], headers=headers).all("cache-control") == [given]

    # --- log-out, devices, forms, what is said once ---

    @pytest.mark.parametrize("how", ["logout", "logout_everywhere"])
    def test_a_log_out_ends_the_session_and_the_cookie(
        self, browser: Browser, jam: Jam, how: str
    ) -> None:
        browser.log_in(a=1)
        old = dict(browser.cookies)
        answer = browser.ask([how])
        assert "Max-Age=0" in answer.cookies[COOKIE]
        assert answer.all("cache-control") == [PRIVATE]
        assert browser.cookies == {}
        assert jam.session_list("ann") == []
        browser.cookies = old
        assert browser.data == {}

    def test_a_log_out_wins_against_a_rotation(self, browser: Browser, gates: Gates) -> None:
        browser.log_in(a=1)
        other = Browser(browser.site).log_in()
        leaving = browser.begin(["get", "a"], ["hold", "x"], ["logout"])
        gates.await_request("x")
        browser.ask(["rotate"])
        gates.open("x")
        left = leaving.answer()
        assert browser.key is None
        browser.receive(left)
        assert browser.key is None
        assert other.key == "ann"

    def test_devices(self, site: Site) -> None:
        phone, laptop, tablet = (Browser(site).log_in(name=name) for name in ("p", "l", "t"))
        (devices,) = phone.ask(["devices"]).results
        handles = {one["data"]["name"]: one["handle"] for one in devices}
        assert [one["data"]["name"] for one in devices if one["is_this"]] == ["p"]
        assert Browser(site).log_in("bob").ask(["revoke", handles["t"]]).results == [False]
        assert phone.ask(["revoke", handles["t"]]).results == [True]
        assert tablet.key is None
        assert phone.ask(["logout_others"]).results == [1]
        assert laptop.key is None
        assert phone.key == "ann"

    def test_a_recent_log_in_is_known_on_every_store(self, browser: Browser) -> None:
        assert browser.ask(["recent_login", 60]).results == [False]
        browser.log_in()
        assert browser.ask(["recent_login", 60], ["recent_login", -1]).results == [True, False]
        browser.ask(["rotate"])
        assert browser.ask(["recent_login", 60]).results == [True]

    def test_what_is_flashed_is_shown_once(self, browser: Browser) -> None:
        browser.ask(["flash", "Hello"])
        (shown,) = browser.ask(["flashes"]).results
        assert [one["message"] for one in shown] == ["Hello"]
        assert browser.ask(["flashes"]).results == [[]]

    def test_tokens_of_forms(self, browser: Browser, site: Site) -> None:
        (token,) = browser.ask(["csrf_token"]).results
        assert browser.ask(["check_csrf", token], ["check_csrf", "no"]).results == [True, False]
        assert Browser(site).log_in().ask(["check_csrf", token]).results == [False]
        browser.log_in()
        assert browser.ask(["check_csrf", token]).results == [False]
        (token,) = browser.ask(["csrf_token"]).results
        assert browser.ask(["check_csrf", token]).results == [True]

    # --- 10: outages ---

    @pytest.mark.parametrize("how", first_only(["hanging", "refused", "reset"]))
    @pytest.mark.parametrize("at", ["load", "save", "touch", "log-out", "log-in"])
    def test_an_outage_is_no_log_out(
        self,
        open_site: OpenSite,
        proxied: Proxied,
        gates: Gates,
        at: str,
        how: str,
    ) -> None:
        late = 400 if at == "touch" else 0  # seconds, of a ttl of 3600
        site = open_site(proxied.settings, clock=lambda: time.time() + late)
        browser, proxy = Browser(site), proxied.proxy
        browser.ask(["login", "ann"], ["put", "a", 1])
        cookies = dict(browser.cookies)
        steps_at: dict[str, list[Any]] = {
            "load": [["get", "a"]],
            "save": [["put", "a", 2], ["hold", "x"]],
            "touch": [["get", "a"], ["hold", "x"]],
            "log-out": [["get", "a"], ["hold", "x"], ["logout"]],
            "log-in": [["get", "a"], ["hold", "x"], ["login", "ann"]],
        }
        steps = steps_at[at]
        pending = None if at == "load" else browser.begin(*steps)
        if pending:
            gates.await_request("x")
        if how == "hanging":
            proxy.hang()
        else:
            proxy.refuse()
            proxy.cut()
        gates.open("x")
        start = time.monotonic()
        answer = (pending or browser.begin(*steps)).answer()
        assert time.monotonic() - start < 5
        assert answer.status == (200 if at == "touch" else 503)
        assert answer.cookies == {}
        assert answer.all("retry-after") == ([] if at == "touch" else ["5"])
        browser.receive(answer)
        assert browser.ask(path="/plain").status == 200
        assert Browser(site).ask(["get", "a"]).status == 200
        assert browser.ask(["get", "a"]).status == 503
        assert browser.cookies == cookies
        proxy.cut()  # what hangs is not carried out later
        proxy.resume()
        give_up_at = time.monotonic() + 10
        while browser.ask(["get", "a"]).status == 503:
            assert time.monotonic() < give_up_at
        assert browser.data == {"a": 1}
        assert browser.key == "ann"

    def test_a_server_that_only_reads_logs_nobody_out(
        self, open_site: OpenSite, start_redis: Any
    ) -> None:
        """A former primary, after a failover of which it has been told and Jam has not."""
        server = start_redis()
        browser = Browser(open_site({"session_type": "redis", "redis_uri": server.uri}))
        browser.log_in(a=1)
        cookies = dict(browser.cookies)
        server.client.replicaof("127.0.0.1", "1")
        assert browser.data == {"a": 1}
        for change in (["put", "a", 2], ["login", "ann"], ["rotate"], ["logout"]):
            answer = browser.ask(change)
            assert (answer.status, answer.cookies) == (503, {}), change
            assert answer.all("retry-after") == ["5"]
        server.client.replicaof("no", "one")
        assert browser.ask(["put", "a", 3]).status == 200
        assert (browser.key, browser.data, browser.cookies) == ("ann", {"a": 3}, cookies)

    # --- 12: many at once ---

    @pytest.mark.parametrize("many", [50, pytest.param(300, marks=pytest.mark.exhaustive)])
    def test_nobody_is_given_anothers_session(self, site: Site, many: int) -> None:
        browsers = {str(number): Browser(site) for number in range(many)}
        for step in (["login"], ["put", "me"]):
            begun = [(one, one.begin([*step, name])) for name, one in browsers.items()]
            for one, pending in begun:
                answer = pending.answer()
                assert answer.status == 200, answer
                one.receive(answer)
        readers = {name: one.begin(["key"], ["get", "me"]) for name, one in browsers.items()}
        for name, pending in readers.items():
            answer = pending.answer()
            assert (answer.status, answer.results) == (200, [name, name]), answer

    # --- 14: cookies ---

    def test_a_cookie_is_the_browsers_and_this_hosts_only(self, browser: Browser) -> None:
        (line,) = browser.ask(["login", "ann", {"max_age": 77}]).cookies.values()
        attributes = {part.strip().lower() for part in line.split(";")[1:]}
        assert attributes == {"path=/", "max-age=77", "httponly", "secure", "samesite=lax"}
        assert line.startswith("__Host-")

    @pytest.mark.parametrize("key", ["a:b/c d;e", "\u00e9\U0001f36f", "x" * 500, "a\nb"])
    def test_any_key_and_so_any_id_fits_a_cookie(self, browser: Browser, key: str) -> None:
        browser.log_in(key, a=1)
        assert browser.key == key
        assert browser.data == {"a": 1}

    def test_of_two_cookies_of_one_name_neither_is_believed(self, browser: Browser) -> None:
        browser.log_in()
        browser.cookies |= {"other": f"1; {COOKIE}=planted"}
        assert browser.key is None
        browser.cookies["other"] = f"1; \xa0{COOKIE}=planted; {COOKIE.upper()}=planted"
        assert browser.key == "ann"

    def test_other_names_and_plain_http(self, open_site: OpenSite, store: Settings) -> None:
        browser = Browser(open_site(store, cookie="shop", secure=False, samesite="strict"))
        (line,) = browser.ask(["login", "ann"]).cookies.values()
        assert line.startswith("shop=")
        assert "secure" not in line.lower()
        assert "samesite=strict" in line.lower()
        assert browser.key == "ann"

    # --- a log-in that a library notes ---

    def test_a_log_in_by_a_library_gets_a_new_id_and_a_key(
        self, open_site: OpenSite, store: Settings, jam: Jam
    ) -> None:
        browser = Browser(open_site(store, principal=("user_id",)))
        browser.ask(["put", "cart", 1])
        planted = dict(browser.cookies)
        browser.ask(["put", "user_id", 7])
        assert browser.key == "7"
        assert browser.data == {"cart": 1, "user_id": 7}
        assert len(jam.session_list("7")) == 1
        browser.cookies = planted
        assert browser.data == {}


class StreamCases(CasesOfOneSite):
    """The cases for answers that come in parts."""

    def test_a_stream_changes_the_session_before_and_after_its_headers(
        self, browser: Browser, gates: Gates
    ) -> None:
        browser.log_in(a=1)
        chunks = [[["put", "b", 2], ["hold", "in the middle"]], [["put", "c", 3]]]
        pending = browser.begin(["put", "a", 2], chunks=chunks)
        gates.await_request("in the middle")
        assert browser.data == {"a": 2}
        gates.open("in the middle")
        assert pending.answer().status == 200
        assert browser.data == {"a": 2, "b": 2, "c": 3}

    def test_a_stream_stores_when_told(self, browser: Browser, gates: Gates) -> None:
        browser.log_in()
        chunks = [[["put", "a", 1], ["save"], ["hold", "saved"]]]
        pending = browser.begin(chunks=chunks)
        gates.await_request("saved")
        assert browser.data == {"a": 1}
        gates.open("saved")
        pending.answer()

    @pytest.mark.parametrize("how", ENDS)
    def test_a_session_that_ends_during_a_stream_stays_ended(
        self, browser: Browser, jam: Jam, gates: Gates, how: str
    ) -> None:
        browser.ask(["login", "ann", {"ttl": 1}], ["put", "a", 1])
        chunks = [[["hold", "in the middle"]], [["put", "a", 2], ["save"], ["lost"]]]
        pending = browser.begin(["get", "a"], chunks=chunks)
        gates.await_request("in the middle")
        end(jam, browser, how)
        gates.open("in the middle")
        assert pending.answer().results[-1] is True
        assert jam.session_list("ann") == []
        assert browser.key is None

    def test_a_stream_that_breaks_off_keeps_what_it_had_before(self, browser: Browser) -> None:
        browser.log_in(a=1)
        browser.ask(["put", "a", 2], chunks=[[["put", "b", 1], ["raise"]]])
        assert browser.data == {"a": 2}

    def test_no_session_begins_in_a_stream(self, browser: Browser, commands: Commands) -> None:
        answer = browser.ask(chunks=[[["put", "a", 1]]])
        assert answer.status == 200
        assert answer.cookies == {}
        assert commands.made == []


class CutOffCases(CasesOfOneSite):
    """The cases for frameworks that hear of a client that goes before it has its answer."""

    @staticmethod
    def cut_off(pending: Pending) -> None:
        """Have a request cancelled."""
        raise NotImplementedError

    @pytest.mark.parametrize("steps", [[["put", "a", 2]], [["rotate"]], [["get", "a"]]], ids=str)
    def test_a_cancelled_request_disturbs_nobody(
        self, browser: Browser, gates: Gates, steps: list[Any]
    ) -> None:
        browser.log_in(a=1)
        pending = browser.begin(["hold", "x"], *steps)
        gates.await_request("x")
        self.cut_off(pending)
        assert browser.data == {"a": 1}
        assert browser.key == "ann"

    def test_what_a_stream_had_changed_when_its_client_went_is_kept(
        self, browser: Browser, gates: Gates
    ) -> None:
        browser.log_in()
        chunks = [[["put", "a", 1], ["hold", "x"]], [["put", "b", 1]]]
        pending = browser.begin(chunks=chunks)
        gates.await_request("x")
        pending.disconnect()
        gates.open("x")
        pending.answer()
        assert browser.data["a"] == 1
