"""The shared harnesses of jam-testing: they find what is wrong, and pass what is right."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jam_testing import (
    SoftTimeLimit,
    TCPProxy,
    WrongAnswer,
    fork_unseen,
    survive_forks,
    survive_interrupts,
    time_limit,
)
from jam_testing.memory import MemorySessions

from jam_core import hash_id
from tests.wrong_stores.file_store import FileSessions


class Echo:
    """A server that sends back what it gets, behind its name, and counts what it got."""

    def __init__(self, name: bytes = b"") -> None:
        self.name = name
        self.requests: list[bytes] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(65536):
                self.requests.append(request)
                connection.sendall(self.name + request)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    with echo.socket:
        yield echo


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TCPProxy]:
    with TCPProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


def connect(proxy: TCPProxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=10)


def ask(connection: socket.socket, request: bytes = b"hello") -> bytes:
    connection.sendall(request)
    return connection.recv(65536)


def test_the_proxy_forwards_and_delays(proxy: TCPProxy) -> None:
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"
        proxy.delay = 0.05
        began = time.perf_counter()
        assert ask(connection) == b"hello"
        assert time.perf_counter() - began >= 0.05


def test_the_proxy_forwards_much_to_a_slow_reader(proxy: TCPProxy) -> None:
    much = b"x" * 20_000_000
    with connect(proxy) as connection:
        sender = threading.Thread(target=connection.sendall, args=(much,))
        sender.start()
        received = 0
        while received < len(much):
            received += len(connection.recv(65536))
        sender.join()


def test_the_proxy_reaches_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with TCPProxy(path) as proxy, connect(proxy) as connection:
            accepted, _ = server.accept()
            with accepted:
                connection.sendall(b"hello")
                assert accepted.recv(10) == b"hello"


def test_the_proxy_cuts_what_is_open_and_accepts_again(proxy: TCPProxy) -> None:
    with connect(proxy) as connection:
        ask(connection)
        assert proxy.connections == 1
        proxy.cut()
        assert connection.recv(10) == b""
    with connect(proxy) as connection:
        assert ask(connection) == b"hello"


def test_the_proxy_loses_the_answer_to_what_was_carried_out(proxy: TCPProxy, echo: Echo) -> None:
    with connect(proxy) as connection, connect(proxy) as other:
        proxy.cut_after_answer(b"UPDATE")
        assert ask(other, b"SELECT") == b"SELECT"
        assert ask(connection, b"UPDATE 1") == b""
        assert echo.requests == [b"SELECT", b"UPDATE 1"]
        assert proxy.lost_answers == 1
        assert ask(other, b"UPDATE 2") == b"UPDATE 2"


def test_the_proxy_hangs_and_resumes(proxy: TCPProxy) -> None:
    with connect(proxy) as connection:
        proxy.hang()
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            ask(connection)
        with connect(proxy):
            pass
        proxy.resume()
        connection.settimeout(10)
        assert connection.recv(10) == b"hello"


def test_the_proxy_refuses_and_resumes(proxy: TCPProxy) -> None:
    with connect(proxy) as connection:
        ask(connection)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert ask(connection) == b"hello"
        proxy.resume()
        with connect(proxy) as another:
            assert ask(another) == b"hello"


def test_the_proxy_leads_new_connections_elsewhere(proxy: TCPProxy) -> None:
    other = Echo(b"other ")
    with other.socket, connect(proxy) as old:
        ask(old)
        proxy.switch("127.0.0.1", other.port)
        with connect(proxy) as new:
            assert ask(new) == b"other hello"
            assert ask(old) == b"hello"


KINDS = pytest.mark.parametrize(
    "kind", [SoftTimeLimit, pytest.param(KeyboardInterrupt, marks=pytest.mark.exhaustive)]
)


@KINDS
@pytest.mark.parametrize("threads", [1, 3])
def test_a_correct_store_survives_interrupts(kind: type[BaseException], threads: int) -> None:
    survived = survive_interrupts(MemorySessions(), 1500, kind=kind, threads=threads)
    assert survived.operations >= 1500
    assert survived.interrupted > 20
    assert survived.unavailable == 0


class LeavesItsLockHeld(MemorySessions):
    """Takes its lock, and releases it, by hand."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        self._lock.acquire()  # type: ignore[attr-defined]
        time.sleep(0.0005)
        record = self.kept.get(hash_id(session_id))
        self._lock.release()  # type: ignore[attr-defined]
        return None if record is None else self.codec.decode(record.data, "memory")


def test_a_lock_that_is_left_held_is_found() -> None:
    with pytest.raises(AssertionError, match=r"did not end within 0\.5 s"):
        survive_interrupts(LeavesItsLockHeld(), 5000, patience=0.5)


class IsOneAnswerBehind(MemorySessions):
    """Leaves an answer behind when it is interrupted, as a connection does."""

    unread: list[Any]

    def get(self, session_id: str) -> dict[str, Any] | None:
        unread = self.__dict__.setdefault("unread", [])
        unread.append(super().get(session_id))
        time.sleep(0.0005)
        answer: dict[str, Any] | None = unread.pop(0)
        return answer


def test_an_answer_to_somebody_else_is_found() -> None:
    with pytest.raises(WrongAnswer):
        survive_interrupts(IsOneAnswerBehind(), 5000)


def test_a_child_that_python_does_not_see_returns_its_result() -> None:
    assert fork_unseen(lambda: [1, 2]).result() == [1, 2]


def test_a_child_that_fails_or_hangs_is_told() -> None:
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        fork_unseen(lambda: 1 / 0).result()
    with pytest.raises(AssertionError, match=r"no answer within 0\.1 s"):
        fork_unseen(lambda: time.sleep(60)).result(timeout=0.1)


@pytest.mark.exhaustive
def test_correct_stores_survive_unseen_forks(tmp_path: Path) -> None:
    survive_forks(MemorySessions(), operations=100)
    survive_forks(FileSessions(tmp_path / "sessions.json"), operations=100)


class SharesAnOpenFile(FileSessions):
    """Remembers what it read before the fork."""

    def get(self, session_id: str) -> dict[str, Any] | None:
        cache = self.__dict__.setdefault("cache", {})
        number = len(cache)
        if session_id not in cache:
            cache[session_id] = super().get(session_id)
        return cache[session_id] if number % 7 else super().get(session_id)


def test_a_store_that_does_not_survive_an_unseen_fork_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        survive_forks(SharesAnOpenFile(tmp_path / "sessions.json"), operations=100)


def test_a_time_limit_names_what_takes_too_long_and_leaves_an_outer_one_alone() -> None:
    lock = threading.Lock()
    lock.acquire()

    def inner() -> None:
        with time_limit(0.1, "the inner"):
            lock.acquire()

    def outer() -> None:
        with time_limit(0.3, "the outer"):
            with pytest.raises(AssertionError, match=r"the inner did not end within 0\.1 s"):
                inner()
            lock.acquire()

    with pytest.raises(AssertionError, match=r"the outer did not end within 0\.3 s"):
        outer()
