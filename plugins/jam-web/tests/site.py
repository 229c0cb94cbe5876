"""An application that does with its session what a request tells it to, in any framework.

A request carries a plan in a header. The same plan runs in every adapter; where it says "hold", the
request waits until the test lets it go on, so that answers come in the order that the test wants.
"""

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping
from inspect import isawaitable
from typing import Any, NamedTuple

from jam_web import Device, Flash

from jam_core import hookimpl

PLAN = "x-plan"
PATIENCE = 90.0  # seconds; only a test that fails waits for so long
COOKIE, VISITOR = "__Host-session", "__Host-visitor"
MEMORY = {"session": {"session_type": "memory"}}

Step = list[Any]
Hold = Callable[[str], Awaitable[None]]


class Answer(NamedTuple):
    """What a client got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    @property
    def cookies(self) -> dict[str, str]:
        """The Set-Cookie headers, by the cookies' names."""
        return {line.partition("=")[0]: line for line in self.all("set-cookie")}

    @property
    def results(self) -> list[Any]:
        """What the steps returned."""
        return [one for line in self.body.splitlines() for one in json.loads(line)]


class Gates:
    """Where requests wait for the test, and the test for requests."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], threading.Event] = {}

    def _event(self, kind: str, name: str) -> threading.Event:
        # setdefault is atomic; a defaultdict would give two threads two events.
        return self._events.setdefault((kind, name), threading.Event())

    def await_request(self, name: str) -> None:
        assert self._event("reached", name).wait(PATIENCE), f"no request came to {name!r}"

    def open(self, name: str) -> None:
        self._event("open", name).set()

    async def hold(self, name: str) -> None:
        """Wait, in a framework that awaits."""
        self._event("reached", name).set()
        give_up_at = time.monotonic() + PATIENCE
        while not self._event("open", name).is_set():
            assert time.monotonic() < give_up_at, f"the test never opened {name!r}"
            await asyncio.sleep(0.001)

    async def block(self, name: str) -> None:
        """Wait, in a framework whose requests have a thread each: `finish` runs this."""
        self._event("reached", name).set()
        assert self._event("open", name).wait(PATIENCE), f"the test never opened {name!r}"


class Pending(ABC):
    """A request under way."""

    @abstractmethod
    def answer(self) -> Answer:
        """Wait for its answer."""

    def disconnect(self) -> None:
        """Go away before the answer is there."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Have the server cancel the request."""
        raise NotImplementedError


class Site(ABC):
    """The application in one framework."""

    @abstractmethod
    def begin(
        self, path: str, plan: Mapping[str, Any], cookie: str, method: str = "GET"
    ) -> Pending:
        """Begin a request.

        Args:
            path: "/" carries the plan out; "/plain" does not look at the session; "/mounted/" is
                an application within the application.
            plan: `steps` before the answer; `status` and `headers` of it; `chunks`, steps for
                each part of a stream; `background`, steps after it.
            cookie: The Cookie header; "" for none.
            method: The method.
        """

    @abstractmethod
    def close(self) -> None:
        """End what was begun."""


async def perform(session: Any, steps: list[Step], hold: Hold) -> list[Any]:
    """Carry out steps on a session, awaited or not; return what each of them returned."""
    return [await _step(session, name, arguments, hold) for name, *arguments in steps]


async def _step(session: Any, name: str, arguments: Step, hold: Hold) -> Any:
    match name, arguments:
        case "hold", [gate]:
            await hold(gate)
        case "raise", _:
            raise ZeroDivisionError("the handler failed")
        case "all", _:
            return dict(session)
        case "get", [key]:
            return session.get(key)
        case "put", [key, value]:
            session[key] = value
        case "append", [key, value]:
            session[key].append(value)
        case "remove", [key]:
            del session[key]
        case (("key" | "lost" | "is_new" | "csrf_token" | "expires_at"), _):
            return getattr(session, name)
        case _:
            options = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
            outcome = getattr(session, name)(*arguments, **options)
            return _shown(await outcome if isawaitable(outcome) else outcome)
    return None


def _shown(outcome: Any) -> Any:
    if isinstance(outcome, list):
        return [one._asdict() if isinstance(one, Device | Flash) else one for one in outcome]
    return outcome


def plan_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the plan that a request carries."""
    plan: dict[str, Any] = {"steps": [], "status": 200, "headers": {}, "chunks": []}
    return {**plan, "background": [], **json.loads(headers.get(PLAN, "{}"))}


class Browser:
    """Keeps cookies as a browser does, in the order in which answers are delivered to it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def begin(self, *steps: Step, path: str = "/", method: str = "GET", **plan: Any) -> Pending:
        return self.site.begin(path, {"steps": list(steps), **plan}, self.header(), method)

    def ask(self, *steps: Step, path: str = "/", method: str = "GET", **plan: Any) -> Answer:
        answer = self.begin(*steps, path=path, method=method, **plan).answer()
        self.receive(answer)
        return answer

    def receive(self, answer: Answer) -> None:
        for name, line in answer.cookies.items():
            value = line.partition(";")[0].partition("=")[2]
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def log_in(self, key: str = "ann", **data: Any) -> "Browser":
        steps = [["put", name, value] for name, value in data.items()]
        assert self.ask(["login", key], *steps).status == 200
        return self

    @property
    def data(self) -> dict[str, Any]:
        (found,) = self.ask(["all"]).results
        return dict(found)

    @property
    def key(self) -> str | None:
        (found,) = self.ask(["key"]).results
        return None if found is None else str(found)


class Clock:
    """Stands still unless a test moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Commands:
    """A wrapper that counts what the store is asked."""

    def __init__(self) -> None:
        self.made: list[str] = []


def _counted(operation: str) -> Callable[[Commands], Generator[None, Any, Any]]:
    @hookimpl(wrapper=True)
    def count(self: Commands) -> Generator[None, Any, Any]:
        self.made.append(operation)
        return (yield)

    return count


for _operation in (
    *("create", "get", "info", "update", "mutate", "touch", "delete", "clear", "rework"),
    *("list_sessions", "revoke", "clear_others"),
):
    setattr(Commands, _operation, _counted(_operation))
