"""A TCP proxy between a store and its server that behaves as badly as networks do.

It runs in a process of its own, with nothing but the standard library, so that a test's signals and
forks do not affect it, and a busy test does not slow it down.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from threading import Lock
from types import TracebackType
from typing import Any, Self

_READ = 1 << 16  # bytes that are read at once
_PATIENCE = 10.0  # seconds in which the proxy's process must do what it is told


class TCPProxy:
    """Forwards connections to a server, and delays, hangs, cuts or refuses them when told.

        with TCPProxy("127.0.0.1", 5432, delay=0.004) as proxy:
            engine = create_engine(f"postgresql+psycopg://root@127.0.0.1:{proxy.port}/test")

    It listens on 127.0.0.1. Use it as a context manager, or call `close`.

    Args:
        host: The server's host name, or the path of its Unix socket.
        port: The server's port; none for a Unix socket.
        delay: Seconds by which each of the server's answers is delayed.

    Attributes:
        host: Where the proxy listens: always 127.0.0.1.
        port: The port that the proxy listens on.
    """

    def __init__(self, host: str, port: int | None = None, *, delay: float = 0.0) -> None:
        self._lock = Lock()
        # A session of its own: Ctrl-C at the terminal goes to the test alone.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.host = "127.0.0.1"
        self._delay = 0.0
        self.switch(host, port)
        self.delay = delay
        self.port: int = self._tell("port")

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to, instead of the server."""
        return self.host, self.port

    @property
    def delay(self) -> float:
        """Seconds by which each of the server's answers is delayed. Can be set."""
        return self._delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self._tell("delay", seconds)
        self._delay = seconds

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        found: int = self._tell("connections")
        return found

    @property
    def lost_answers(self) -> int:
        """How many answers `cut_after_answer` has lost so far."""
        found: int = self._tell("lost_answers")
        return found

    def cut(self) -> None:
        """Cut every connection now; new ones are accepted."""
        self._tell("cut")

    def cut_after_answer(self, request: bytes = b"") -> None:
        """Carry out the next request, but cut its connection when the server answers.

        The server has done what it was asked to, and the client never hears about it. It happens
        once; `lost_answers` tells when.

        Args:
            request: Bytes that the request must contain, for example `b"UPDATE"`; requests without
                them are left alone.
        """
        self._tell("cut_after_answer", request.decode("latin-1"))

    def hang(self) -> None:
        """Accept connections and bytes, but forward nothing until `resume`."""
        self._tell("hang")

    def refuse(self) -> None:
        """Refuse new connections until `resume`. Open ones stay: `cut` ends them."""
        self._tell("refuse")

    def resume(self) -> None:
        """End `hang` and `refuse`; what was held back is forwarded."""
        self._tell("resume")

    def switch(self, host: str, port: int | None = None) -> None:
        """Lead new connections to another server. Open ones stay where they are."""
        self._tell("switch", host, port)

    def close(self) -> None:
        """Cut everything and end. It may be called again."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, command: str, *arguments: Any) -> Any:
        to_process, from_process = self._process.stdin, self._process.stdout
        assert to_process is not None
        assert from_process is not None
        with self._lock:
            to_process.write(json.dumps([command, *arguments]) + "\n")
            to_process.flush()
            answer = from_process.readline()
        if not answer:
            raise RuntimeError("the proxy's process has ended")
        return json.loads(answer)


class _End:
    """One of the two ends of a connection: its socket, and what has yet to be sent to it."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        if end.family == socket.AF_INET:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = end
        self.other: _End = self
        self.is_server = False
        self.loses_answer = False
        self.closed = False
        # What comes from here: when it may leave, and the bytes; b"" is the end of the stream.
        self.waiting: deque[tuple[float, bytes]] = deque()


class _Relay:
    """What runs in the proxy's process."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # It never listens. It reserves the port while the proxy refuses connections.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self._listener: socket.socket | None = None
        self._target: tuple[str, int | None] = ("", None)
        self._delay = 0.0
        self._hanging = False
        self._loses: bytes | None = None
        self._lost = 0
        self._ends: set[_End] = set()
        self.do_resume()

    def run(self) -> None:
        """Forward, and do what standard input says, until that ends."""
        commands = sys.stdin.fileno()
        self._selector.register(commands, selectors.EVENT_READ)
        text = b""
        while True:
            for key, events in self._selector.select(self._time_left()):
                if key.fd == commands:
                    read = os.read(commands, _READ)
                    if not read:
                        return
                    *lines, text = (text + read).split(b"\n")
                    for line in lines:
                        command, *arguments = json.loads(line)
                        answer = getattr(self, f"do_{command}")(*arguments)
                        print(json.dumps(answer), flush=True)  # noqa: T201
                elif key.fileobj is self._listener:
                    self._accept()
                elif not key.data.closed:
                    self._receive(key.data, events)
            self._forward()

    def do_port(self) -> int:
        port: int = self._reservation.getsockname()[1]
        return port

    def do_delay(self, seconds: float) -> None:
        self._delay = seconds

    def do_connections(self) -> int:
        return len(self._ends) // 2

    def do_lost_answers(self) -> int:
        return self._lost

    def do_cut(self) -> None:
        for end in list(self._ends):
            self._close(end)

    def do_cut_after_answer(self, request: str) -> None:
        self._loses = request.encode("latin-1")

    def do_hang(self) -> None:
        self._hanging = True

    def do_refuse(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def do_resume(self) -> None:
        self._hanging = False
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(self._reservation.getsockname())
            self._listener.listen(128)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)

    def do_switch(self, host: str, port: int | None) -> None:
        self._target = (host, port)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            accepted, _ = self._listener.accept()
        except BlockingIOError:
            return
        host, port = self._target
        try:
            if port is None:
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(host)
            else:
                upstream = socket.create_connection((host, port), timeout=_PATIENCE)
        except OSError:
            accepted.close()
            return
        client, server = _End(accepted), _End(upstream)
        client.other, server.other, server.is_server = server, client, True
        for end in (client, server):
            self._ends.add(end)
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _receive(self, end: _End, events: int) -> None:
        if not events & selectors.EVENT_READ:
            return
        try:
            read = end.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            read = b""
        if not end.is_server and self._loses is not None and self._loses in read and read:
            self._loses, end.other.loses_answer = None, True
        elif end.loses_answer:
            self._lost += 1
            self._close(end)
            return
        end.waiting.append((time.monotonic() + (self._delay if end.is_server else 0.0), read))
        if not read:
            self._watch(end)

    def _forward(self) -> None:
        """Send on what may be sent now."""
        if self._hanging:
            return
        now = time.monotonic()
        for end in list(self._ends):
            while not end.closed and end.waiting and end.waiting[0][0] <= now:
                due, given = end.waiting.popleft()
                if not given:
                    self._close(end)
                    break
                try:
                    sent = end.other.socket.send(given)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self._close(end)
                    break
                if sent < len(given):
                    end.waiting.appendleft((due, given[sent:]))
                    break
            if not end.closed:
                self._watch(end.other)

    def _watch(self, end: _End) -> None:
        """Wait for what the end sends, unless it has finished, and for room to send it more."""
        waiting, other = end.waiting, end.other.waiting
        said_its_last = waiting and not waiting[-1][1]
        events = 0 if said_its_last else selectors.EVENT_READ
        if other and other[0][0] <= time.monotonic() and not self._hanging:
            events |= selectors.EVENT_WRITE
        known = self._selector.get_map().get(end.socket)
        if known is None:
            if events:
                self._selector.register(end.socket, events, end)
        elif not events:
            self._selector.unregister(end.socket)
        elif known.events != events:
            self._selector.modify(end.socket, events, end)

    def _time_left(self) -> float | None:
        """Return the seconds until the next bytes may leave."""
        if self._hanging:
            return None
        due = [end.waiting[0][0] for end in self._ends if end.waiting]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _close(self, end: _End) -> None:
        for each in (end, end.other):
            if not each.closed:
                each.closed = True
                self._ends.discard(each)
                if each.socket in self._selector.get_map():
                    self._selector.unregister(each.socket)
                each.socket.close()


if __name__ == "__main__":
    _Relay().run()
