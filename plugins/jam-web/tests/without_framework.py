"""A browser whose requests reach the web session without a framework between."""

from collections.abc import Iterable

from jam_web import Session, SessionState, WebSessions, finish


class Browser:
    """Keeps cookies as a browser does, and asks with them."""

    def __init__(self, sessions: WebSessions) -> None:
        self.sessions = sessions
        self.cookies: dict[str, str] = {}

    def ask(self) -> "Request":
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return Request(self.sessions.open([header] if header else []), self)

    def take(self, lines: Iterable[str]) -> None:
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value


class Request:
    """A request under way, until it is answered."""

    def __init__(self, state: SessionState, browser: Browser) -> None:
        self.state, self.browser = state, browser
        self.session = Session(state)

    def answer(self, *, failed: bool = False) -> list[str]:
        finish(self.state.respond(failed=failed))
        self.browser.take(self.state.cookies.set_cookies)
        finish(self.state.finish(failed=failed))
        return self.state.cookies.set_cookies
